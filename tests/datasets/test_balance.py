"""Balanced classes: laws of leaving out and of repeating, whatever the classes, groups and parts."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.datasets.balance import (
    TRAIN,
    Balanced,
    By,
    Method,
    balance,
    balanced_per_region,
    class_of,
    count_classes,
    group_by_patient,
    parse_by,
)
from irmsia.datasets.record import Record, Told
from irmsia.errors import InvalidRequestError

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["brain", "chest"]),
        st.one_of(st.none(), st.integers(0, 6)),
        st.sampled_from(["train", "train", "val", "test"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=60,
)
LABEL = (By.LABEL,)


def _dataset(rows: list[tuple[str | None, str, int | None, str, bool]]) -> tuple[list[Record], dict[str, str]]:
    """Records of rows (label, region, patient, part, broken); a patient's files all stand in the part of the first."""
    records = [
        Record(
            f"{index}.png",
            1,
            1,
            f"{index:02x}",
            label=label,
            region=Told(region, "folder"),
            patient=None if patient is None else f"p{patient}",
            problem="TRUNCATED" if broken and index else None,
        )
        for index, (label, region, patient, _, broken) in enumerate(rows)
    ]
    part_of: dict[str, str] = {}
    for record, row in zip(records, rows, strict=True):
        part_of.setdefault(group_by_patient(record), row[3])
    return records, {record.path: part_of[group_by_patient(record)] for record in records if record.is_valid}


def _try(
    records: list[Record], parts: dict[str, str] | None, method: Method, by: tuple[By, ...], seed: int
) -> Balanced | None:
    try:
        return balance(records, by=by, method=method, seed=seed, parts=parts)
    except InvalidRequestError:
        return None


@given(
    ROWS,
    st.sampled_from(list(Method)),
    st.sampled_from([LABEL, (By.REGION,), (By.LABEL, By.REGION)]),
    st.integers(0, 9),
)
def test_the_laws_of_balancing(rows: list, method: Method, by: tuple[By, ...], seed: int) -> None:  # type: ignore[type-arg]
    """Classes of train end equal; other parts are untouched; nothing crosses; the order of the records is nothing."""
    records, parts = _dataset(rows)
    balanced = _try(records, parts, method, by, seed)
    train = [one for one in records if parts.get(one.path) == TRAIN and class_of(one, by) is not None]
    if not train:
        assert balanced is None
        return
    assert balanced is not None
    counts = Counter(class_of(one, by) for one in train)
    assert balanced.before == counts
    wanted = min(counts.values()) if method is Method.UNDER else max(counts.values())
    assert set(balanced.after.values()) == {wanted}
    for one in records:
        times = balanced.repeats.get(one.path)
        if not one.is_valid or class_of(one, by) is None:
            assert times is None
        elif parts[one.path] != TRAIN:
            assert times == 1
        elif method is Method.UNDER:
            assert times in (0, 1)
        else:
            assert times is not None and times >= 1
    assert balanced.without_class == sum(one.is_valid and class_of(one, by) is None for one in records)
    assert balance(records[::-1], by=by, method=method, seed=seed, parts=parts) == balanced


@given(ROWS, st.integers(0, 9))
def test_repetitions_are_spread_evenly(rows: list, seed: int) -> None:  # type: ignore[type-arg]
    """Within a class no image is repeated two times more than another."""
    records, parts = _dataset(rows)
    balanced = _try(records, parts, Method.OVER, LABEL, seed)
    for name in balanced.before if balanced else ():
        times = [balanced.repeats[one.path] for one in records if parts.get(one.path) == TRAIN and (one.label,) == name]  # type: ignore[union-attr]
        assert max(times) - min(times) <= 1


