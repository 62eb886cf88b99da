"""Results come in the order asked for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.app.ordered import run_ordered


@given(st.lists(st.integers(), max_size=20), st.integers(1, 30))
def test_order_and_completeness_do_not_depend_on_how_many_run(items: list[int], ahead: int) -> None:
    """Every item comes back once, with its own result, in its place."""
    with ThreadPoolExecutor(4) as threads:
        found = list(run_ordered(items, lambda item: threads.submit(lambda: item * 2), ahead=ahead))
    assert found == [(item, item * 2) for item in items]


def test_no_more_than_ahead_are_asked_at_once() -> None:
    """A folder of a million files does not fill the queue."""
    asked: list[Future[int]] = []

    def submit(item: int) -> Future[int]:
        asked.append(Future())
        assert sum(not future.done() for future in asked) <= 3
        if len(asked) >= 3:
            asked[len(asked) - 3].set_result(item)
        return asked[-1]

    results = run_ordered(range(20), submit, ahead=3)
    assert [next(results)[0] for _ in range(15)] == list(range(15))
    results.close()  # type: ignore[attr-defined]


def test_what_waits_is_cancelled_when_the_caller_stops() -> None:
    """Ctrl-C leaves no work behind."""
    futures = [Future[int]() for _ in range(4)]
    futures[0].set_result(0)
    waiting = iter(futures)
    results = run_ordered(range(4), lambda item: next(waiting), ahead=4)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert all(future.cancelled() for future in futures[1:])


def test_an_error_reaches_the_caller_in_its_place() -> None:
    """What was asked before it is still given back."""
    with ThreadPoolExecutor(1) as threads:
        work: list[Callable[[], float]] = [partial(float, 1), partial(float, "no number")]
        results = run_ordered(work, threads.submit, ahead=2)
        assert next(results)[1] == 1.0
        with pytest.raises(ValueError, match="no number"):
            next(results)
