"""How far one image is: told stage by stage, never back, and never at the cost of the answer."""

from __future__ import annotations

import logging

from irmsia.inference.protocol import Progress, Stage
from irmsia.telemetry import format_stack, get_logger, log_event

BEGINS = {
    Stage.RECEIVED: 0.0,
    Stage.DECODING: 0.0,
    Stage.PREPROCESSING: 40.0,
    Stage.INFERRING: 50.0,
    Stage.EXPLAINING: 90.0,
    Stage.DONE: 100.0,
}
"""The percentage of the engine's work at which a stage begins; it ends where the next one begins. RECEIVED is a door's,
which has its own share of the whole.
"""

_ENDS = dict(zip(BEGINS, [*list(BEGINS.values())[1:], 100.0], strict=True))

_LOG = get_logger(__name__)


class ProgressReport:
    """Tells ``hear`` of one image; null: nobody listens. Used by one thread at a time."""

    def __init__(self, hear: Progress | None) -> None:
        self._hear = hear
        self._last = (Stage.RECEIVED, 0.0)

    def tell_decoded(self, frames: int, total: int) -> None:
        """Say that so many frames of ``total`` are decoded; after the last one they are only preprocessed."""
        self.tell(*((Stage.DECODING, frames / total) if frames < total else (Stage.PREPROCESSING, 0.0)))

    def tell(self, stage: Stage, share: float = 0.0) -> None:
        """Say that ``share`` (0..1) of ``stage`` is done; what is not news is not said.

        What the listener raises is logged, and it hears no more of this image.
        """
        percent = BEGINS[stage] + min(1.0, max(0.0, share)) * (_ENDS[stage] - BEGINS[stage])
        news = (max(stage, self._last[0]), max(percent, self._last[1]))
        if self._hear is None or news == self._last:
            return
        self._last = news
        try:
            self._hear(*news)
        except Exception as error:  # noqa: BLE001  # foreign code beside an answer: the answer must not suffer
            self._hear = None
            log_event(_LOG, logging.WARNING, "progress listener failed", stack=format_stack(error))
