"""Work on several things at once and give the results back in the order asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def run_ordered(items: Iterable[T], submit: Callable[[T], Future[R]], *, ahead: int) -> Iterator[tuple[T, R]]:
    """Yield each item with its result, in order, while up to ``ahead`` items are being worked on.

    What is still waiting is cancelled when the caller stops early.
    """
    asked: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            if len(asked) >= ahead:
                yield _next(asked)
            asked.append((item, submit(item)))
        while asked:
            yield _next(asked)
    finally:
        for _, future in asked:
            future.cancel()


def _next(asked: deque[tuple[T, Future[R]]]) -> tuple[T, R]:
    item, future = asked[0]
    result = future.result()
    asked.popleft()
    return item, result
