"""Logs on standard error, for people or as JSON lines; the loggers that print patient identifiers are silenced."""

from __future__ import annotations

import json
import logging
import time
import traceback
from pathlib import Path
from typing import Literal

_IDENTIFYING = (
    *("pydicom", "pynetdicom", "highdicom"),  # they log or print data sets, so names, ids and dates
    *("httpcore2", "httpx2"),  # they log addresses, so signatures and tokens
)
_FIELDS = "irmsia_fields"


def configure(level: str = "WARNING", style: Literal["console", "json"] = "console") -> None:
    """Send the log of this process to standard error and silence what would log identifiers.

    Args:
        level: least level that is written: DEBUG, INFO, WARNING or ERROR.
        style: a line for people, or one JSON object a line.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    silence_identifying_loggers()


def silence_identifying_loggers() -> None:
    """Switch off the loggers of the DICOM libraries; decoder children call it as well."""
    for name in _IDENTIFYING:
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)


def get_logger(name: str) -> logging.Logger:
    """The logger of one module, below ``irmsia``."""
    return logging.getLogger(name if name.startswith("irmsia") else f"irmsia.{name}")


def log_event(logger: logging.Logger, level: int, event: str, **fields: str | int | float | bool | None) -> None:
    """Write one event with its fields. Fields hold codes, counts and durations, never a path or an identifier."""
    logger.log(level, event, extra={_FIELDS: fields})


def format_stack(error: BaseException | None) -> str:
    """Where an exception came from: ``module:line function``, innermost last, then its type.

    Its text is left out: libraries put file names and pieces of data sets into it.
    """
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).stem}:{frame.lineno} {frame.name}" for frame in frames]
    return " > ".join([*places, type(error).__name__])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, event and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = format_stack(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


class ConsoleFormatter(logging.Formatter):
    """``12:34:56 WARNING irmsia.x: event key=value``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def formatException(self, ei: object) -> str:
        """Return the stack without the exception's own text."""
        error = ei[1] if isinstance(ei, tuple) else None
        return format_stack(error)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line without the exception."""
        fields = " ".join(f"{key}={value}" for key, value in _fields(record).items())
        line = super().formatMessage(record)
        return f"{line} {fields}" if fields else line


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, _FIELDS, {})
    return dict(fields) if isinstance(fields, dict) else {}
