"""Requests become answers of an `InferenceService`: within a time, and not for a caller who went away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from starlette.requests import Request

from irmsia.errors import CancelledError, IrmsiaError, OverloadedError, TimedOutError
from irmsia.inference.protocol import DiagnoseRequest, InferenceService
from irmsia.wire import Diagnosis, Problem

T = TypeVar("T")


class CallerGoneError(Exception):
    """Nobody is left to be answered."""


async def answer_one(service: InferenceService, asked: DiagnoseRequest) -> Diagnosis:
    """The answer, by ``asked.deadline``; cancelling drops the work.

    Raises:
        TimedOutError: the deadline passed.
        OverloadedError: the service takes no more now.
        CancelledError: the service dropped the request.
    """
    answer = asyncio.wrap_future(service.submit(asked))
    try:
        async with asyncio.timeout(_left(asked)):
            return replace(await answer, input=asked.input)  # a service far away may call it by the path it was kept at
    except TimeoutError:
        raise TimedOutError("no answer within the time allowed") from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # the caller went away
            raise
        raise CancelledError("the service dropped the request") from None


async def answer_all(service: InferenceService, asked: Sequence[DiagnoseRequest], *, at_once: int) -> list[Diagnosis]:
    """The answers in the order asked; a request that fails is an answer with its ``error``, and harms no other."""
    places = asyncio.Semaphore(at_once)

    async def answer(request: DiagnoseRequest) -> Diagnosis:
        async with places:
            return await _patient_answer(service, request)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(answer(request)) for request in asked]
    return [task.result() for task in tasks]


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """What ``work`` gives, cancelled when the connection is lost. Only after the whole body was read.

    Raises:
        CallerGoneError: it was lost.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise CallerGoneError
        return doing.result()
    finally:
        for task in (doing, leaving):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _patient_answer(service: InferenceService, request: DiagnoseRequest) -> Diagnosis:
    """An answer whatever happens; where the service is full, asked again until the deadline."""
    while True:
        try:
            return await answer_one(service, request)
        except OverloadedError as error:
            if (_left(request) or 0.0) <= error.retry_after_s:
                return _failed(request, error)
            await asyncio.sleep(error.retry_after_s)
        except IrmsiaError as error:
            return _failed(request, error)


def _failed(request: DiagnoseRequest, error: IrmsiaError) -> Diagnosis:
    return Diagnosis(input=request.input, error=Problem(error.code, error.message))


def _left(request: DiagnoseRequest) -> float | None:
    return None if request.deadline is None else max(0.0, request.deadline - time.monotonic())


async def _disconnected(request: Request) -> None:
    receive: Callable[[], Awaitable[object]] = request.receive
    while True:
        message = await receive()
        if isinstance(message, dict) and message.get("type") == "http.disconnect":
            return
