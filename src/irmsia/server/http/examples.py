"""The examples of the OpenAPI document: real objects through the real encoders, so they cannot lag behind either."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from irmsia import __version__
from irmsia.errors import OverloadedError, TruncatedError
from irmsia.findings.service import IntendedUseRow, TermGroup
from irmsia.findings.summary import summarise
from irmsia.findings.types import (
    AnswerWarning,
    Basis,
    ConformalSet,
    Decision,
    Evidence,
    Explanation,
    Finding,
    GridToImage,
    Primary,
    Reason,
    Risk,
    Severity,
    Source,
    SourceAcquisition,
    SourceSpacing,
    State,
    Timings,
    Urgency,
)
from irmsia.server.http.problems import problem_of
from irmsia.wire import Diagnosis, ModelInfo, ModelRef, Problem, ServiceHealth
from irmsia.wire.json import diagnosis_to_json, health_to_json, model_to_json, summary_to_json

_MODEL = ModelRef(hashlib.sha256(b"an example of a manifest").hexdigest(), "starter", "1.0.0")
_STUDY = "2.25.155031029853419180213412361212921873120"
_WARNING = AnswerWarning("LIMITATION", "Trained on children's chest radiographs of one hospital.")


def _chest() -> Diagnosis:
    return Diagnosis(
        input="chest.dcm",
        source=Source(
            format="DICOM",
            modality="DX",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
            sop_instance_uid=f"{_STUDY}.1.1",
            series_instance_uid=f"{_STUDY}.1",
            study_instance_uid=_STUDY,
            patient_pseudonym="p-5c1f1fd2a7c0e0d1",
            study_pseudonym="s-0d9b8d23fa6cf27e",
            body_part="CHEST",
            rows=1500,
            columns=1800,
            spacing_mm=SourceSpacing(None, 0.16, 0.16),
            spacing_source="IMAGER",
            acquisition=SourceAcquisition(kvp=70.0, view_position="PA"),
        ),
        decision=Decision.ACCEPT,
        rule=8,
        region="chest",
        modality="DX",
        primary=Primary("abnormal", 0.94, Basis.RULE),
        findings=(Finding("pneumonia", "Pneumonia", State.PRESENT, 0.94),),
        severity=Severity("severe", Basis.RULE),
        risk=Risk(65.8, "HIGH", Basis.RULE),
        urgency=Urgency.URGENT,
        conformal_set=ConformalSet(0.95, ("pneumonia",)),
        explanation=_map(),
        model=_MODEL,
        evidence=_evidence(b"chest"),
        timings_ms=Timings(queue=0.2, decode=21.4, preprocess=6.1, infer=18.7, explain=1.9, total=48.9),
        warnings=(_WARNING,),
    )


def _map() -> Explanation:
    grid = GridToImage(374.5, 449.5, 750.0, 900.0)
    cells = struct.pack("<4f", 0.12, -0.03, 1.87, 0.41)
    return Explanation("contributions", "pneumonia", 0, shape=(2, 2), grid_to_image=grid, map=cells)


def _evidence(seed: bytes) -> Evidence:
    return Evidence(
        input_sha256=hashlib.sha256(seed).hexdigest(),
        frame_sha256=(hashlib.sha256(seed + b" frame").hexdigest(),),
        decoder="native",
        bundle=_MODEL.id,
        software=f"irmsia {__version__}",
    )


def _refused() -> Diagnosis:
    return Diagnosis(
        input="knee.png",
        source=Source(format="PNG", rows=512, columns=512),
        decision=Decision.REFUSE,
        reason=Reason.OUT_OF_DISTRIBUTION,
        rule=6,
        model=_MODEL,
        evidence=_evidence(b"knee"),
        timings_ms=Timings(queue=0.1, decode=3.8, preprocess=2.2, infer=17.9, total=24.3),
        warnings=(_WARNING,),
    )


def _failed() -> Diagnosis:
    problem = Problem(TruncatedError.code, "the pixel data end early")
    timings = Timings(queue=0.1, decode=1.2, total=1.4)
    return Diagnosis(input="broken.dcm", evidence=_evidence(b"broken"), timings_ms=timings, error=problem)


def make_examples() -> dict[str, Any]:
    """By the name of the schema (or of the error) they are an example of."""
    answers = [_chest(), _refused(), _failed()]
    listed = [diagnosis_to_json(answer) for answer in answers]
    received = hashlib.sha256(b"an image").hexdigest()
    return {
        "Diagnosis": {"accepted": listed[0], "refused": listed[1]},
        "Batch": {"list": listed, "grouped": {"answers": listed, "summary": summary_to_json(summarise(answers))}},
        "Upload": {
            "upload_id": "3q2-7wEjRWeJq83vASNFZ4mrze8BI0Vn",
            "sha256": received,
            "size": 2_700_844,
            "expires_at": "2026-01-31T12:15:00Z",
        },
        "ModelInfo": [model_to_json(_model())],
        "ServiceHealth": health_to_json(
            ServiceHealth(ready=True, model=_MODEL, software=f"irmsia {__version__}", capacity=64, uptime_s=812.5)
        ),
        "Unreadable": problem_of(TruncatedError("the pixel data end early"), diagnosis=_failed()),
        "Overloaded": problem_of(OverloadedError("too many requests at once")),
    }


def _model() -> ModelInfo:
    return ModelInfo(
        id=_MODEL.id,
        name=_MODEL.name,
        version=_MODEL.version,
        task="classification",
        active=True,
        ready=True,
        licence="MIT",
        runtime="openvino",
        precision="f32",
        groups=(TermGroup("chest", "exclusive", ("normal", "pneumonia")),),
        intended_use=(IntendedUseRow(("CR", "DX"), "chest", 0, 17),),
        limitations=(_WARNING.text,),
    )
