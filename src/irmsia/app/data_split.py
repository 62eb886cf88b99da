"""Splits of catalogued datasets: what belongs together, who goes where, whether it leaks, and the lists for others."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from irmsia import durable
from irmsia.app.compose import open_pool
from irmsia.app.datasets import open_catalogue
from irmsia.bundles.store import BundleStore
from irmsia.datasets.catalogue import Catalogue
from irmsia.datasets.duplicates import Grey
from irmsia.datasets.export import Exporting, Format, Options, export_split
from irmsia.datasets.groups import crossing_leaks, group_records
from irmsia.datasets.leak_sheet import MOST_PAIRS, draw_sheet
from irmsia.datasets.leaks import (
    METHOD,
    Found,
    Leak,
    LeakKind,
    Track,
    find_leaks,
    groups_of,
    labels_disagree,
    untracked,
)
from irmsia.datasets.official import TRAIN_VALIDATION, Listed, check_part, match_lists, parse_list, part_of_list
from irmsia.datasets.partition import Shares, Split, parse_ratios, report_of, split_by_folds, split_by_shares
from irmsia.datasets.record import Record
from irmsia.datasets.revisions import Dataset
from irmsia.datasets.sealed import SealedIndex, SealedSample, parse_sealed
from irmsia.errors import (
    BundleRejectedError,
    InvalidRequestError,
    LeakingSplitError,
    ModelNotFoundError,
    NotReadableError,
    from_system,
)
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.render import encode_png
from irmsia.settings.tree import Settings

ReadPath = Callable[[str], Grey]

_LEAKS = "leaks"
_SHEETS = "sheets"
_GREY = np.array([0.299, 0.587, 0.114])
_MOST_REASON = 500
_GROUP_KINDS = {LeakKind.PATIENT: "patients", LeakKind.STUDY: "studies"}


@dataclass(frozen=True, slots=True)
class Known:
    """A dataset, its records, and what the leak gate found among them."""

    dataset: Dataset
    records: Sequence[Record]
    found: Found

    @property
    def labels(self) -> dict[str, str | None]:
        """By path."""
        return {record.path: record.label for record in self.records}

    def two_labels(self) -> list[tuple[str, ...]]:
        """Groups of pictures that are copies or alike, and carry more than one label."""
        labels = self.labels
        return [group for group in groups_of(self.found.leaks) if labels_disagree(group, labels)]

    def summary(self) -> dict[str, Any]:
        """Counts of what was found, and the groups with two labels."""
        groups = groups_of(self.found.leaks)
        kinds = Counter(leak.kind.value for leak in self.found.leaks)
        return {
            "pairs": {kind.value: kinds[kind.value] for kind in LeakKind if kinds[kind.value]},
            "copies": sum(leak.is_copy for leak in self.found.leaks),
            "alike": kinds[LeakKind.ALIKE.value],
            "groups": len(groups),
            "files": sum(map(len, groups)),
            "two_labels": [list(group) for group in self.two_labels()],
            "compared": self.found.compared,
            "unread": list(self.found.unread),
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """How a dataset is to be split.

    Attributes:
        ratios: ``70/15/15``; null for the default.
        seed: of the split.
        folds: cross-validation in so many folds, over what is not in the test part; null for none.
        official: ``FILE`` or ``PART=FILE``, published lists to take over.
        allow_leak: why the split may leak; null: it may not.
    """

    ratios: str | None = None
    seed: int = 0
    folds: int | None = None
    official: Sequence[str] = ()
    allow_leak: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A split, and what crosses it. ``sheet``: where the crossing pairs are drawn; null where none cross."""

    known: Known
    split: Split
    crossing: Sequence[Leak]
    sheet: Path | None
    kept: bool

    def check(self) -> None:
        """Raise LeakingSplitError unless the split was kept."""
        if not self.kept:
            raise LeakingSplitError(
                f"the split leaks: {_tell(self.crossing)} stand in more than one part; look at the sheet of pairs, "
                "split by --ratios instead, or allow it with --allow-leak REASON"
            )


