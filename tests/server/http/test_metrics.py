from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from irmsia.client import DicomDiagnosticClient
from irmsia.errors import OverloadedError
from irmsia.findings.types import Diagnosis, Problem, Reason, Timings
from irmsia.inference.protocol import DiagnoseRequest, Priority
from irmsia.server.metrics import Metrics
from tests.server.http.doors import open_both
from tests.server.scripted import ScriptedService, make_answer

CANARY = "DOE-JANE"


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_requests_are_counted_by_route(tmp_path: Path) -> None:
    """Each route under its name with its status; addresses and names that callers make up are no label."""
    with open_both(tmp_path) as doors:
        doors.client.post("/api/v1/dicom/diagnose", files={"file": (CANARY, b"image")}, data={"model": CANARY})
        doors.client.get(f"/{CANARY}")
        doors.client.get(f"/api/v1/dicom/upload/{CANARY}")
        doors.client.request("GET", "/", headers={"Host": f"{CANARY}.example"})
        doors.client.request(f"{CANARY[:3]}", "/")
        text = doors.client.get("/metrics").text
    found = _samples(text)
    assert found["irmsia_requests_total", (("call", "diagnose"), ("code", "200"), ("door", "http"))] == 1
    assert found["irmsia_requests_total", (("call", "uploaded"), ("code", "404"), ("door", "http"))] == 1
    assert found["irmsia_request_seconds_count", (("call", "diagnose"), ("door", "http"))] == 1
    assert found["irmsia_ready", ()] == 1
    assert CANARY not in text
    assert next(labels for name, labels in found if name == "irmsia_model_info")[1] == ("name", "starter")


def test_grpc_calls_are_counted(tmp_path: Path) -> None:
    """Each call under its name with the name of its status."""

    def script(request: DiagnoseRequest) -> Diagnosis:
        return make_answer(request) if request.source == b"image" else Diagnosis(error=Problem("TRUNCATED", "short"))

    with open_both(tmp_path, ScriptedService(script)) as doors:
        with DicomDiagnosticClient(f"127.0.0.1:{doors.doors.grpc.port}") as client:
            client.health_check()
            client.diagnose_dicom(b"image")
            client.diagnose_dicom(b"other", raise_errors=False)
        found = _samples(doors.client.get("/metrics").text)
    for call, status in (("HealthCheck", "OK"), ("DiagnoseDicom", "OK"), ("DiagnoseDicom", "INVALID_ARGUMENT")):
        assert found["irmsia_requests_total", (("call", call), ("code", status), ("door", "grpc"))] == 1


def test_what_the_engine_says() -> None:
    """Decisions and refusals by reason, failures by code, risk, stages, batch sizes, overload."""
    metrics = Metrics()
    answer = replace(make_answer(DiagnoseRequest("a", b"x")), timings_ms=Timings(queue=2000, infer=20, total=2100))
    refused = Diagnosis(decision=answer.decision, reason=Reason.BLANK)
    failed = Diagnosis(error=Problem("TRUNCATED", f"{CANARY} ends early"))
    for one, batch in ((answer, 4), (refused, 0), (failed, 0)):
        metrics.admitted(Priority.SINGLE)
        metrics.answered(one, priority=Priority.SINGLE, batch=batch)
    metrics.refused(Priority.BATCH, OverloadedError.code)
    metrics.dropped(Priority.BATCH)
    text = metrics.render()[0].decode()
    found = _samples(text)
    assert found["irmsia_answers_total", (("decision", "ACCEPT"), ("reason", ""))] == 1
    assert found["irmsia_answers_total", (("decision", "ACCEPT"), ("reason", "BLANK"))] == 1
    assert found["irmsia_failures_total", (("code", "TRUNCATED"),)] == 1
    assert found["irmsia_images_turned_away_total", (("code", "OVERLOADED"), ("priority", "BATCH"))] == 1
    assert found["irmsia_images_dropped_total", (("priority", "BATCH"),)] == 1
    assert found["irmsia_stage_seconds_sum", (("stage", "queue"),)] == 2.0
    assert found["irmsia_batch_images_sum", ()] == 4
    assert found["irmsia_risk_score_sum", ()] == 65.625
    assert CANARY not in text


def test_every_metric_is_documented(tmp_path: Path) -> None:
    """docs/rest.md names each metric with its labels, and no other."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "rest.md").read_text("utf-8")
    written = dict(re.findall(r"^\| `(irmsia_\w+)` \|([^|]*)\|", page, re.MULTILINE))
    with open_both(tmp_path) as doors:
        families = list(doors.door.metrics.registry.collect())
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert names == set(written)
