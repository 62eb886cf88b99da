"""Makes cases: a sample's or a phantom's tensor by the bundle's preprocessing, its lesion map on the same grid."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia.datasets.samples import Sample, mask_paths
from irmsia.datasets.scan import ReadImage
from irmsia.datasets.split import Part, group_key
from irmsia.errors import DecodeFailedError
from irmsia.findings.vocabulary import PHANTOM_REGION
from irmsia.imaging.digest import input_digest
from irmsia.imaging.geometry import Grid
from irmsia.imaging.phantoms import Phantom
from irmsia.imaging.phantoms.truth import Truth
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.training.cases import LESION_STRIDE, Case, CaseRow

_MASK_LEVEL = 127


def make_case(sample: Sample, part: Part, *, data: Path, spec: PreprocessSpec, read: ReadImage) -> Case:
    """Prepare one image of a collected set; its lesion masks, where the set has them, lie beside it.

    Raises:
        InputError: the file cannot be read as an image.
    """
    content = (data / sample.path).read_bytes()
    image = read(content)
    frame = image.indices[0]
    prepared = spec.apply(image, frame)
    mask = read_mask(mask_paths(data / sample.path), image.pixels.shape[1:3])
    return Case(
        row=CaseRow(
            name=sample.path,
            region=sample.region,
            term=sample.term,
            part=part,
            group=group_key(sample),
            file_sha256=input_digest(content),
            frame_sha256=image.info.frame_sha256[frame],
            has_lesion=mask is not None,
        ),
        tensor=prepared.tensor,
        lesion=lesion_cells(mask, prepared.grid, spec.resize.size),
    )


def read_mask(paths: Sequence[Path], shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the union of mask files, (rows, columns) of 0 and 255, at the stored image's size; None for no file.

    Raises:
        DecodeFailedError: a mask is no image.
    """
    if not paths:
        return None
    union = np.zeros(shape, np.uint8)
    for path in paths:
        mask = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise DecodeFailedError("a lesion mask cannot be read")
        fitted = cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST)
        union = np.maximum(union, np.where(fitted > _MASK_LEVEL, 255, 0).astype(np.uint8))
    return union


def lesion_cells(mask: NDArray[np.uint8] | None, grid: Grid, size: int) -> NDArray[np.float32]:
    """Return the share of lesion, 0..1, in each cell of 8 x 8 tensor pixels; all 0 where there is no mask.

    Args:
        mask: (rows, columns) of 0 and 255, in stored pixels.
        grid: where the tensor's pixels lie in the stored image.
        size: side of the tensor.
    """
    side = size // LESION_STRIDE
    if mask is None:
        return np.zeros((side, side), np.float32)
    steps = np.arange(size, dtype=np.float32)
    rows, columns = np.meshgrid(
        grid.row0 + steps * grid.row_step, grid.column0 + steps * grid.column_step, indexing="ij"
    )
    seen = cv2.remap(mask, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_NEAREST, borderValue=0)
    cells = np.asarray(seen, np.float32).reshape(side, LESION_STRIDE, side, LESION_STRIDE).mean(axis=(1, 3))
    return np.asarray(cells / 255, np.float32)


def make_phantom_case(phantom: Phantom, part: Part, *, spec: PreprocessSpec, read: ReadImage) -> Case:
    """Prepare one phantom; its lesion map follows from its analytic truth."""
    image = read(phantom.data)
    frame = image.indices[0]
    prepared = spec.apply(image, frame)
    return Case(
        row=CaseRow(
            name=phantom.name,
            region=PHANTOM_REGION,
            term=phantom.truth.expected_term,
            part=part,
            group=f"{PHANTOM_REGION}|{phantom.name}",
            file_sha256=input_digest(phantom.data),
            frame_sha256=image.info.frame_sha256[frame],
            has_lesion=True,
        ),
        tensor=prepared.tensor,
        lesion=lesion_cells(disc_mask(phantom.truth), prepared.grid, spec.resize.size),
    )


def disc_mask(truth: Truth) -> NDArray[np.uint8]:
    """Return the phantom's lesion as (rows, columns) of 0 and 255."""
    rows, columns = np.mgrid[: truth.geometry.rows, : truth.geometry.columns].astype(np.float64)
    if truth.lesion is None:
        return np.zeros(rows.shape, np.uint8)
    lesion = truth.lesion
    down, across = (rows - lesion.row) / lesion.row_radius, (columns - lesion.column) / lesion.column_radius
    return np.where(down * down + across * across <= 1.0, 255, 0).astype(np.uint8)
