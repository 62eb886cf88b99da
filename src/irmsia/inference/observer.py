"""Who hears what the engine admits, refuses and answers: the metrics of a server, and nobody by default."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from irmsia.findings.types import Diagnosis
from irmsia.inference.protocol import Priority
from irmsia.telemetry import format_stack, get_logger, log_event

_LOG = get_logger(__name__)


class Observer(Protocol):
    """Hears of every request. Called on threads of the engine and of its callers at once; must not block.

    What it raises is logged and harms no answer. Each request is heard of as ``refused``, or as ``admitted`` and, maybe
    on another thread at the same time, as ``answered`` or ``dropped``. How many wait and run now is in
    `irmsia.findings.service.ServiceHealth`.
    """

    def admitted(self, priority: Priority) -> None:
        """A request waits for its turn."""
        ...

    def refused(self, priority: Priority, code: str) -> None:
        """A request was not taken: OVERLOADED, or CANCELLED where the service is stopping."""
        ...

    def dropped(self, priority: Priority) -> None:
        """The caller went away before the work began."""
        ...

    def answered(self, diagnosis: Diagnosis, *, priority: Priority, batch: int) -> None:
        """A request has its answer, also one with an ``error``.

        ``diagnosis.timings_ms`` holds queue, decode, preprocess, infer, explain and total. ``batch``: images in the
        largest inference that this one was part of, 0 where no network ran.
        """
        ...


class Silent:
    """Hears nothing."""

    def admitted(self, priority: Priority) -> None:
        """See `Observer.admitted`."""

    def refused(self, priority: Priority, code: str) -> None:
        """See `Observer.refused`."""

    def dropped(self, priority: Priority) -> None:
        """See `Observer.dropped`."""

    def answered(self, diagnosis: Diagnosis, *, priority: Priority, batch: int) -> None:
        """See `Observer.answered`."""


class Guarded:
    """Passes on to ``observer``; what that raises is logged, the first time, and goes no further."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._told = False

    def admitted(self, priority: Priority) -> None:
        """See `Observer.admitted`."""
        with self._harmless():
            self._observer.admitted(priority)

    def refused(self, priority: Priority, code: str) -> None:
        """See `Observer.refused`."""
        with self._harmless():
            self._observer.refused(priority, code)

    def dropped(self, priority: Priority) -> None:
        """See `Observer.dropped`."""
        with self._harmless():
            self._observer.dropped(priority)

    def answered(self, diagnosis: Diagnosis, *, priority: Priority, batch: int) -> None:
        """See `Observer.answered`."""
        with self._harmless():
            self._observer.answered(diagnosis, priority=priority, batch=batch)

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  # foreign code beside an answer: the answer must not suffer
            if not self._told:
                self._told = True
                log_event(_LOG, logging.ERROR, "observer failed", stack=format_stack(error))
