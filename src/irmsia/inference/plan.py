"""How the work is spread over this machine: one plan for processors and for graphics cards."""

from __future__ import annotations

from dataclasses import dataclass

from irmsia.inference.batcher import Batcher, Inference, OwnSession
from irmsia.inference.runtimes.registry import is_accelerated
from irmsia.settings.tree import EngineSettings

CARD_BATCH = 16
CARD_STREAMS = 2
"""On a graphics card: one batch is computed while the answers of another are made."""


@dataclass(frozen=True, slots=True)
class ExecutionPlan:
    """``workers`` images are decoded at once, ``streams`` inferences run at once, ``batch`` images in one at most."""

    workers: int
    streams: int
    batch: int

    @property
    def is_direct(self) -> bool:
        """Whether each worker infers on a session of its own: nothing would be gained by sharing."""
        return self.batch == 1 and self.streams >= self.workers

    @property
    def threads(self) -> int:
        """Images in work at once. With batches more than are decoded: those that wait for a stream fill the next."""
        return self.workers if self.batch == 1 else self.workers + self.streams * self.batch

    def open_inferences(self) -> list[Inference]:
        """One a thread."""
        if self.is_direct:
            return [OwnSession() for _ in range(self.threads)]
        return [Batcher(self.streams, self.batch)] * self.threads


def make_plan(settings: EngineSettings) -> ExecutionPlan:
    """The plan of these settings; what they leave open is taken from the machine and the runtime."""
    card = is_accelerated(settings.runtime)
    batch = settings.batch or (CARD_BATCH if card else 1)
    streams = settings.streams or (CARD_STREAMS if card else settings.workers)
    return ExecutionPlan(settings.workers, min(streams, settings.workers) if batch == 1 else streams, batch)
