"""One prepared image, frame by frame, through the network to its answer. What numbers mean is decided in
`irmsia.findings`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from irmsia import __version__
from irmsia.errors import InvalidRequestError
from irmsia.findings.decision import CaseFacts, Verdict, asks_network, decide
from irmsia.findings.frames import leading_frame, make_frames
from irmsia.findings.types import (
    AnswerWarning,
    Basis,
    Decision,
    Diagnosis,
    Evidence,
    Explanation,
    SequenceGuess,
    Source,
    SourceAcquisition,
    SourceSpacing,
    Timings,
)
from irmsia.imaging.decode_task import PreparedInput
from irmsia.imaging.preprocess import Prepared
from irmsia.imaging.types import Acquisition, FrameGeometry, ImageFormat, ImageInfo
from irmsia.inference.explain import make_explanation, make_overlay
from irmsia.inference.model import ReadyModel, network_outputs
from irmsia.inference.protocol import DiagnoseRequest, Stage
from irmsia.inference.runtimes.protocol import Tensors

SOFTWARE = f"irmsia {__version__}"

Infer = Callable[[NDArray[np.float32]], Tensors]


def _nothing() -> None:
    return None


def _no_picture(frame: int) -> None:
    return None


def _tell_nobody(stage: Stage, share: float = 0.0) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Case:
    """An image on its way: what was asked, what was read, which model answers.

    ``check`` is called between frames and raises when nobody wants the answer any more; ``show`` gives the grey
    picture of a frame, uint8 (rows, columns) as seen, that ``prepared`` does not hold; ``tell`` hears of each stage and
    its share (0..1) that is done; ``at_once``: frames that go through the network together.
    """

    request: DiagnoseRequest
    prepared: PreparedInput
    model: ReadyModel
    check: Callable[[], None] = _nothing
    show: Callable[[int], NDArray[np.uint8] | None] = _no_picture
    tell: Callable[[Stage, float], None] = _tell_nobody
    at_once: int = 1

    @property
    def wants_map(self) -> bool:
        """Whether an explanation was asked for, with or without its picture."""
        return self.request.heatmap or self.request.overlay

    def geometry_of(self, frame: Prepared) -> FrameGeometry | None:
        """Where ``frame`` lies, where it has a geometry of its own."""
        places = self.prepared.geometry
        position = [one.frame for one in self.prepared.frames].index(frame.frame)
        return places[position] if places else None

    def picture_of(self, frame: Prepared) -> NDArray[np.uint8] | None:
        """The grey picture that an overlay of ``frame`` lies on."""
        first = self.prepared.frames[0]
        return self.prepared.picture if frame is first else self.show(frame.frame)


@dataclass(frozen=True, slots=True)
class _Judged:
    """One frame with its verdict; ``tensors`` only where a map was asked for."""

    frame: Prepared
    verdict: Verdict
    tensors: Tensors | None
    infer_ms: float


def check_request(request: DiagnoseRequest, model: ReadyModel) -> None:
    """Nothing when ``model`` can answer what ``request`` asks.

    Raises:
        InvalidRequestError: an explanation of a term that no group of the model has.
    """
    terms = list(dict.fromkeys(term for group in model.rules.groups for term in group.terms))
    if request.term is not None and request.term not in terms:
        raise InvalidRequestError(f"the model has no term {request.term[:64]!r}; it has: {', '.join(terms)}")


def answer_case(case: Case, infer: Infer) -> Diagnosis:
    """The answer for all prepared frames, that of the leading one on top; ``timings_ms`` holds what was measured so far
    (no queue, no total). ``infer`` gives the network's outputs by name for images (n, 1, S, S).

    Raises:
        InternalError: the network gives numbers that are not finite.
        Whatever ``case.check`` and ``case.show`` raise.
    """
    judged = list(_judge(case, infer))
    verdicts = [one.verdict for one in judged]
    lead = judged[leading_frame(verdicts)]
    info = case.prepared.info
    total = info.shape[0] if info.shape is not None else 1
    begin = time.monotonic()
    if case.wants_map:
        case.check()
        case.tell(Stage.EXPLAINING, 0.0)
    explanation, notes = _explain(case, lead)
    timings = Timings(
        decode=case.prepared.decode_ms,
        preprocess=case.prepared.preprocess_ms,
        infer=sum(one.infer_ms for one in judged),
        explain=_since(begin),
    )
    return replace(
        _from_verdict(lead.verdict),
        input=case.request.input,
        source=make_source(info, case.geometry_of(lead.frame)),
        modality=info.modality,
        frames=make_frames(total, [one.frame.frame for one in judged], verdicts),
        explanation=explanation,
        model=case.model.ref,
        evidence=_evidence(case),
        timings_ms=timings,
        warnings=(*_warnings(case, lead.frame.frame, total), *notes),
    )


def _judge(case: Case, infer: Infer) -> Iterator[_Judged]:
    frames = case.prepared.frames
    case.tell(Stage.INFERRING, 0.0)
    for begin in range(0, len(frames), case.at_once):
        if begin:
            case.check()
        some = frames[begin : begin + case.at_once]
        yield from _judge_together(case, infer, some)
        case.tell(Stage.INFERRING, (begin + len(some)) / len(frames))


def _judge_together(case: Case, infer: Infer, frames: Sequence[Prepared]) -> Iterator[_Judged]:
    """Each frame by itself, but for one inference of those that the rules before the network do not answer."""
    model = case.model
    facts = [make_facts(case.prepared.info, frame) for frame in frames]
    asking = [asks_network(model.rules, known) for known in facts]
    begin = time.monotonic()
    rows = iter(_infer(infer, [frame.tensor for frame, asks in zip(frames, asking, strict=True) if asks]))
    each_ms = _since(begin) / max(1, sum(asking))
    for frame, known, asks in zip(frames, facts, asking, strict=True):
        tensors = next(rows) if asks else None
        outputs = None if tensors is None else network_outputs(tensors, model.rules)
        verdict = decide(model.rules, model.scorer, known, outputs, all_findings=case.request.all_findings)
        yield _Judged(frame, verdict, tensors if case.wants_map else None, each_ms if asks else 0.0)


def _infer(infer: Infer, images: Sequence[NDArray[np.float32]]) -> list[Tensors]:
    """The outputs of each image, (1, ...) each; no inference for none."""
    if not images:
        return []
    tensors = infer(images[0][None] if len(images) == 1 else np.stack(images))
    return [{name: values[row : row + 1] for name, values in tensors.items()} for row in range(len(images))]


def make_facts(info: ImageInfo, frame: Prepared) -> CaseFacts:
    """What the file's tags and the picture say, for the rules before the network."""
    return CaseFacts(
        modality=info.modality,
        region=info.region,
        age_years=info.age_years,
        qc_subject=info.qc_subject,
        phantom_version=info.phantom_version,
        blank=frame.blank,
    )