@given(ROWS, st.integers(0, 9))
def test_groups_are_left_out_whole_but_for_one_a_class(rows: list, seed: int) -> None:  # type: ignore[type-arg]
    """Of the groups of a class at most one is kept in part, and that is counted."""
    records, parts = _dataset(rows)
    balanced = _try(records, parts, Method.UNDER, LABEL, seed)
    parted: Counter[str] = Counter()
    for name in balanced.before if balanced else ():
        groups: dict[str, set[int]] = {}
        for one in records:
            if parts.get(one.path) == TRAIN and (one.label,) == name:
                groups.setdefault(group_by_patient(one), set()).add(balanced.repeats[one.path])  # type: ignore[union-attr]
        parted[str(name)] = sum(len(kept) > 1 for kept in groups.values())
        assert parted[str(name)] <= 1
    if balanced:
        assert sum(parted.values()) == balanced.parted_groups


def test_the_seed_decides_and_nothing_else() -> None:
    """The same seed gives the same choice, another one another."""
    records, parts = _dataset([("a", "brain", None, "train", False)] * 50 + [("b", "brain", None, "train", False)] * 5)
    first, again, other = (
        balance(records, by=LABEL, method=Method.UNDER, seed=seed, parts=parts) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.repeats != other.repeats


def test_a_set_without_a_split_is_thinned_but_never_repeated() -> None:
    """Repeating before splitting would put one picture into two parts: it is refused, with what to do."""
    records, _ = _dataset([("a", "brain", None, "train", False), ("a", "brain", None, "train", False)])
    assert balance(records, by=LABEL, method=Method.UNDER, seed=0, parts=None).after == {("a",): 2}
    with pytest.raises(InvalidRequestError, match="split the dataset first"):
        balance(records, by=LABEL, method=Method.OVER, seed=0, parts=None)


def test_nothing_to_balance_is_said() -> None:
    """A set without any label in train is refused instead of written empty."""
    records, parts = _dataset([(None, "brain", None, "train", False), ("a", "brain", None, "test", False)])
    with pytest.raises(InvalidRequestError, match="no image"):
        balance(records, by=LABEL, method=Method.UNDER, seed=0, parts=parts)


def test_what_classes_are_made_of_is_checked() -> None:
    """Words of the command line, with commas; doubled, empty and unknown ones are refused."""
    assert parse_by("label, region") == (By.LABEL, By.REGION)
    for wrong in ("", "label,", "label,label", "colour"):
        with pytest.raises(InvalidRequestError):
            parse_by(wrong)


@given(ROWS, st.integers(1, 30), st.integers(0, 9))
def test_balanced_sets_a_region(rows: list, count: int, seed: int) -> None:  # type: ignore[type-arg]
    """Each region's subset holds at most so many valid images of that region, its labels equal in number."""
    records, parts = _dataset(rows)
    by_path = {one.path: one for one in records}
    subsets = balanced_per_region(records, count, seed=seed, parts=parts)
    for region, paths in subsets.items():
        chosen = [by_path[path] for path in paths]
        assert 1 <= len(chosen) == len(set(paths)) <= count
        assert all(one.is_valid and one.region is not None and one.region.value == region for one in chosen)
        assert len(set(Counter(one.label for one in chosen).values())) == 1
    assert balanced_per_region(records[::-1], count, seed=seed, parts=parts) == subsets


def test_a_balanced_set_keeps_the_ratio_of_the_parts() -> None:
    """Its images come from the parts as the region's do, so that it can be trained and tested with."""
    sizes = {"train": 70, "val": 15, "test": 15}
    rows = [(label, "brain", None, part, False) for label in "ab" for part, size in sizes.items() for _ in range(size)]
    records, parts = _dataset(rows)
    subset = balanced_per_region(records, 40, seed=0, parts=parts)["brain"]
    assert Counter(parts[path] for path in subset) == {"train": 28, "val": 6, "test": 6}
    assert count_classes([one for one in records if one.path in subset], LABEL) == {("a",): 20, ("b",): 20}
    with pytest.raises(InvalidRequestError):
        balanced_per_region(records, 0, seed=0)


def test_two_sources_may_call_their_patients_alike() -> None:
    """Patient 1 of one source is another group than patient 1 of another."""
    one = Record("1.png", 1, 1, "00", patient="1", source="x")
    assert group_by_patient(one) != group_by_patient(replace(one, source="y"))
