"""Reads each sample once: its digests for the sealed list, its grey picture for finding near-duplicates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from irmsia.datasets.duplicates import Grey, difference_hash, perceptual_hash
from irmsia.datasets.samples import Sample
from irmsia.datasets.sealed import SealedIndex, SealedSample, group_digest
from irmsia.imaging.digest import input_digest
from irmsia.imaging.types import Image
from irmsia.imaging.voi import grey
from irmsia.imaging.window import VoiSpec

ReadImage = Callable[[bytes], Image]


@dataclass(frozen=True, slots=True)
class ScannedSample:
    """A sample with what its first frame shows.

    Attributes:
        sample: which.
        file_sha256: of the file's bytes.
        frame_sha256: of its frames, contract section 1.
        picture: (H, W) uint8 as a viewer shows it.
    """

    sample: Sample
    file_sha256: str
    frame_sha256: tuple[str, ...]
    picture: Grey


def scan_sample(sample: Sample, data: Path, read: ReadImage) -> ScannedSample:
    """Read one sample's file.

    Raises:
        InputError: the file cannot be read as an image.
    """
    content = (data / sample.path).read_bytes()
    image = read(content)
    seen = grey(image, image.indices[0], VoiSpec())
    return ScannedSample(
        sample=sample,
        file_sha256=input_digest(content),
        frame_sha256=image.info.frame_sha256,
        picture=np.rint(seen.values * 255).astype(np.uint8),
    )


def sealed_row(scanned: ScannedSample, group: str) -> SealedSample:
    """Return the line that seals a sample of ``group``."""
    return SealedSample(
        file_sha256=scanned.file_sha256,
        frame_sha256=scanned.frame_sha256,
        perceptual_hash=f"{perceptual_hash(scanned.picture):016x}",
        difference_hash=f"{difference_hash(scanned.picture):064x}",
        group=group_digest(scanned.sample.source, group),
    )


def copies_of_sealed(
    samples: Sequence[Sample], scanned: Mapping[str, ScannedSample], sealed: Sequence[SealedSample]
) -> list[Sample]:
    """Return the samples that are or look like a sealed one, but whose own group is not sealed.

    Args:
        samples: with their groups.
        scanned: by the sample's path.
        sealed: the committed list.
    """
    index = SealedIndex(sealed)
    rows = {sample.path: sealed_row(replace(scanned[sample.path], sample=sample), sample.group) for sample in samples}
    return [
        sample for sample in samples if not index.holds_group(rows[sample.path]) and index.holds_copy(rows[sample.path])
    ]
