"""Golden records (contract section 5): what the trained network answered, so that a machine can prove it answers alike.

Phantoms are named by generator version, kind, lesion and seed and made again; real images by their digests alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from irmsia.bundles.canonical import canonical_bytes, parse_json
from irmsia.errors import BundleRejectedError
from irmsia.findings.decision import NetworkOutputs, Verdict
from irmsia.findings.types import Decision, Finding, Reason, State
from irmsia.imaging.phantoms import LesionKind, PhantomKind
from irmsia.imaging.preprocess import FINGERPRINT_SIZE, Fingerprint

MINIMUM_RECORDS = 64
"""Distinct ones of each kind, phantom and real."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PhantomSource(_Part):
    """A phantom, made again from these four when it is verified."""

    version: str
    kind: PhantomKind
    lesion: LesionKind
    seed: int


class RealSource(_Part):
    """A real validation image: the digest of its whole file, by which it is looked up."""

    input_sha256: Sha256


class GoldenFingerprint(_Part):
    """`irmsia.imaging.preprocess.Fingerprint` as numbers: ``cells`` = 16 x 16 a channel, row by row."""

    cells: tuple[Finite, ...]
    mean: Finite
    std: Finite

    @field_validator("cells")
    @classmethod
    def _check(cls, cells: tuple[float, ...]) -> tuple[float, ...]:
        if len(cells) not in {FINGERPRINT_SIZE**2, 3 * FINGERPRINT_SIZE**2}:
            raise ValueError("a fingerprint holds 16 x 16 cells a channel")
        return cells

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> Self:
        """Rounded to 1e-7, a thousandth of what verification allows."""
        cells = np.round(fingerprint.reduced, 7).ravel().tolist()
        return cls(cells=tuple(cells), mean=round(fingerprint.mean, 7), std=round(fingerprint.std, 7))

    def to_fingerprint(self) -> Fingerprint:
        """The inverse of `of`, but for the rounding."""
        cells = np.array(self.cells, np.float64).reshape(-1, FINGERPRINT_SIZE, FINGERPRINT_SIZE)
        return Fingerprint(cells, self.mean, self.std)


class GoldenRecord(_Part):
    """One image and everything the trained network said of it in fp32.

    Exactly one of ``phantom`` and ``real`` names the image. ``router`` and ``logits`` (region -> one a term) are not
    calibrated. ``states``: finding code -> PRESENT or ABSENT. ``margins``: how far each quantity that decided lay from
    its threshold (`irmsia.findings.decision.Verdict`). ``scores``: every refusal score by ``statistic/region``, for
    phantoms as well, whose decision skips rule 6.
    """

    phantom: PhantomSource | None = None
    real: RealSource | None = None
    frame_sha256: tuple[Sha256, ...]
    fingerprint: GoldenFingerprint
    router: tuple[Finite, ...]
    logits: dict[str, tuple[Finite, ...]]
    decision: Decision
    reason: Reason | None = None
    rule: int
    region: str | None = None
    routed: str | None = None
    leading_term: str | None = None
    states: dict[str, State]
    margins: dict[str, Finite]
    scores: dict[str, Finite]

    @property
    def name(self) -> str:
        """What a report calls the record; holds no file name."""
        if self.phantom is not None:
            return f"phantom {self.phantom.kind} {self.phantom.lesion} {self.phantom.seed}"
        return f"image {self.input_sha256[:12]}"

    def to_verdict(self) -> Verdict:
        """As much of the verdict as `irmsia.findings.flips` compares."""
        return Verdict(
            self.decision,
            self.reason,
            self.rule,
            self.region,
            findings=tuple(Finding(code, "", state, None) for code, state in self.states.items()),
            margins=dict(self.margins),
            routed=self.routed,
            leading_term=self.leading_term,
        )

    @property
    def input_sha256(self) -> str:
        """Digest of the real image's file; empty for a phantom."""
        return self.real.input_sha256 if self.real is not None else ""


def make_record(
    source: PhantomSource | RealSource,
    *,
    frame_sha256: Iterable[str],
    fingerprint: Fingerprint,
    outputs: NetworkOutputs,
    verdict: Verdict,
    scores: Mapping[str, float],
) -> GoldenRecord:
    """The record of one image: ``outputs`` of the trained network in fp32, its refusal ``scores`` and the ``verdict``.

    ``scores``: as `irmsia.findings.refusal.RefusalScores.score_all` gives them.
    """
    return GoldenRecord(
        phantom=source if isinstance(source, PhantomSource) else None,
        real=source if isinstance(source, RealSource) else None,
        frame_sha256=tuple(frame_sha256),
        fingerprint=GoldenFingerprint.of(fingerprint),
        router=tuple(map(float, outputs.router)),
        logits={region: tuple(map(float, logits)) for region, logits in outputs.logits.items()},
        decision=verdict.decision,
        reason=verdict.reason,
        rule=verdict.rule,
        region=verdict.region,
        routed=verdict.routed,
        leading_term=verdict.leading_term,
        states={row.code: row.state for row in verdict.findings if row.state is not State.NOT_ASSESSED},
        margins={name: float(margin) for name, margin in verdict.margins.items()},
        scores={name: float(score) for name, score in scores.items()},
    )


def count_distinct(records: Iterable[GoldenRecord]) -> tuple[int, int]:
    """Phantoms and real images among ``records``, each picture once: by the digests of its frames, not by its name."""
    pictures = {(record.phantom is not None, record.frame_sha256) for record in records}
    phantoms = sum(phantom for phantom, _ in pictures)
    return phantoms, len(pictures) - phantoms


def write_records(records: Iterable[GoldenRecord]) -> bytes:
    """JSON lines, one canonical object a record."""
    dumped = (record.model_dump(mode="json", exclude_none=True) for record in records)
    return b"".join(canonical_bytes(value) + b"\n" for value in dumped)


def read_records(data: bytes) -> tuple[GoldenRecord, ...]:
    """What `write_records` wrote.

    Raises:
        BundleRejectedError: a line that is no record.
    """
    lines = [line for line in data.split(b"\n") if line]
    return tuple(_read_record(number, line) for number, line in enumerate(lines, start=1))


def _read_record(number: int, line: bytes) -> GoldenRecord:
    try:
        record = GoldenRecord.model_validate_json(canonical_bytes(parse_json(line)), strict=True)
    except ValidationError as error:
        raise BundleRejectedError(f"golden record {number} is malformed") from error
    if (record.phantom is None) == (record.real is None):
        raise BundleRejectedError(f"golden record {number} must name either a phantom or a real image")
    return record
