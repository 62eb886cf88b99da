"""The seam between the doors and whatever answers: in this process, or far away through `irmsia.client`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from irmsia.findings.service import ModelInfo, ServiceHealth
from irmsia.findings.types import Diagnosis

__all__ = ["DiagnoseRequest", "InferenceService", "ModelInfo", "Priority", "ServiceHealth", "Stage", "TellsRoom"]


class Priority(IntEnum):
    """Who goes first: a single image that somebody waits for, or one of a batch."""

    SINGLE = 0
    BATCH = 1


class Stage(IntEnum):
    """What is being done with an image; numbers as on the wire. RECEIVED is said by the door."""

    RECEIVED = 1
    DECODING = 2
    PREPROCESSING = 3
    INFERRING = 4
    EXPLAINING = 5
    DONE = 6


Progress = Callable[[Stage, float], None]
"""Hears the stage and the percentage (0..100, never falling); called on threads of the service, must not block."""


@dataclass(frozen=True, slots=True)
class DiagnoseRequest:
    """One image to answer.

    ``input`` is the name as given and comes back in the answer. ``source``: the file's bytes or its path. ``heatmap``
    asks for the explanation of ``term`` (null: the most probable term other than normal), ``overlay`` for its picture
    too. ``model``: a name or an id, null for the active one. ``deadline``: on the monotonic clock of this process, in
    seconds; null for none. ``all_findings`` adds the NOT_ASSESSED rows. ``priority``: single images overtake those of a
    batch. ``client``: whose request it is; clients of one priority take turns. ``progress`` hears how far it is.
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
    priority: Priority = Priority.SINGLE
    client: str = ""
    progress: Progress | None = None


class InferenceService(Protocol):
    """Answers images. Safe to call from any thread."""

    def submit(self, request: DiagnoseRequest) -> Future[Diagnosis]:
        """Queue one image without blocking. The future always gives a `Diagnosis`; what failed stands in ``error``.

        Cancelling the future drops the work when it has not begun, and stops it before its next stage when it has.

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


@runtime_checkable
class TellsRoom(Protocol):
    """A service that knows at once whether it would take a request: so that nobody sends one in vain."""

    def has_room(self, client: str, ahead: int) -> bool:
        """Whether a single image of ``client`` would find a place behind ``ahead`` others that are on their way.

        Of these as many count as half of the places: they may never arrive.
        """
        ...
