"""The seam between the doors and whatever answers: in this process, or far away through `irmsia.client`."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from irmsia.findings.service import ModelInfo, ServiceHealth
from irmsia.findings.types import Diagnosis

__all__ = ["DiagnoseRequest", "InferenceService", "ModelInfo", "ServiceHealth"]


@dataclass(frozen=True, slots=True)
class DiagnoseRequest:
    """One image to answer.

    ``input`` is the name as given and comes back in the answer. ``source``: the file's bytes or its path. ``heatmap``
    asks for the explanation of ``term`` (null: the most probable term other than normal), ``overlay`` for its picture
    too. ``model``: a name or an id, null for the active one. ``deadline``: on the monotonic clock of this process, in
    seconds; null for none. ``all_findings`` adds the NOT_ASSESSED rows.
    """

    input: str | None
    source: bytes | Path
    heatmap: bool = False
    overlay: bool = False
    term: str | None = None
    segmentation: bool = False
    model: str | None = None
    deadline: float | None = None
    all_findings: bool = False


class InferenceService(Protocol):
    """Answers images. Safe to call from any thread."""

    def submit(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        """Queue one image without blocking. The future always gives a `Diagnosis`; what failed stands in ``error``.

        Cancelling the future drops the work when it has not begun.

        Raises:
            OverloadedError: the queue is full.
            CancelledError: the service is closing.
        """
        ...

    def models(self) -> tuple[ModelInfo, ...]:
        """Every model that can be asked for, the active one first."""
        ...

    def health(self) -> ServiceHealth:
        """Whether requests are taken, and how many are waiting."""
        ...

    def close(self) -> None:
        """Answer what was admitted, then stop the workers. Twice is once."""
        ...
