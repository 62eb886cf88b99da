"""One admitted request on its way through the engine."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from irmsia.errors import CancelledError, TimedOutError
from irmsia.findings.types import Diagnosis
from irmsia.inference.progress import ProgressReport
from irmsia.inference.protocol import DiagnoseRequest


class Promise(Future[Diagnosis]):
    """Remembers that its caller went away, also when the work has begun."""

    unwanted = False

    def cancel(self) -> bool:
        """See `concurrent.futures.Future.cancel`."""
        self.unwanted = True
        return super().cancel()


@dataclass(frozen=True, slots=True)
class Ticket:
    """The request, what its caller holds and hears, and when it was admitted (monotonic seconds)."""

    request: DiagnoseRequest
    progress: ProgressReport
    future: Promise = field(default_factory=Promise)
    admitted: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, request: DiagnoseRequest) -> Ticket:
        """A ticket for ``request``, admitted now."""
        return cls(request, ProgressReport(request.progress))

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        deadline = self.request.deadline
        return deadline is not None and time.monotonic() >= deadline

    @property
    def waited_ms(self) -> float:
        """Milliseconds since it was admitted."""
        return 1000.0 * (time.monotonic() - self.admitted)

    def check(self) -> None:
        """Nothing while somebody waits for the answer.

        Raises:
            TimedOutError: the deadline passed.
            CancelledError: the caller went away.
        """
        if self.is_late:
            raise TimedOutError("the deadline passed before the work was done")
        if self.future.unwanted:
            raise CancelledError("nobody waits for the answer any more")
