"""Openings of a sealed test part: one line each in a hash chain, so that a second opening shows."""

import hashlib
import json
from pathlib import Path

from irmsia import durable
from irmsia.errors import InvalidRequestError

_START = "0" * 64


def record_opening(path: Path, *, sealed_digest: str, bundle: str, when: str) -> int:
    """Append an opening and return how many times this sealed list has now been opened.

    Args:
        path: the log, JSON lines; made on demand.
        sealed_digest: SHA-256 of the sealed list.
        bundle: id of the bundle that was measured.
        when: UTC, ISO 8601.

    Raises:
        InvalidRequestError: the log's chain is broken.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    openings = _checked(lines)
    entry = {
        "previous": _digest(lines[-1]) if lines else _START,
        "sealed": sealed_digest,
        "bundle": bundle,
        "when": when,
    }
    lines.append(json.dumps(entry, sort_keys=True, separators=(",", ":")))
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_text(path, "".join(f"{line}\n" for line in lines))
    return 1 + sum(opening.get("sealed") == sealed_digest for opening in openings)


def _checked(lines: list[str]) -> list[dict[str, str]]:
    """Return the openings of an unbroken chain."""
    openings = []
    previous = _START
    for line in lines:
        opening = _parse(line)
        if opening.get("previous") != previous:
            raise InvalidRequestError("the log of openings was changed: its hash chain is broken")
        openings.append(opening)
        previous = _digest(line)
    return openings


def _parse(line: str) -> dict[str, str]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError) as error:
        raise InvalidRequestError("the log of openings was changed: a line cannot be read") from error


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
