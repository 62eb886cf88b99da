"""The split keeps groups whole, keeps each class near its ratio, and repeats."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from irmsia.datasets.samples import Sample
from irmsia.datasets.split import group_key, split_samples


def _samples(sizes: list[tuple[int, str]]) -> list[Sample]:
    return [
        Sample("set", f"set/{group}-{number}.png", "chest", term, f"g{group}")
        for group, (size, term) in enumerate(sizes)
        for number in range(size)
    ]


SIZES = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["normal", "pneumonia"])), min_size=1, max_size=60)


@given(SIZES, st.integers(0, 1000))
def test_every_group_has_one_part(sizes: list[tuple[int, str]], seed: int) -> None:
    """The split names each group once, so no group can cross it."""
    samples = _samples(sizes)
    parts = split_samples(samples, seed=seed)
    assert set(parts) == {group_key(sample) for sample in samples}
    assert set(parts.values()) <= {"train", "validation", "test"}


def test_classes_keep_the_ratio() -> None:
    """With groups of one to four images each class is split 70/15/15 within one image in fifty."""
    samples = _samples([(1 + number % 4, "normal" if number % 3 else "pneumonia") for number in range(400)])
    parts = split_samples(samples, seed=1)
    counts = Counter((sample.term, parts[group_key(sample)]) for sample in samples)
    for term in ("normal", "pneumonia"):
        total = sum(counts[term, part] for part in ("train", "validation", "test"))
        for part, share in (("train", 0.70), ("validation", 0.15), ("test", 0.15)):
            assert abs(counts[term, part] / total - share) < 0.02


def test_same_seed_same_split_whatever_the_order() -> None:
    """The split depends on seed and groups, not on the order of the listing; another seed gives another one."""
    samples = _samples([(2, "normal")] * 50)
    assert split_samples(samples, seed=5) == split_samples(samples[::-1], seed=5)
    assert split_samples(samples, seed=5) != split_samples(samples, seed=6)


def test_fixed_groups_stay() -> None:
    """Groups that a sealed list put into the test part stay there."""
    samples = _samples([(1, "normal")] * 40)
    fixed = {f"set|g{number}": "test" for number in range(4)}
    parts = split_samples(samples, seed=2, fixed=fixed)  # type: ignore[arg-type]
    assert all(parts[name] == "test" for name in fixed)
    assert Counter(parts.values())["test"] == 6
