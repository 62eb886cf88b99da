"""When two answers are the same (contract section 4): between doors, and between two encodings of one picture."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from irmsia.findings.types import Diagnosis
from irmsia.wire.json import diagnosis_to_json

TOLERANCES = {"f32": 1e-4, "bf16": 5e-3, "int8": 5e-3}
"""How far numbers may lie apart, by the precision of inference."""


def first_difference(left: Diagnosis, right: Diagnosis, *, tolerance: float = TOLERANCES["f32"]) -> str | None:
    """Where two answers of two doors differ, as a dotted key, or null when they are the same answer.

    ``input``, ``evidence.input_sha256`` and ``timings_ms`` may differ, and the engine named in ``evidence.software``;
    numbers agree within ``tolerance``.
    """
    return next(list_differences(left, right, tolerance=tolerance), None)


def list_differences(left: Diagnosis, right: Diagnosis, *, tolerance: float = TOLERANCES["f32"]) -> Iterator[str]:
    """As `first_difference`, every place where they differ, in the order of the keys."""
    return json_differences(_comparable(left), _comparable(right), tolerance)


def first_inequivalence(left: Diagnosis, right: Diagnosis, *, tolerance: float = TOLERANCES["f32"]) -> str | None:
    """As `first_difference` for two encodings of one picture: ``source``, ``evidence`` and ``warnings`` may differ."""
    first, second = (replace(answer, source=None, evidence=None, warnings=()) for answer in (left, right))
    return first_difference(first, second, tolerance=tolerance)


def _comparable(answer: Diagnosis) -> dict[str, Any]:
    evidence = answer.evidence
    if evidence is not None:
        # Behind the comma stands the engine: doors may compute in several precisions, for which `tolerance` is there.
        software = evidence.software and evidence.software.partition(",")[0]
        evidence = replace(evidence, input_sha256=None, software=software)
    return diagnosis_to_json(replace(answer, input=None, timings_ms=None, evidence=evidence))


def json_differences(left: Any, right: Any, tolerance: float, key: str = "") -> Iterator[str]:
    """Dotted keys at which two JSON values differ.

    A map is compared as numbers, everything else that is no number must be equal.
    """
    if isinstance(left, dict) and isinstance(right, dict):
        pairs = [(name, left.get(name), right.get(name)) for name in {**left, **right}]
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = [(str(index), *pair) for index, pair in enumerate(zip(left, right, strict=True))]
    else:
        if not _is_close(left, right, tolerance, key):
            yield key
        return
    for name, a, b in pairs:
        yield from json_differences(a, b, tolerance, f"{key}.{name}".lstrip("."))


def _is_close(left: Any, right: Any, tolerance: float, key: str) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return abs(left - right) <= tolerance
    if key == "explanation.map" and isinstance(left, str) and isinstance(right, str):
        if left == right:
            return True
        a, b = base64.b64decode(left), base64.b64decode(right)
        if len(a) != len(b) or len(a) % 4:
            return False
        return bool(np.allclose(np.frombuffer(a, "<f4"), np.frombuffer(b, "<f4"), rtol=0.0, atol=tolerance))
    return bool(left == right)