def make_source(info: ImageInfo, geometry: FrameGeometry | None = None) -> Source:
    """What the file says of itself; identity and acquisition are null outside DICOM.

    ``geometry``: that of the leading frame where it has its own.
    """
    shape = info.shape or (None, None, None, None)
    base = Source(format=info.format and info.format.value, rows=shape[1], columns=shape[2])
    if info.format is not ImageFormat.DICOM:
        return base
    identity, acquisition = info.identity, info.acquisition
    place = geometry or FrameGeometry(info.spacing, info.slice_thickness_mm)
    spacing = place.spacing
    return replace(
        base,
        modality=info.modality,
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        study_instance_uid=identity.study_instance_uid,
        patient_pseudonym=identity.patient_pseudonym,
        study_pseudonym=identity.study_pseudonym,
        body_part=info.body_part,
        laterality=info.laterality,
        spacing_mm=SourceSpacing(spacing.slice_mm, spacing.row_mm, spacing.column_mm),
        spacing_source=spacing.source.value,
        slice_thickness_mm=place.slice_thickness_mm,
        acquisition=SourceAcquisition(
            kvp=acquisition.kvp,
            tr=acquisition.tr,
            te=acquisition.te,
            ti=acquisition.ti,
            flip_angle=acquisition.flip_angle,
            magnetic_field_t=acquisition.magnetic_field_t,
            sequence=acquisition.sequence,
            contrast=acquisition.contrast,
            view_position=acquisition.view_position,
            sequence_guess=_guess(acquisition),
        ),
    )


def _guess(acquisition: Acquisition) -> SequenceGuess | None:
    guess = acquisition.sequence_guess
    return None if guess is None else SequenceGuess(guess.label, Basis.GUESS, guess.derived_from)


def _from_verdict(verdict: Verdict) -> Diagnosis:
    return Diagnosis(
        decision=verdict.decision,
        reason=verdict.reason,
        rule=verdict.rule,
        region=verdict.region,
        primary=verdict.primary,
        findings=verdict.findings,
        severity=verdict.severity,
        risk=verdict.risk,
        urgency=verdict.urgency,
        conformal_set=verdict.conformal_set,
    )


def _evidence(case: Case) -> Evidence:
    info = case.prepared.info
    return Evidence(
        input_sha256=info.input_sha256,
        frame_sha256=info.frame_sha256,
        decoder=info.decoder,
        bundle=case.model.bundle.id,
        software=f"{SOFTWARE}, {case.model.engine}",
    )


def _explain(case: Case, lead: _Judged) -> tuple[Explanation | None, tuple[AnswerWarning, ...]]:
    request, verdict, frame = case.request, lead.verdict, lead.frame
    if not case.wants_map or verdict.decision is Decision.REFUSE:
        return None, ()
    if lead.tensors is None or verdict.routed is None:
        return None, ()
    group = case.model.rules.group(verdict.routed)
    term = request.term or verdict.leading_term
    if term not in group.terms:
        text = f"the image was routed to {group.region}, whose group has no term {term}"
        return None, (AnswerWarning("NO_EXPLANATION", text),)
    cells = lead.tensors[f"maps_{group.region}"][0, group.terms.index(term)]
    explanation = make_explanation(cells, term, frame)
    picture = case.picture_of(frame) if request.overlay else None
    if picture is not None:
        explanation = replace(explanation, overlay_png=make_overlay(cells, frame, picture))
    return explanation, ()


def _warnings(case: Case, lead: int, total: int) -> Iterator[AnswerWarning]:
    yield from (AnswerWarning(notice.code, notice.text) for notice in case.prepared.info.warnings)
    if total > 1:
        text = f"this is the answer of frame {lead} of 0 to {total - 1}; coverage and calibration hold for each frame"
        yield AnswerWarning("LEADING_FRAME", f"{text}, not for the highest risk of several")
    if case.request.segmentation:
        yield AnswerWarning("NO_SEGMENTATION", "this model draws no lesion outlines")
    yield from (AnswerWarning("LIMITATION", text) for text in case.model.bundle.manifest.limitations)


def _since(begin: float) -> float:
    return 1000.0 * (time.monotonic() - begin)
