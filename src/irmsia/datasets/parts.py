"""The parts of the collected sets as the starter's training parted them: the sealed test part, the validation part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from irmsia.datasets.grouping import group_samples
from irmsia.datasets.samples import STARTER_SOURCES, Sample, list_samples
from irmsia.datasets.scan import ReadImage, ScannedSample, copies_of_sealed, scan_sample
from irmsia.datasets.sealed import SealedSample, group_digest
from irmsia.datasets.split import Part, group_key, split_samples
from irmsia.errors import InvalidRequestError
from irmsia.imaging.digest import input_digest

Track = Callable[[Sequence[Sample]], Iterable[Sample]]
"""Gives the samples back one by one, and may count them for a progress bar."""


@dataclass(frozen=True, slots=True)
class PartSample:
    """A sample of one part.

    Attributes:
        sample: which.
        file_sha256: of the file's bytes.
        group: digest of its patient or cluster, as in the sealed list.
    """

    sample: Sample
    file_sha256: str
    group: str


def list_sources(data: Path) -> list[Sample]:
    """The images of every set that the starter learns from; groups are known for patients only.

    Raises:
        InvalidRequestError: a set or a class of it is missing.
    """
    return [sample for layout in STARTER_SOURCES for sample in list_samples(data, layout)]


def sealed_part(data: Path, sealed: Sequence[SealedSample], track: Track = iter) -> list[PartSample]:
    """Every file below ``data`` that the sealed list names by its digest.

    Raises:
        InvalidRequestError: not one is there.
    """
    groups = {row.file_sha256: row.group for row in sealed}
    digests = ((sample, input_digest((data / sample.path).read_bytes())) for sample in track(list_sources(data)))
    found = [PartSample(sample, digest, groups[digest]) for sample, digest in digests if digest in groups]
    if not found:
        raise InvalidRequestError("no file of the sealed list lies in the data folder")
    return found


def validation_part(
    data: Path, sealed: Sequence[SealedSample], *, seed: int, read: ReadImage, track: Track = iter
) -> list[PartSample]:
    """The validation part, by grouping and splitting once more with the seed of the training.

    Raises:
        InvalidRequestError: the split made here has another test part than the sealed list: these are other data.
        InputError: a file cannot be read as an image.
    """
    scanned = {sample.path: scan_sample(sample, data, read) for sample in track(list_sources(data))}
    samples = list(_without_copies(_grouped(scanned), scanned, sealed))
    parts = part_groups(samples, sealed, seed=seed)
    chosen = {
        part: [sample for sample in samples if parts[group_key(sample)] == part] for part in ("validation", "test")
    }
    if {scanned[sample.path].file_sha256 for sample in chosen["test"]} != {row.file_sha256 for row in sealed}:
        raise InvalidRequestError(
            "the data folder holds other images than the bundle was trained on: its validation part cannot be told"
        )
    return [
        PartSample(sample, scanned[sample.path].file_sha256, group_digest(sample.source, sample.group))
        for sample in chosen["validation"]
    ]


def part_groups(samples: Sequence[Sample], sealed: Sequence[SealedSample], *, seed: int) -> dict[str, Part]:
    """The part of every group, by `group_key`; sealed groups stay in the test part."""
    groups = {row.group for row in sealed}
    fixed: dict[str, Part] = {
        group_key(sample): "test" for sample in samples if group_digest(sample.source, sample.group) in groups
    }
    return split_samples(samples, seed=seed, fixed=fixed)


def _grouped(scanned: Mapping[str, ScannedSample]) -> list[Sample]:
    return group_samples([seen.sample for seen in scanned.values()], lambda sample: scanned[sample.path].picture)


def _without_copies(
    samples: Sequence[Sample], scanned: Mapping[str, ScannedSample], sealed: Sequence[SealedSample]
) -> Iterator[Sample]:
    copies = copies_of_sealed(samples, scanned, sealed)
    return (sample for sample in samples if sample not in copies)
