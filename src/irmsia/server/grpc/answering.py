"""From a request on the wire to the service's answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from irmsia.errors import CancelledError, LimitExceededError, NotAnImageError
from irmsia.inference.protocol import DiagnoseRequest, InferenceService, Priority
from irmsia.server.grpc.edge import until
from irmsia.wire import Diagnosis

_MOST_BESIDE_BYTES = 8 * 1024
"""What may come beside an image: its name, a term, a model. It is kept as long as the call and counted nowhere."""


def request_of(
    message: Any, source: bytes | Path, *, client: str, deadline: float | None, priority: Priority = Priority.SINGLE
) -> DiagnoseRequest:
    """What ``message`` asks of ``source``; a ``DiagnoseDicomRequest`` or ``DiagnoseOptions``, whose fields agree."""
    return DiagnoseRequest(
        input=_optional(message, "input"),
        source=source,
        heatmap=message.heatmap,
        overlay=message.overlay,
        term=_optional(message, "term"),
        segmentation=message.segmentation,
        model=_optional(message, "model"),
        deadline=deadline,
        all_findings=message.all_findings,
        priority=priority,
        client=client,
    )


def check_content(content: bytes) -> None:
    """Refuse an image without a byte, as every door does.

    Raises:
        NotAnImageError: it has none.
    """
    if not content:
        raise NotAnImageError("the image holds no bytes")


def check_beside(message_bytes: int, image_bytes: int = 0) -> None:
    """Refuse a message that holds much besides its image.

    Raises:
        LimitExceededError: it does.
    """
    if message_bytes - image_bytes > _MOST_BESIDE_BYTES:
        raise LimitExceededError(f"what comes beside an image has at most {_MOST_BESIDE_BYTES} bytes")


def check_size(image_bytes: int, most: int) -> None:
    """Refuse an image that is too large for one message.

    Raises:
        LimitExceededError: it is.
    """
    if image_bytes > most:
        raise LimitExceededError(f"an image in one message has at most {most} bytes")


async def answer(service: InferenceService, request: DiagnoseRequest, deadline: float) -> Diagnosis:
    """The service's answer. A caller that goes away, or a deadline that passes, cancels the work.

    Raises:
        TimedOutError: the monotonic ``deadline`` passed.
        CancelledError: the service dropped the request.
        OverloadedError: the service takes no more now.
    """
    future = asyncio.wrap_future(service.submit(request))
    try:
        async with until(deadline, "no answer within the deadline"):
            return await future
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # the caller went away
            raise
        raise CancelledError("the service dropped the request") from None


def _optional(message: Any, name: str) -> str | None:
    return getattr(message, name) if message.HasField(name) else None