def find_dataset_leaks(settings: Settings, name: str, *, track: Track = untracked) -> Known:
    """Find what belongs together in a dataset; what was found before among the same files is taken from IRMSIA_HOME.

    Raises:
        DatasetNotFoundError: there is none of that name.
    """
    with open_catalogue(settings) as catalogue:
        return _find_known(settings, catalogue, name, track)


def split_dataset(
    settings: Settings, name: str, asked: Asked, *, sheet: Path | None = None, track: Track = untracked
) -> Outcome:
    """Split a dataset; the split is kept where it does not leak, or where a reason allows it.

    Args:
        settings: the tree.
        name: of the dataset.
        asked: how.
        sheet: PNG for the pairs that cross; in IRMSIA_HOME unless told.
        track: counts what is being done.

    Raises:
        DatasetNotFoundError: there is none of that name.
        InvalidRequestError: the dataset is empty, what is asked for contradicts itself, a list cannot be used, or the
            sheet cannot be written.
    """
    shares = _check(asked)
    with open_catalogue(settings) as catalogue:
        known = _find_known(settings, catalogue, name, track)
        records = [record for record in known.records if record.is_valid]
        if not records:
            raise InvalidRequestError("the dataset holds no valid image to split")
        groups = group_records(records, known.found.leaks)
        split, listed = _make_split(known, records, groups, asked, shares)
        places = (
            split.parts if split.folds is None else {**split.parts, **{p: f"fold {f}" for p, f in split.folds.items()}}
        )
        crossing = crossing_leaks(records, places, known.found.leaks)
        split.report.update(_gate_report(settings, known, records, crossing, listed))
        kept = not crossing or asked.allow_leak is not None
        drawn = None
        if crossing:
            drawn = sheet or settings.home / _SHEETS / f"{name}-leaks.png"
            write_sheet(settings, known, crossing, drawn, parts=places, title=f"{name} leaks")
        if kept:
            catalogue.save_split(name, split.to_json())
    return Outcome(known, split, crossing, drawn, kept)


