"""What an answer is: the one object that every door carries (contract section 4).

Field names are the keys on every wire. Probabilities are 0..1 and calibrated at the prior of the bundle; risk is
0..100; times are milliseconds. Enumerations are short strings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from irmsia import DISCLAIMER


class Decision(StrEnum):
    """What the answer does with the image."""

    ACCEPT = "ACCEPT"
    REFER = "REFER"
    REFUSE = "REFUSE"


class Reason(StrEnum):
    """Why a decision is not ACCEPT (contract section 3)."""

    BLANK = "BLANK"
    QC_SUBJECT = "QC_SUBJECT"
    WRONG_MODALITY = "WRONG_MODALITY"
    WRONG_REGION = "WRONG_REGION"
    UNKNOWN_REGION = "UNKNOWN_REGION"
    REGION_CONFLICT = "REGION_CONFLICT"
    OUT_OF_DISTRIBUTION = "OUT_OF_DISTRIBUTION"
    OUTSIDE_POPULATION = "OUTSIDE_POPULATION"
    AMBIGUOUS = "AMBIGUOUS"
    INCONSISTENT = "INCONSISTENT"
    BORDERLINE = "BORDERLINE"


class State(StrEnum):
    """State of one finding."""

    PRESENT = "PRESENT"
    ABSENT = "ABSENT"
    NOT_ASSESSED = "NOT_ASSESSED"


class Basis(StrEnum):
    """Whether something comes from a trained head, from the published rule table, or is a guess from other facts."""

    MODEL = "MODEL"
    RULE = "RULE"
    GUESS = "GUESS"


class Urgency(StrEnum):
    """Ordered: ROUTINE < URGENT < EMERGENCY."""

    ROUTINE = "ROUTINE"
    URGENT = "URGENT"
    EMERGENCY = "EMERGENCY"


@dataclass(frozen=True, slots=True)
class Primary:
    """``label``: normal, probably_normal, uncertain, probably_abnormal, abnormal. ``probability`` = p(abnormal)."""

    label: str
    probability: float
    basis: Basis


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: ``probability`` is null when the model does not assess the code."""

    code: str
    label: str
    state: State
    probability: float | None


@dataclass(frozen=True, slots=True)
class Severity:
    """``level``: normal, minimal, mild, moderate, severe, critical."""

    level: str
    basis: Basis


@dataclass(frozen=True, slots=True)
class Risk:
    """``score`` 0..100; ``level``: VERY_LOW, LOW, MODERATE, HIGH, CRITICAL."""

    score: float
    level: str
    basis: Basis


@dataclass(frozen=True, slots=True)
class ConformalSet:
    """The terms that hold the truth at the stated ``coverage``."""

    coverage: float
    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """One analysed frame of a multi-frame file."""

    index: int
    decision: Decision
    reason: Reason | None
    rule: int
    primary: Primary | None
    risk: Risk | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Frames:
    """Multi-frame answers; null in the answer for one frame."""

    total: int
    analysed: int
    items: tuple[FrameAnswer, ...]


@dataclass(frozen=True, slots=True)
class GridToImage:
    """Centre of cell (r, c) of a map lies at (row0 + r * row_step, column0 + c * column_step) of the stored image."""

    row0: float
    column0: float
    row_step: float
    column_step: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Signed contributions to the logit of ``term`` on the network's own grid.

    ``map``: float32 little-endian, row-major, ``shape`` = (rows, columns). ``overlay_png`` alone is up-sampled.
    """

    method: str
    term: str
    frame: int
    shape: tuple[int, int]
    grid_to_image: GridToImage
    map: bytes
    overlay_png: bytes | None = None


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A lesion mask; no bundle of this version makes one."""

    term: str
    shape: tuple[int, int]
    mask: bytes


@dataclass(frozen=True, slots=True)
class Measure:
    """A length, area or volume; ``value`` is null with a ``reason`` where the spacing is not known."""

    name: str
    value: float | None
    unit: str
    pixels: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SourceSpacing:
    """Millimetres along slice, row and column."""

    slice_mm: float | None = None
    row_mm: float | None = None
    column_mm: float | None = None


@dataclass(frozen=True, slots=True)
class SequenceGuess:
    """The contrast of an MR image: ``label`` T1, T2, FLAIR ... ``derived_from``: names of the attributes behind it."""

    label: str
    basis: Basis
    derived_from: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceAcquisition:
    """Study parameters (kV, ms, degrees, tesla)."""

    kvp: float | None = None
    tr: float | None = None
    te: float | None = None
    ti: float | None = None
    flip_angle: float | None = None
    magnetic_field_t: float | None = None
    sequence: str | None = None
    contrast: bool | None = None
    view_position: str | None = None
    sequence_guess: SequenceGuess | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What the file says of itself; nulls outside DICOM; never a name, an id or a date."""

    format: str | None = None
    modality: str | None = None
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    series_instance_uid: str | None = None
    study_instance_uid: str | None = None
    patient_pseudonym: str | None = None
    study_pseudonym: str | None = None
    body_part: str | None = None
    laterality: str | None = None
    rows: int | None = None
    columns: int | None = None
    spacing_mm: SourceSpacing = field(default_factory=SourceSpacing)
    spacing_source: str = "NONE"
    slice_thickness_mm: float | None = None
    acquisition: SourceAcquisition = field(default_factory=SourceAcquisition)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The bundle that answered: ``id`` is the SHA-256 of its manifest."""

    id: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is needed to check the answer offline."""

    input_sha256: str | None = None
    frame_sha256: tuple[str, ...] = ()
    decoder: str | None = None
    bundle: str | None = None
    software: str | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds by the monotonic clock."""

    queue: float = 0.0
    decode: float = 0.0
    preprocess: float = 0.0
    infer: float = 0.0
    explain: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class AnswerWarning:
    """A warning of the answer."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as data."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The answer. Either ``error`` is set and there is no decision, or ``decision`` and ``rule`` are set.

    On REFUSE: ``findings`` empty; primary, severity, risk, urgency, conformal_set and explanation null.
    """

    input: str | None = None
    source: Source | None = None
    decision: Decision | None = None
    reason: Reason | None = None
    rule: int | None = None
    region: str | None = None
    modality: str | None = None
    primary: Primary | None = None
    findings: tuple[Finding, ...] = ()
    severity: Severity | None = None
    risk: Risk | None = None
    urgency: Urgency | None = None
    conformal_set: ConformalSet | None = None
    frames: Frames | None = None
    explanation: Explanation | None = None
    segmentation: Segmentation | None = None
    measures: tuple[Measure, ...] = ()
    model: ModelRef | None = None
    evidence: Evidence | None = None
    timings_ms: Timings | None = None
    warnings: tuple[AnswerWarning, ...] = ()
    disclaimer: str = DISCLAIMER
    error: Problem | None = None
