"""What a read image is. Pixels as stored, geometry in LPS+ millimetres, arrays as (frame, row, column, sample)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class ImageFormat(StrEnum):
    """By content, never by name."""

    DICOM = "DICOM"
    PNG = "PNG"
    JPEG = "JPEG"
    BMP = "BMP"
    TIFF = "TIFF"
    NIFTI = "NIFTI"


class SpacingSource(StrEnum):
    """Where a spacing comes from; contract section 1 says which may give millimetres."""

    PIXEL = "PIXEL"
    PIXEL_CALIBRATED = "PIXEL_CALIBRATED"
    IMAGER = "IMAGER"
    ULTRASOUND_REGION = "ULTRASOUND_REGION"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning of the answer: a stable ``code`` and a text without patient data."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as data: the leaf's code and its message."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Spacing:
    """Millimetres between samples along slice, row and column; null where unknown."""

    slice_mm: float | None = None
    row_mm: float | None = None
    column_mm: float | None = None
    source: SpacingSource = SpacingSource.NONE


@dataclass(frozen=True, slots=True)
class Identity:
    """DICOM identity. UIDs as they are; the patient as keyed pseudonyms only, never names, ids or dates."""

    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    series_instance_uid: str | None = None
    study_instance_uid: str | None = None
    patient_pseudonym: str | None = None
    study_pseudonym: str | None = None


@dataclass(frozen=True, slots=True)
class SequenceGuess:
    """An MR contrast that no attribute states: ``label`` of `irmsia.imaging.sequence`, and the attributes behind it."""

    label: str
    derived_from: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Study parameters that reach the answer. Times in milliseconds, tube voltage in kilovolts."""

    kvp: float | None = None
    tr: float | None = None
    te: float | None = None
    ti: float | None = None
    flip_angle: float | None = None
    magnetic_field_t: float | None = None
    sequence: str | None = None
    sequence_guess: SequenceGuess | None = None
    contrast: bool | None = None
    view_position: str | None = None


@dataclass(frozen=True, slots=True)
class Lut:
    """A lookup table: stored or modality value ``first`` maps to ``values[0]``; ends are clamped.

    ``bits``: third value of the descriptor, a VOI LUT's output runs from 0 to 2**bits - 1; null: to its largest.
    """

    first: int
    values: NDArray[np.float64]
    bits: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """VOI window, DICOM PS3.3 C.11.2. ``function``: LINEAR, LINEAR_EXACT or SIGMOID."""

    center: float
    width: float
    function: str = "LINEAR"


@dataclass(frozen=True, slots=True)
class Interpretation:
    """All that turns the stored values of one file into the grey picture a viewer or a model sees.

    ``photometric`` is DICOM's word, or GREY, GREY_ALPHA, RGB, RGBA, CMYK outside DICOM. ``padding`` is the inclusive
    range of stored values that are no image. ``units``: of the modality values, ``HU`` for Hounsfield units.
    ``inverted``: MONOCHROME1, or INVERSE on MONOCHROME2. ``palette``: (entries, 3) scaled to 0..255.
    ``exif_orientation``: 1..8.
    """

    photometric: str = "GREY"
    bits_stored: int = 8
    signed: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: Lut | None = None
    units: str | None = None
    padding: tuple[float, float] | None = None
    windows: tuple[Window, ...] = ()
    voi_luts: tuple[Lut, ...] = ()
    inverted: bool = False
    palette: NDArray[np.float64] | None = None
    palette_first: int = 0
    exif_orientation: int = 1


@dataclass(frozen=True, slots=True)
class Orientation:
    """Where the first pixel lies and how rows and columns run, LPS+, millimetres (DICOM PS3.3 C.7.6.2)."""

    position: tuple[float, float, float] | None
    row_cosine: tuple[float, float, float]
    column_cosine: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class FrameGeometry:
    """Where one frame lies, by its own functional groups first, then the shared ones, then the file."""

    spacing: Spacing
    slice_thickness_mm: float | None = None
    orientation: Orientation | None = None


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Everything known of an image but its pixels; small, picklable, safe to show (contract section 1)."""

    format: ImageFormat | None = None
    modality: str | None = None
    body_part: str | None = None
    region: str | None = None
    laterality: str | None = None
    shape: tuple[int, int, int, int] | None = None
    dtype: str | None = None
    spacing: Spacing = field(default_factory=Spacing)
    slice_thickness_mm: float | None = None
    orientation: Orientation | None = None
    transfer_syntax: str | None = None
    lossless: bool | None = None
    frame_sha256: tuple[str, ...] = ()
    input_sha256: str | None = None
    decoder: str | None = None
    identity: Identity = field(default_factory=Identity)
    acquisition: Acquisition = field(default_factory=Acquisition)
    age_years: float | None = None
    qc_subject: bool = False
    """QualityControlSubject (0010,0200) = YES."""
    phantom_version: str | None = None
    """Generator version under the private creator ``IRMSIA``, else null."""
    warnings: tuple[Notice, ...] = ()
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A read image: immutable pixels of the frames that were asked for, and how to look at them.

    ``pixels``: (len(indices), rows, columns, samples), values as contract section 1 defines them for the frame digest,
    not writeable. ``indices``: the frame numbers they are of. ``by_frame``: parallel to ``indices`` where functional
    groups give frames their own interpretation; empty where ``interpretation`` holds for all. ``geometry``: likewise;
    empty where that of ``info`` holds for all.
    """

    info: ImageInfo
    interpretation: Interpretation
    pixels: NDArray[np.generic]
    indices: tuple[int, ...]
    by_frame: tuple[Interpretation, ...] = ()
    geometry: tuple[FrameGeometry, ...] = ()

    def __post_init__(self) -> None:
        self.pixels.setflags(write=False)

    def frame(self, index: int) -> NDArray[np.generic]:
        """Stored values of frame ``index``: (rows, columns, samples)."""
        kept: NDArray[np.generic] = self.pixels[self.indices.index(index)]
        return kept

    def interpretation_of(self, index: int) -> Interpretation:
        """How frame ``index`` is to be looked at: its own functional groups first, else those of the file."""
        return self.by_frame[self.indices.index(index)] if self.by_frame else self.interpretation
