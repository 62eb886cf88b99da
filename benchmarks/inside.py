"""The engine alone in a process of its own, told by standard input what to answer: the baseline of every door.

One JSON object a line: ``{"file": PATH, "clients": N, "each": M}``; so many threads ask so often and wait each time.
Back comes one line: seconds of every request and the last answer. The image is given as bytes, as a door would give it.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from irmsia.app.compose import open_service
from irmsia.findings.types import Diagnosis
from irmsia.inference.protocol import DiagnoseRequest, InferenceService
from irmsia.settings.tree import Settings
from irmsia.wire.json import diagnosis_to_json


def answer_all(service: InferenceService, data: bytes, clients: int, each: int) -> tuple[list[float], Diagnosis]:
    """Seconds of every request, and the last answer."""

    def ask(_: int) -> list[tuple[float, Diagnosis]]:
        return [_timed(service, data) for _ in range(each)]

    with ThreadPoolExecutor(clients) as threads:
        found = [one for many in threads.map(ask, range(clients)) for one in many]
    return [seconds for seconds, _ in found], found[-1][1]


def _timed(service: InferenceService, data: bytes) -> tuple[float, Diagnosis]:
    began = time.monotonic()
    answer = service.submit(DiagnoseRequest(None, data)).result()
    if answer.error is not None:
        raise SystemExit(f"the engine failed with {answer.error.code}")
    return time.monotonic() - began, answer


def _told(service: InferenceService, line: str) -> dict[str, Any]:
    asked = json.loads(line)
    data = Path(asked["file"]).read_bytes()
    seconds, answer = answer_all(service, data, asked["clients"], asked["each"])
    return {"seconds": seconds, "answer": diagnosis_to_json(answer)}


def main() -> None:
    """Answer until standard input ends."""
    with open_service(Settings(), None) as service:
        print("ready", flush=True)
        for line in sys.stdin:
            print(json.dumps(_told(service, line)), flush=True)


if __name__ == "__main__":
    main()
