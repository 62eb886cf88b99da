"""The answers to a batch: as they come, and all together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from irmsia.client.batch import BatchSession
from irmsia.client.calls import DiagnoseOptions
from irmsia.client.retry import Deadline
from irmsia.client.sources import Source, shown_name
from irmsia.errors import InvalidRequestError, TimedOutError
from irmsia.wire import BatchSummary, Diagnosis, summarise_numbered

_NO_MORE = object()


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The ``answers`` in the order of the images, and what they are together."""

    answers: tuple[Diagnosis, ...]
    summary: BatchSummary


class AsyncBatchAnswers(AsyncIterator[tuple[int, Diagnosis]]):
    """Gives (index of the image, answer) as answers come, in any order. A failed image is an answer with ``error``.

    At most ``ahead`` images are taken from ``sources`` whose answers were not taken from here. Leaving early: `aclose`.
    """

    def __init__(
        self,
        session: BatchSession,
        sources: Iterable[Source],
        options: DiagnoseOptions,
        *,
        ahead: int,
        timeout: float | None,
    ) -> None:
        if ahead < 1:
            raise InvalidRequestError("at least one image is taken ahead")
        self._session = session
        self._sources = sources
        self._options = options
        self._room = asyncio.Semaphore(ahead)
        self._one = asyncio.Lock()
        self._deadline = Deadline(timeout)
        self._seen: list[tuple[int, Diagnosis]] = []
        self._answers = self._run()

    def __aiter__(self) -> AsyncBatchAnswers:
        return self

    async def __anext__(self) -> tuple[int, Diagnosis]:
        async with self._one:
            return await anext(self._answers)

    @property
    def summary(self) -> BatchSummary:
        """What the answers given so far are together; after the last one, of the whole batch."""
        return summarise_numbered(self._seen)

    async def aclose(self) -> None:
        """Stop: images without an answer are dropped. Whoever still waits for one hears CancelledError."""
        await self._session.close()
        async with self._one:  # one that was interrupted a moment ago may not have let go yet
            await self._answers.aclose()

    async def _run(self) -> AsyncGenerator[tuple[int, Diagnosis], None]:
        ready: asyncio.Queue[tuple[int, asyncio.Future[Any]]] = asyncio.Queue()
        feeder = asyncio.ensure_future(self._feed(ready))
        feeder.add_done_callback(partial(_put, ready, -1))
        expected, given = None, 0
        try:
            while expected is None or given < expected:
                index, future = await self._next(ready)
                if index < 0:
                    expected = future.result()
                    continue
                answer: Diagnosis = future.result()
                given += 1
                self._room.release()
                self._seen.append((index, replace(answer, explanation=None, segmentation=None, frames=None)))
                yield index, answer
            await self._session.finish()
        finally:
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)
            await self._session.close()

    async def _next(self, ready: asyncio.Queue[tuple[int, asyncio.Future[Any]]]) -> tuple[int, asyncio.Future[Any]]:
        try:
            async with asyncio.timeout(self._deadline.left()):
                return await ready.get()
        except TimeoutError:
            raise TimedOutError("no answer within the time allowed") from None

    async def _feed(self, ready: asyncio.Queue[tuple[int, asyncio.Future[Any]]]) -> int:
        """Submit every image, and return how many there were."""
        index, sources = 0, iter(self._sources)
        while True:
            await self._room.acquire()
            source: Any = await asyncio.to_thread(next, sources, _NO_MORE)  # it may read files of its own
            if source is _NO_MORE:
                return index
            answer = self._session.submit(source, self._options, shown_name(source, None))
            answer.add_done_callback(partial(_put, ready, index))
            index += 1


def _put(ready: asyncio.Queue[tuple[int, asyncio.Future[Any]]], index: int, done: asyncio.Future[Any]) -> None:
    ready.put_nowait((index, done))
