"""Golden verification (contract section 5): this machine reads, prepares and infers as the trained network did.

No torch: the records say what it answered. Phantoms are made again; real images come through ``resolve``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from irmsia.bundles.golden import MINIMUM_RECORDS, GoldenRecord, PhantomSource, count_distinct
from irmsia.bundles.load import Bundle
from irmsia.errors import CancelledError, IrmsiaError
from irmsia.findings.calibration import apply_calibration, softmax
from irmsia.findings.decision import NetworkOutputs, Verdict, decide
from irmsia.findings.flips import Flip, compare_verdicts
from irmsia.findings.margins import RELATIVE
from irmsia.findings.rules import ModelRules
from irmsia.imaging.decode_task import PreparedInput
from irmsia.imaging.phantoms import PHANTOM_VERSION, make_phantom
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.inference.model import ReadyModel, make_model, network_outputs
from irmsia.inference.pipeline import make_facts
from irmsia.inference.runtimes.protocol import Precision, Session
from irmsia.inference.runtimes.registry import AUTO

FINGERPRINT_TOLERANCE = 1e-4

_GAP = "_gap:"
"""Margins between two probabilities, which no threshold of the bundle fixes."""

Prepare = Callable[[bytes, PreprocessSpec], PreparedInput]
Resolve = Callable[[str], bytes | None]


class Status(StrEnum):
    """Of one record. NOT_CHECKED: a real image that is not at hand; it fails nothing."""

    PASS = "PASS"
    FAIL = "FAIL"
    NOT_CHECKED = "NOT_CHECKED"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a precision may change. ``probability``: largest |dp|, null where only flips count.

    The same number bounds each logit, as a share of it or of 1: a probability near 0 or 1 hides what moves its logit.

    ``margin``, ``relative``: a flip is excused when the quantity that decided lay that close to its threshold.
    ``flips_in_64``: excused ones, null for any number.
    """

    probability: float | None
    margin: float
    relative: float
    flips_in_64: int | None


TOLERANCES = {
    Precision.F32: Tolerance(1e-4, margin=0.01, relative=0.01, flips_in_64=None),
    Precision.INT8: Tolerance(None, margin=0.01, relative=0.01, flips_in_64=1),
    Precision.BF16: Tolerance(None, margin=0.03, relative=0.03, flips_in_64=1),
}


@dataclass(frozen=True, slots=True)
class RecordResult:
    """``name`` holds no file name. ``max_dp``: largest difference of a calibrated probability, null if not computed."""

    name: str
    phantom: bool
    status: Status
    reasons: tuple[str, ...] = ()
    max_dp: float | None = None
    flip: Flip | None = None


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """All records of one bundle on one runtime, and ``problems`` that speak of the whole."""

    bundle: str
    runtime: str
    precision: Precision
    results: tuple[RecordResult, ...]
    problems: tuple[str, ...]

    def count(self, status: Status) -> int:
        """How many records have this status."""
        return sum(result.status is status for result in self.results)

    @property
    def ok(self) -> bool:
        """Whether the bundle may serve."""
        return not self.problems and not self.count(Status.FAIL)

    @property
    def flips(self) -> int:
        """Records that answer otherwise, the excused ones among them."""
        return sum(result.flip is not None for result in self.results)

    @property
    def max_dp(self) -> float:
        """Largest difference of any calibrated probability."""
        return max((result.max_dp for result in self.results if result.max_dp is not None), default=0.0)


def verify_bundle(
    bundle: Bundle,
    prepare: Prepare,
    *,
    resolve: Resolve = lambda digest: None,
    runtime: str = AUTO,
    precision: Precision = Precision.F32,
    minimum: int = MINIMUM_RECORDS,
) -> VerificationReport:
    """Run every golden record of ``bundle`` through ``prepare`` (as the decoder pool does) and the runtime.

    Args:
        bundle: checked by `irmsia.bundles.load.load_bundle`.
        prepare: reads and preprocesses the bytes of one file.
        resolve: the bytes of the real image whose file has this SHA-256, or null.
        runtime: name of the runtime, or ``auto``.
        precision: what it computes in.
        minimum: different records of each kind that the bundle must hold.

    Raises:
        BundleRejectedError: the runtime does not take the network.
        InvalidRequestError: there is no such runtime, or it does not compute in ``precision`` here.
    """
    model = make_model(bundle, runtime=runtime, precision=precision)
    return verify_models([model], prepare, resolve=resolve, minimum=minimum)[0]


