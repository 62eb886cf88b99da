"""Logs on standard error."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from irmsia import telemetry


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """The log of the test run stands as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_hold_the_event_and_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object a line on standard error, nothing on standard output."""
    telemetry.configure("INFO", "json")
    telemetry.log_event(telemetry.get_logger("irmsia.x"), logging.INFO, "served", code="OK", ms=1.5)
    out, err = capsys.readouterr()
    line = json.loads(err)
    assert out == ""
    assert {key: line[key] for key in ("level", "logger", "event", "code", "ms")} == {
        "level": "INFO", "logger": "irmsia.x", "event": "served", "code": "OK", "ms": 1.5
    }  # fmt: skip


@pytest.mark.parametrize("style", ["console", "json"])
def test_a_stack_keeps_the_text_of_the_exception_out(capsys: pytest.CaptureFixture[str], style: str) -> None:
    """Libraries put data sets and file names into exception texts; the log says where and of which type, no more."""
    telemetry.configure("INFO", "json" if style == "json" else "console")
    try:
        raise ValueError("Doe^Jane in /home/doe/scan.dcm")
    except ValueError as error:
        telemetry.get_logger("irmsia.x").error("bug", exc_info=error)
    err = capsys.readouterr().err
    assert "Doe" not in err
    assert "ValueError" in err
    assert "test_a_stack_keeps_the_text_of_the_exception_out" in err


@pytest.mark.parametrize("name", ["pydicom", "pynetdicom", "highdicom"])
def test_loggers_that_print_identifiers_are_silent(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Whatever the DICOM libraries log, even at the highest level, goes nowhere."""
    telemetry.configure("DEBUG")
    logging.getLogger(name).critical("PatientName Doe^Jane")
    logging.getLogger(f"{name}.sub").warning("PatientName Doe^Jane")
    assert capsys.readouterr().err == ""
