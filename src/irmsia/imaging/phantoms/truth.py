"""What is known of a phantom because it was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

PHANTOM_VERSION = "1"
"""Version of the generator. Any change of any byte it makes is a new version."""

PhantomKind = Literal["CT", "MR", "DX", "US"]
LesionKind = Literal["none", "bright", "dark"]
KINDS: tuple[PhantomKind, ...] = get_args(PhantomKind)
LESIONS: tuple[LesionKind, ...] = get_args(LesionKind)
TERMS: dict[LesionKind, str] = {
    "none": "normal",
    "bright": "phantom_lesion_bright",
    "dark": "phantom_lesion_dark",
}


@dataclass(frozen=True, slots=True)
class Lesion:
    """A disc of ``radius_mm`` around (``row``, ``column``), pixels of the stored image, first pixel's centre = (0, 0).

    ``bright`` and ``dark`` mean as seen, after VOI and inversion. ``row_mm``, ``column_mm``: centre from the
    first pixel's along the plane. ``position_mm``: the centre, LPS+; null where the kind has no position.
    """

    row: float
    column: float
    row_radius: float
    column_radius: float
    row_mm: float
    column_mm: float
    radius_mm: float
    position_mm: tuple[float, float, float] | None

    def holds(self, row: float, column: float, *, margin_rows: float = 0.0, margin_columns: float = 0.0) -> bool:
        """Whether a stored position lies in the lesion, dilated by a margin in pixels."""
        down = (row - self.row) / (self.row_radius + margin_rows)
        across = (column - self.column) / (self.column_radius + margin_columns)
        return down * down + across * across <= 1.0


@dataclass(frozen=True, slots=True)
class Geometry:
    """Plane of a phantom. ``spacing_mm``: (row, column). ``position`` and the cosines: LPS+, or null."""

    rows: int
    columns: int
    spacing_mm: tuple[float, float]
    position: tuple[float, float, float] | None = None
    row_cosine: tuple[float, float, float] | None = None
    column_cosine: tuple[float, float, float] | None = None
    slice_thickness_mm: float | None = None
    slice_spacing_mm: float | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """``expected_term``: of the phantom group. ``lesion``: null without one. ``frame_sha256``: contract section 1."""

    seed: int
    kind: PhantomKind
    lesion_kind: LesionKind
    expected_term: str
    lesion: Lesion | None
    geometry: Geometry
    frame_sha256: str
    version: str = PHANTOM_VERSION


@dataclass(frozen=True, slots=True)
class Phantom:
    """A DICOM file (``data``) and what is true of it."""

    truth: Truth
    data: bytes

    @property
    def name(self) -> str:
        """A file name that tells the generator's version, the kind, the seed and the lesion."""
        truth = self.truth
        return f"phantom-v{truth.version}-{truth.kind.lower()}-{truth.seed:06d}-{truth.lesion_kind}.dcm"