def export_dataset(
    settings: Settings,
    name: str,
    format_: str,
    out: Path,
    options: Options,
    *,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Write the split of a dataset for other programs; how many files each list holds.

    Raises:
        DatasetNotFoundError: there is none of that name.
        InvalidRequestError: it was never split, or changed since; and what `export_split` raises.
    """
    if format_ not in set(Format):
        raise InvalidRequestError(f"there is no such format; there are {', '.join(Format)}")
    with open_catalogue(settings) as catalogue:
        dataset = catalogue.get(name)
        saved = catalogue.split(name)
        if saved is None:
            raise InvalidRequestError("the dataset was never split: irmsia data split does it")
        records = catalogue.records(name, revision=dataset.revision)
    split = Split.from_json(saved)
    exporting = Exporting(name, dataset.state, dataset.root, records, split)
    return export_split(exporting, Format(format_), out, options, advance=advance)


def write_sheet(
    settings: Settings,
    known: Known,
    leaks: Sequence[Leak],
    out: Path,
    *,
    parts: Mapping[str, str] | None = None,
    title: str = "",
) -> None:
    """Draw pairs side by side as PNG.

    Raises:
        InvalidRequestError, StorageFullError: it cannot be written.
    """
    shown = leaks[:MOST_PAIRS]
    paths = {path for leak in shown for path in (leak.first, leak.second)}
    by_path = {record.path: record for record in known.records if record.path in paths}
    with _reader(settings, known.dataset.root) as read:
        canvas = draw_sheet(leaks, lambda path: read(by_path[path]), parts=parts, labels=known.labels, title=title)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        durable.write_bytes(out, encode_png(np.ascontiguousarray(canvas[..., ::-1])))
    except (OSError, MemoryError) as error:
        raise from_system(error, "the sheet cannot be written", InvalidRequestError) from None


def leak_to_json(leak: Leak, parts: Mapping[str, str] | None = None) -> dict[str, Any]:
    """One line of ``irmsia data leaks --json``."""
    found = asdict(leak) | {"kind": leak.kind.value, "copy": leak.is_copy}
    if parts is not None:
        found["parts"] = [parts.get(leak.first), parts.get(leak.second)]
    return found


def _tell(crossing: Iterable[Leak]) -> str:
    counts = Counter(_GROUP_KINDS.get(leak.kind, "pairs of pictures") for leak in crossing)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _check(asked: Asked) -> Shares:
    """The shares, where what is asked for makes sense."""
    if asked.official and (asked.folds is not None):
        raise InvalidRequestError("official lists and folds do not go together")
    if asked.allow_leak is not None and not 0 < len(asked.allow_leak.strip()) <= _MOST_REASON:
        raise InvalidRequestError(f"the reason why a leak is allowed has 1 to {_MOST_REASON} letters")
    if asked.folds is None:
        return Shares() if asked.ratios is None else parse_ratios(asked.ratios)
    if asked.ratios is None:
        return Shares(1.0, 0.0, 0.0)
    shares = parse_ratios(asked.ratios)
    if shares.validation:
        raise InvalidRequestError("with folds the ratios leave validation at 0, such as 85/0/15")
    return shares


def _make_split(
    known: Known, records: Sequence[Record], groups: Mapping[str, str], asked: Asked, shares: Shares
) -> tuple[Split, Listed | None]:
    dataset, seed = known.dataset, asked.seed
    wanted: Mapping[str, float] | None = shares.as_mapping()
    kept = {record.path: groups[record.path] for record in records}
    if asked.official:
        listed = match_lists(records, [_read_list(text) for text in asked.official])
        parts = _resolve(records, groups, listed, seed=seed, shares=shares)
        report = report_of(records, groups, parts)
        names = [PurePosixPath(text.rpartition("=")[2]).name for text in asked.official]
        made = Split(
            dataset.revision, dataset.state, seed, "official", {"official": names}, parts, None, report,
            asked.allow_leak, {path: kept[path] for path in parts},
        )  # fmt: skip
        return made, listed
    parts = split_by_shares(records, groups, seed=seed, shares=shares.as_mapping())
    report = report_of(records, groups, parts, wanted)
    settings: dict[str, Any] = {"ratios": list(shares.as_mapping().values())}
    folds = None
    if asked.folds is not None:
        rest = [record for record in records if parts[record.path] != "test"]
        folds = split_by_folds(rest, groups, seed=seed, folds=asked.folds)
        named = {path: f"fold {number}" for path, number in folds.items()}
        even = {f"fold {number}": 1 / asked.folds for number in range(asked.folds)}
        report["folds"] = report_of(rest, groups, named, even)
        settings["folds"] = asked.folds
    kind = "ratios" if folds is None else "folds"
    made = Split(
        dataset.revision, dataset.state, seed, "folds" if kind == "folds" else "ratios", settings, parts, folds, report,
        asked.allow_leak, kept,
    )  # fmt: skip
    return made, None


def _resolve(
    records: Sequence[Record], groups: Mapping[str, str], listed: Listed, *, seed: int, shares: Shares
) -> dict[str, str]:
    """The parts of official lists; what is for training and validation together is split here, by groups."""
    both = [record for record in records if listed.parts.get(record.path) == TRAIN_VALIDATION]
    if not both:
        return listed.parts
    rest = shares.train + shares.validation
    inner = {"train": shares.train / rest, "validation": shares.validation / rest}
    return listed.parts | split_by_shares(both, groups, seed=seed, shares=inner)


def _read_list(text: str) -> Any:
    part, given, name = text.rpartition("=")
    path = Path(name if given else text)
    found = check_part(part) if given else part_of_list(path.name)
    try:
        return parse_list(found, path.read_bytes())
    except (OSError, MemoryError) as error:
        raise from_system(error, "an official list cannot be read", NotReadableError) from None


def _gate_report(
    settings: Settings, known: Known, records: Sequence[Record], crossing: Sequence[Leak], listed: Listed | None
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "leaks": known.summary(),
        "crossing": [leak_to_json(leak) for leak in crossing],
        "sealed": _count_sealed(settings, records),
    }
    if listed is not None:
        report["official"] = {"missing": listed.missing, "unlisted": listed.unlisted}
    return report


def _count_sealed(settings: Settings, records: Iterable[Record]) -> int | None:
    """How many files are, or look like, sealed test samples of the model that serves; null where there is none."""
    try:
        sealed = BundleStore(settings.home).load().files.get("sealed.jsonl")
    except (ModelNotFoundError, BundleRejectedError):
        return None
    if sealed is None:
        return None
    index = SealedIndex(parse_sealed(sealed.decode("utf-8")))
    return sum(index.holds_copy(_as_sealed(record)) for record in records if record.perceptual_hash is not None)


def _as_sealed(record: Record) -> SealedSample:
    return SealedSample(record.sha256, (), record.perceptual_hash or "0", record.difference_hash or "0", "")


def _find_known(settings: Settings, catalogue: Catalogue, name: str, track: Track) -> Known:
    dataset = catalogue.get(name)
    records = catalogue.records(name, revision=dataset.revision)
    found = _read_leaks(settings, records)
    if found is None:
        with _reader(settings, dataset.root) as read:
            found = find_leaks(records, read, workers=settings.engine.workers, track=track)
        _keep_leaks(settings, records, found)
    return Known(dataset, records, found)


@contextmanager
def _reader(settings: Settings, root: Path) -> Iterator[Callable[[Record], Grey]]:
    """Pictures by decoder children."""
    with open_pool(settings, settings.engine.workers) as pool:
        yield lambda record: _read_grey(pool, root, record)


def _read_grey(pool: DecoderPool, root: Path, record: Record) -> Grey:
    path = PurePosixPath(record.path)
    if path.is_absolute() or ".." in path.parts:
        raise NotReadableError("a record's path leads out of its dataset")
    try:
        pixels = pool.render(root / path).pixels
    except InvalidRequestError:  # a file that has become another one: it has no such frame
        raise NotReadableError("a catalogued file cannot be shown") from None
    return pixels if pixels.ndim == 2 else np.rint(pixels @ _GREY).astype(np.uint8)


def _leaks_path(settings: Settings, records: Iterable[Record]) -> Path:
    """Where the leaks of just these files are kept, as found by just this method."""
    digest = hashlib.sha256(f"irmsia-leaks-{METHOD}\n".encode())
    for record in records:
        facts = (record.path, record.sha256, record.pixels_sha256, record.source, record.problem)
        digest.update(json.dumps([*facts, record.modality and record.modality.value]).encode())
    return settings.home / _LEAKS / f"{digest.hexdigest()[:32]}.json"


def _read_leaks(settings: Settings, records: Sequence[Record]) -> Found | None:
    """What was found before; null where nothing was, or it cannot be read."""
    try:
        kept = json.loads(_leaks_path(settings, records).read_text("utf-8"))
        leaks = tuple(Leak(**{**row, "kind": LeakKind(row["kind"])}) for row in kept["leaks"])
        return Found(leaks, tuple(kept["unread"]), int(kept["compared"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _keep_leaks(settings: Settings, records: Sequence[Record], found: Found) -> None:
    path = _leaks_path(settings, records)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.write_text(path, json.dumps(asdict(found)), mode=0o600)
    except (OSError, MemoryError) as error:
        raise from_system(error, "what was found cannot be kept", InvalidRequestError) from None
