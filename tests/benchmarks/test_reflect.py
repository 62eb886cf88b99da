"""A server asked through reflection alone."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from benchmarks.reflect import main
from tests.server.scripted import ScriptedService, open_door

SERVICE = "irmsia.v1.DicomDiagnosticService"


def test_a_new_user_finds_and_calls_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services and calls are listed, a message is described, unary and streaming calls are answered."""
    image = tmp_path / "image"
    image.write_bytes(b"image")
    with open_door(ScriptedService()) as door:
        target = door.target
        assert main([target, "list"]) == 0
        assert SERVICE in capsys.readouterr().out.split()
        assert main([target, "list", SERVICE]) == 0
        assert f"{SERVICE}.DiagnoseDicomStream" in capsys.readouterr().out.split()
        assert main([target, "describe", "irmsia.v1.UploadAck"]) == 0
        assert 'name: "received"' in capsys.readouterr().out
        assert main([target, "call", f"{SERVICE}/DiagnoseDicom", json.dumps({"content": f"@{image}"})]) == 0
        assert json.loads(capsys.readouterr().out)["decision"].startswith("DECISION_")
        lines = json.dumps({"open": {}}) + "\n" + json.dumps({"chunk": {"data": f"@{image}", "last": True}}) + "\n"
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        assert main([target, "call", f"{SERVICE}/DiagnoseDicomStream"]) == 0
        assert '"diagnosis"' in capsys.readouterr().out
        assert main([target, "call", f"{SERVICE}/DiagnoseDicom", '{"content": ""}']) == 3
        assert capsys.readouterr().err.startswith("INVALID_ARGUMENT")