def verify_models(
    models: Sequence[ReadyModel],
    prepare: Prepare,
    *,
    resolve: Resolve = lambda digest: None,
    minimum: int = MINIMUM_RECORDS,
) -> tuple[VerificationReport, ...]:
    """`verify_bundle` for one bundle made ready several times: each image is read once and answered by all."""
    sessions = [model.compiled.open_session() for model in models]
    results: list[list[RecordResult]] = [[] for _ in models]
    records = tuple(models[0].bundle.golden())
    for record in records:
        read = _read_record(record, models[0], prepare, resolve)
        for model, session, found in zip(models, sessions, results, strict=True):
            found.append(_judge(_Check(model, session, record), read))
    return tuple(
        VerificationReport(
            model.bundle.id,
            model.runtime,
            model.precision,
            tuple(found),
            (*_too_few(records, minimum), *_too_many_flips(tuple(found), model.precision)),
        )
        for model, found in zip(models, results, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Check:
    model: ReadyModel
    session: Session
    record: GoldenRecord

    @property
    def tolerance(self) -> Tolerance:
        return TOLERANCES[self.model.precision]

    def result(self, status: Status, *reasons: str) -> RecordResult:
        return RecordResult(self.record.name, self.record.phantom is not None, status, reasons)


def _read_record(
    record: GoldenRecord, model: ReadyModel, prepare: Prepare, resolve: Resolve
) -> PreparedInput | str | None:
    """The image of a record as this machine reads it, or why it cannot; null when it is not at hand."""
    if record.phantom is not None and record.phantom.version != PHANTOM_VERSION:
        return f"needs phantom generator {record.phantom.version}, here is {PHANTOM_VERSION}"
    try:
        data = resolve(record.input_sha256) if record.phantom is None else _remake(record.phantom)
        return None if data is None else prepare(data, model.bundle.manifest.preprocessing)
    except CancelledError:
        raise
    except IrmsiaError as error:
        return f"{error.code}: {error.message}"


def _judge(check: _Check, read: PreparedInput | str | None) -> RecordResult:
    if read is None:
        return check.result(Status.NOT_CHECKED)
    if isinstance(read, str):
        return check.result(Status.FAIL, read)
    try:
        return _compare(check, read)
    except IrmsiaError as error:
        return check.result(Status.FAIL, f"{error.code}: {error.message}")


def _remake(source: PhantomSource) -> bytes:
    return make_phantom(source.seed, source.kind, source.lesion).data


def _compare(check: _Check, prepared: PreparedInput) -> RecordResult:
    model, record, frame = check.model, check.record, prepared.frames[0]
    outputs = network_outputs(check.session.infer(frame.tensor[None]), model.rules)
    verdict = decide(model.rules, model.scorer, make_facts(prepared.info, frame), outputs)
    distance = frame.fingerprint().difference(record.fingerprint.to_fingerprint())
    max_dp = _largest_difference(record, outputs, model.rules)
    flip = compare_verdicts(
        record.to_verdict(),
        verdict,
        tolerance=check.tolerance.margin,
        relative_tolerance=check.tolerance.relative,
    )
    reasons = [
        *_reading_reasons(record, prepared, distance),
        *_probability_reasons(check.tolerance, max_dp),
        *_logit_reasons(check, outputs),
        *_score_reasons(check, outputs),
        *_verdict_reasons(check, verdict, flip),
    ]
    status = Status.FAIL if reasons else Status.PASS
    return RecordResult(record.name, record.phantom is not None, status, tuple(reasons), max_dp, flip)


def _reading_reasons(record: GoldenRecord, prepared: PreparedInput, distance: float) -> Iterator[str]:
    if record.real is not None and prepared.info.input_sha256 != record.input_sha256:
        yield "the bytes are not those of the record"
    if prepared.info.frame_sha256 != record.frame_sha256:
        yield "the pixels read are not those of the record"
    # Written so that a NaN fails.
    if not distance <= FINGERPRINT_TOLERANCE:
        yield f"the preprocessed picture differs by {distance:.3g}"


def _probability_reasons(tolerance: Tolerance, max_dp: float) -> Iterator[str]:
    if tolerance.probability is not None and not max_dp <= tolerance.probability:
        yield f"a probability differs by {max_dp:.3g}"


def _logit_reasons(check: _Check, outputs: NetworkOutputs) -> Iterator[str]:
    limit = check.tolerance.probability
    if limit is None:
        return
    heads = {"router": (check.record.router, outputs.router)}
    heads |= {name: (check.record.logits.get(name, ()), here) for name, here in outputs.logits.items()}
    moved = [name for name, (there, here) in heads.items() if not _is_same_logit(np.array(there), here, limit)]
    if moved:
        yield f"a logit of {moved[0]} differs"


def _is_same_logit(there: NDArray[np.floating], here: NDArray[np.floating], limit: float) -> bool:
    if there.shape != here.shape:
        return False
    return bool(np.all(np.abs(here - there) <= limit * np.maximum(1.0, np.abs(there))))


def _score_reasons(check: _Check, outputs: NetworkOutputs) -> Iterator[str]:
    if check.tolerance.probability is None:
        return
    here = check.model.scorer.score_all(outputs.statistics)
    there = check.record.scores
    moved = [name for name in sorted(here.keys() | there.keys()) if not _is_near(here, there, name, check.tolerance)]
    if moved:
        yield f"the refusal score {moved[0]} differs"


def _is_near(here: dict[str, float], there: dict[str, float], name: str, tolerance: Tolerance) -> bool:
    if name not in here or name not in there:
        return False
    return abs(here[name] - there[name]) <= tolerance.relative * abs(there[name])


def _verdict_reasons(check: _Check, verdict: Verdict, flip: Flip | None) -> Iterator[str]:
    if flip is not None and not flip.excused:
        yield f"answers {_spell(verdict)} instead of {_spell(check.record.to_verdict())}"
    if check.tolerance.probability is not None:
        moved = [name for name in check.record.margins if _GAP not in name and _has_moved(check, verdict, name)]
        if moved:
            yield f"the threshold of {moved[0]} is lost or has moved"


def _has_moved(check: _Check, verdict: Verdict, name: str) -> bool:
    # At fp32 a margin moves with its probability alone, so a larger change is the threshold's.
    limit = check.tolerance.relative if name.startswith(RELATIVE) else check.tolerance.margin
    here = verdict.margins.get(name)
    return here is None or not abs(here - check.record.margins[name]) <= limit


def _spell(verdict: Verdict) -> str:
    present = [row.code for row in verdict.findings if row.state == "PRESENT"]
    reason = f" {verdict.reason}" if verdict.reason else ""
    return f"{verdict.decision}{reason} ({', '.join(present) or 'nothing present'})"


def _largest_difference(record: GoldenRecord, outputs: NetworkOutputs, rules: ModelRules) -> float:
    """Over the router's and every group's calibrated probabilities; infinite where the record has other shapes."""
    pairs = [(np.array(record.router), outputs.router, softmax)]
    for group in rules.groups:
        calibrate = partial(apply_calibration, calibration=group.calibration, kind=group.kind)
        pairs.append((np.array(record.logits.get(group.region, ())), outputs.logits[group.region], calibrate))
    if any(there.shape != here.shape for there, here, _ in pairs):
        return float("inf")
    return max(float(np.max(np.abs(turn(there) - turn(here)))) for there, here, turn in pairs)


def _too_few(records: Sequence[GoldenRecord], minimum: int) -> Iterator[str]:
    """One picture many times proves no more than once."""
    for count, kind in zip(count_distinct(records), ("phantoms", "images"), strict=True):
        if count < minimum:
            yield f"holds {count} different golden {kind}, {minimum} are needed"


def _too_many_flips(results: tuple[RecordResult, ...], precision: Precision) -> Iterator[str]:
    checked = sum(result.status is not Status.NOT_CHECKED for result in results)
    allowed = TOLERANCES[precision].flips_in_64
    flips = sum(result.flip is not None for result in results)
    if allowed is not None and flips > max(1, checked // 64) * allowed:
        yield f"{flips} of {checked} answers change at {precision}"
