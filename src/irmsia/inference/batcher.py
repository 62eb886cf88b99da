"""Where inferences run: on a session of the asking thread's own, or on a few streams that all threads share.

No timer and no thread of its own: who finds a free stream uses it at once and alone. Who finds none waits, and the
stream that becomes free next takes all that wait with the same model, up to the batch size, in one inference on the
thread of the first of them. So a batch grows only while all streams are busy.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from irmsia.inference.model import ReadyModel
from irmsia.inference.ready import Sessions
from irmsia.inference.runtimes.protocol import Tensors


class Inference(Protocol):
    """One thread's way to every model."""

    def infer(
        self, model: ReadyModel, ready: Collection[ReadyModel], images: NDArray[np.float32]
    ) -> tuple[Tensors, int]:
        """Outputs by name for ``images`` (n, 1, S, S), and how many images were in that inference.

        ``ready``: the models whose sessions are still of use. Raises what the runtime raises.
        """
        ...

    def drop(self) -> None:
        """Open new sessions next time: something went wrong."""
        ...


class OwnSession:
    """Sessions of one thread alone: no lock, no hand-over."""

    def __init__(self) -> None:
        self._sessions = Sessions()

    def infer(
        self, model: ReadyModel, ready: Collection[ReadyModel], images: NDArray[np.float32]
    ) -> tuple[Tensors, int]:
        """See `Inference.infer`."""
        return self._sessions.of(model, ready).infer(images), len(images)

    def drop(self) -> None:
        """See `Inference.drop`."""
        self._sessions.drop()


@dataclass(eq=False)
class _Order:
    """Images of one thread; ``turn``: the stream that it is to run, and for whom, or null where another did."""

    model: ReadyModel
    ready: Collection[ReadyModel]
    images: NDArray[np.float32]
    woken: threading.Event = field(default_factory=threading.Event)
    turn: tuple[Sessions, Sequence[_Order]] | None = None
    outcome: tuple[Tensors, int] | Exception | None = None


class Batcher:
    """Streams that several threads share. Thread-safe.

    Args:
        streams: inferences that run at once.
        batch: images that one of them takes at most, unless one thread asks for more together.
    """

    def __init__(self, streams: int, batch: int) -> None:
        self._batch = batch
        self._lock = threading.Lock()
        self._free = [Sessions() for _ in range(streams)]
        self._waiting: deque[_Order] = deque()

    def infer(
        self, model: ReadyModel, ready: Collection[ReadyModel], images: NDArray[np.float32]
    ) -> tuple[Tensors, int]:
        """See `Inference.infer`."""
        order = _Order(model, ready, images)
        turn = self._enter(order)
        if turn is not None:
            self._run(*turn)
        if order.outcome is None or isinstance(order.outcome, Exception):
            raise order.outcome or AssertionError("an order came back without its outcome")
        return order.outcome

    def drop(self) -> None:
        """See `Inference.drop`; a stream whose inference fails does so by itself."""

    @property
    def waiting(self) -> int:
        """Threads that wait for a stream."""
        with self._lock:
            return len(self._waiting)

    def _enter(self, order: _Order) -> tuple[Sessions, Sequence[_Order]] | None:
        """A free stream, or the one that is handed over; null where the order was part of another's batch."""
        with self._lock:
            if self._free:  # then nobody waits
                return self._free.pop(), (order,)
            self._waiting.append(order)
        order.woken.wait()
        return order.turn

    def _run(self, sessions: Sessions, orders: Sequence[_Order]) -> None:
        _infer_together(sessions, orders)
        self._pass_on(sessions)
        for order in orders[1:]:
            order.woken.set()

    def _pass_on(self, sessions: Sessions) -> None:
        with self._lock:
            if not self._waiting:
                self._free.append(sessions)
                return
            orders = self._pick()
        orders[0].turn = (sessions, orders)
        orders[0].woken.set()

    def _pick(self) -> list[_Order]:
        """The order that waits longest, and those after it with its model that fit into the batch."""
        first = self._waiting.popleft()
        picked, left, room = [first], deque[_Order](), self._batch - len(first.images)
        for order in self._waiting:
            if order.model is first.model and len(order.images) <= room:
                picked.append(order)
                room -= len(order.images)
            else:
                left.append(order)
        self._waiting = left
        return picked


def _infer_together(sessions: Sessions, orders: Sequence[_Order]) -> None:
    """Fill in each order's outcome; where a batch fails, each runs alone, so that a bad one fails alone."""
    first = orders[0]
    try:
        images = first.images if len(orders) == 1 else np.concatenate([order.images for order in orders])
        tensors = sessions.of(first.model, first.ready).infer(images)
    except Exception as error:  # noqa: BLE001  # raised again on the thread that asked
        sessions.drop()
        if len(orders) == 1:
            first.outcome = error
            return
        for order in orders:
            _infer_together(sessions, [order])
        return
    if len(orders) == 1:
        first.outcome = tensors, len(images)
        return
    begin = 0
    for order in orders:
        end = begin + len(order.images)
        order.outcome = {name: values[begin:end] for name, values in tensors.items()}, len(images)
        begin = end
