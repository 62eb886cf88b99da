"""A folder of small files that say what they are, and a real service that answers them by what they say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from irmsia.app.diagnose import DiagnoseOptions
from irmsia.app.inputs import Skipped, list_inputs
from irmsia.app.study import Hooks, StudyOptions, run_study
from irmsia.app.study_result import StudyResult
from irmsia.findings.types import Decision, Diagnosis, Evidence, Problem, Risk, Source, Timings
from irmsia.imaging.limits import ReadLimits
from irmsia.inference.protocol import DiagnoseRequest, InferenceService, ModelInfo
from tests.server.scripted import MODEL_INFO, ScriptedService, make_answer


class StudyService(ScriptedService):
    """Answers files of `write_image`. ``model``: whose id the answers carry; ``failing``: error code by file name."""

    def __init__(self, model: ModelInfo = MODEL_INFO) -> None:
        super().__init__(self._answer_file)
        self.model = model
        self.failing: dict[str, str] = {}

    def models(self) -> tuple[ModelInfo, ...]:
        """The one model."""
        return (self.model,)

    @property
    def asked(self) -> list[str]:
        """Names of the files asked for, in order."""
        return [Path(str(request.source)).name for request in self.requests]

    def _answer_file(self, request: DiagnoseRequest) -> Diagnosis:
        assert isinstance(request.source, Path)
        data = request.source.read_bytes()
        whole = make_answer(replace(request, source=data))
        digest = Evidence(input_sha256=hashlib.sha256(data).hexdigest())
        said: dict[str, Any] = json.loads(data) if data.startswith(b"{") else {"fails": "NOT_AN_IMAGE"}
        code = self.failing.get(request.source.name, said.get("fails"))
        if code is not None:
            return Diagnosis(input=request.input, evidence=digest, error=Problem(code, "no"), timings_ms=Timings())
        pixels = hashlib.sha256(str(said["pixels"]).encode()).hexdigest()
        return replace(
            whole,
            decision=Decision(said["decision"]),
            source=Source("DICOM", "CT", None, said["uid"], said["series"], said["study"]),
            risk=Risk(said["risk"], "HIGH", whole.risk.basis) if whole.risk and said["risk"] is not None else None,
            evidence=replace(digest, frame_sha256=(pixels,)),
        )


def write_image(
    path: Path, uid: str | None, *, pixels: object = None, risk: float | None = 10.0, **said: object
) -> Path:
    """A file whose answer has this instance UID, these pixels (null: its own) and this risk."""
    fields = {"uid": uid, "pixels": pixels or path.name, "risk": risk, "decision": "ACCEPT", "study": "1.2"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**fields, "series": "1.2.3", **said}), "utf-8")
    return path


def write_folder(folder: Path, count: int) -> Path:
    """So many images of two series in one study."""
    for number in range(count):
        write_image(folder / f"{number:03}.dcm", f"1.9.{number}", risk=float(number), series=f"1.2.{1 + number % 2}")
    return folder


def run(
    service: InferenceService,
    folder: Path,
    out: Path,
    *,
    asked: DiagnoseOptions | None = None,
    restart: bool = False,
    language: str | None = None,
    advance: Callable[[], None] = lambda: None,
) -> StudyResult:
    """`run_study` of one folder."""
    skipped = Skipped()
    return run_study(
        service,
        [str(folder)],
        list_inputs([str(folder)], skipped),
        options=StudyOptions(out, asked or DiagnoseOptions(), restart=restart, language=language),
        skipped=skipped,
        limits=ReadLimits(),
        hooks=Hooks(advance),
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The answers of a .jsonl file."""
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]
