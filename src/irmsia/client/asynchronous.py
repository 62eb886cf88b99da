"""The client of the gRPC door for programs with an event loop; `irmsia.client.diagnostic` is its blocking face."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.client.answers import AsyncBatchAnswers, BatchResult
from irmsia.client.batch import BatchSession
from irmsia.client.calls import (
    Asked,
    DiagnoseOptions,
    check_target,
    failed_answer,
    idempotency_key,
    make_request,
    read_answer,
)
from irmsia.client.retry import CallFailed, Deadline, RetryPolicy, Tries
from irmsia.client.servers import CLOSED, Server, Servers, once
from irmsia.client.sources import OpenSource, Source, shown_name
from irmsia.client.tls import read_credentials
from irmsia.client.upload import MIB, ProgressCallback, Upload
from irmsia.errors import CancelledError, InvalidRequestError, IrmsiaError, TimedOutError, UnavailableError
from irmsia.wire import Diagnosis, ModelInfo, ServiceHealth
from irmsia.wire.proto import health_from_message, models_from_message

STREAM_ABOVE_BYTES = 10_000_000
"""A larger image is sent in chunks."""

_ALONE_S = 300.0
"""For an image of a batch that is too large for one message."""

_QUICK_BYTES = 64 * 1024
"""Up to here bytes are hashed and joined where they are; more would hold the event loop up."""


class AsyncDicomDiagnosticClient:
    """Asks one server or several. Use it as an asynchronous context manager, or await `close`; within one event loop.

    Every method raises UnavailableError when no server answers, TimedOutError after ``timeout`` seconds (null: never),
    and the server's own error as the same class of `irmsia.errors`. What was dropped or turned away is tried again as
    ``retry`` says: a diagnosis changes nothing on the server.
    """

    def __init__(
        self,
        target: str | Sequence[str] = "127.0.0.1:50051",
        *,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        retry: RetryPolicy | None = None,
        stream_above_bytes: int = STREAM_ABOVE_BYTES,
    ) -> None:
        """Nothing is opened or sent yet.

        Args:
            target: ``HOST:PORT``, or several: the least busy is asked, and one that is dead left out for a while.
            ca: PEM file of who signed the servers' certificates; with it, or with the next two, TLS is spoken.
            certificate: PEM file of this client's own certificate, for servers that ask for one.
            key: its private key.
            retry: how often a call is tried; null for the defaults of `RetryPolicy`.
            stream_above_bytes: a larger image is sent in chunks.

        Raises:
            InvalidRequestError: ``target`` is no HOST:PORT, or a PEM file is not one.
        """
        self.targets = tuple(map(check_target, [target] if isinstance(target, str) else target))
        if not self.targets:
            raise InvalidRequestError("no server is named")
        self._retry = retry or RetryPolicy()
        self._stream_above = stream_above_bytes
        self._servers = Servers(self.targets, read_credentials(ca, certificate, key), uuid.uuid4().hex)
        self._batch: BatchSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channels; calls that are under way end with CancelledError. Twice is once."""
        if self._batch is not None:
            await self._batch.close()
        await self._servers.close()

    async def wait_ready(self, timeout: float = 10.0) -> None:
        """Return when a server takes connections, at most ``timeout`` seconds from now.

        Raises:
            UnavailableError: none does.
        """
        waiting = [asyncio.ensure_future(server.channel().channel_ready()) for server in self._servers.all]
        try:
            done, _ = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if not done:
            raise UnavailableError(f"no server answers at {', '.join(self.targets)}")

    async def health_check(self, *, timeout: float | None = 5.0) -> ServiceHealth:
        """Whether requests are taken, by which model, and how many are waiting. Not tried again: it asks for now."""
        message = await self._small("HealthCheck", pb.HealthCheckResponse, timeout, once(self._retry))
        return health_from_message(message)

    async def get_available_models(self, *, timeout: float | None = 10.0) -> tuple[ModelInfo, ...]:
        """Every model that can be asked for, the active one first."""
        message = await self._small("GetAvailableModels", pb.GetAvailableModelsResponse, timeout, self._retry)
        return models_from_message(message)

    async def diagnose_dicom(
        self,
        source: Source,
        *,
        name: str | None = None,
        timeout: float | None = 60.0,
        raise_errors: bool = True,
        **options: Unpack[Asked],
    ) -> Diagnosis:
        """The answer to one image of any format the server reads; a large one is sent in chunks.

        ``source``: a file's bytes, or its path as text or `Path`. ``heatmap`` asks for the explanation of ``term``,
        ``overlay`` for its picture too. ``name`` (else the path) becomes ``input`` of the answer and does not leave
        this machine. A refusal is an answer. With ``raise_errors=False`` an image that cannot be answered gives a
        `Diagnosis` with ``error`` and all that is known; overload, cancelling and an absent server are raised all the
        same.

        Raises:
            IrmsiaError: the leaf that says what is wrong with the image, the request or the server.
        """
        asked = DiagnoseOptions(**options)
        return await self.ask(source, asked, name=name, timeout=timeout, raise_errors=raise_errors)

    async def diagnose_dicom_stream(
        self,
        source: Source,
        *,
        chunk_bytes: int = MIB,
        progress: ProgressCallback | None = None,
        name: str | None = None,
        timeout: float | None = 300.0,
        raise_errors: bool = True,
        **options: Unpack[Asked],
    ) -> Diagnosis:
        """As `diagnose_dicom`, sent in chunks of ``chunk_bytes`` (at most 4 MiB), a file read piece by piece.

        ``progress`` hears a `StreamProgress` now and then, on the event loop. After a cut the upload goes on where the
        server says that it stopped; it gives up after ``timeout``, or after so many cuts in a row without getting
        further as the retry policy says.
        """
        asked = DiagnoseOptions(**options)
        return await self.ask(
            source,
            asked,
            name=name,
            timeout=timeout,
            raise_errors=raise_errors,
            chunk_bytes=chunk_bytes,
            progress=progress,
            stream=True,
        )

    async def ask(
        self,
        source: Source,
        options: DiagnoseOptions,
        *,
        name: str | None = None,
        timeout: float | None = 60.0,
        raise_errors: bool = True,
        chunk_bytes: int = MIB,
        progress: ProgressCallback | None = None,
        stream: bool = False,
    ) -> Diagnosis:
        """What `diagnose_dicom` and `diagnose_dicom_stream` do, with the options as one object."""
        shown, deadline = shown_name(source, name), Deadline(timeout)
        try:
            if self._servers.closed:
                raise CancelledError(CLOSED)
            with await _open(source) as opened:
                if stream or opened.size > self._stream_above:
                    upload = Upload(
                        self._servers,
                        opened,
                        options,
                        chunk_bytes=chunk_bytes,
                        policy=self._retry,
                        progress=progress,
                    )
                    message = await upload.answer(deadline)
                else:
                    message = await self._send(opened, options, deadline)
            return read_answer(message, shown)
        except CallFailed as failure:
            error, known = failure.error, failure.known
        except IrmsiaError as failure:
            error, known = failure, None
        if raise_errors:
            raise error
        return failed_answer(error, known, shown)

    async def ask_in_batch(
        self, source: Source, options: DiagnoseOptions, *, name: str | None = None, timeout: float | None = None
    ) -> Diagnosis:
        """The answer to one image among many that share a call a server; a failed one is an answer with ``error``."""
        if self._servers.closed:
            raise CancelledError(CLOSED)
        if self._batch is None:
            self._batch = self._session()
        try:
            async with asyncio.timeout(timeout):
                return await self._batch.submit(source, options, shown_name(source, name))
        except TimeoutError:
            raise TimedOutError("no answer within the time allowed") from None

    def diagnose_batch_stream(
        self, sources: Iterable[Source], *, ahead: int = 64, timeout: float | None = None, **options: Unpack[Asked]
    ) -> AsyncBatchAnswers:
        """Answers to any number of images as they come, each with the index of its image; a summary at the end.

        An image that fails is an answer with ``error`` and ends nothing. All servers work on the batch; images on a
        connection that breaks are sent again. ``sources`` is read while answers are taken, ``ahead`` images at most in
        front of them. ``timeout``, in seconds, is for all of it.
        """
        asked = DiagnoseOptions(**options)
        return AsyncBatchAnswers(self._session(), sources, asked, ahead=ahead, timeout=timeout)

    async def diagnose_batch(
        self, sources: Iterable[Source], *, timeout: float | None = None, **options: Unpack[Asked]
    ) -> BatchResult:
        """As `diagnose_batch_stream`, all answers at once in the order of their images."""
        batch = self.diagnose_batch_stream(sources, timeout=timeout, **options)
        answers = {index: answer async for index, answer in batch}
        return BatchResult(tuple(answers[index] for index in sorted(answers)), batch.summary)

    def _session(self) -> BatchSession:
        async def alone(source: Source, options: DiagnoseOptions, name: str | None) -> Diagnosis:
            return await self.ask(source, options, name=name, timeout=_ALONE_S, raise_errors=False, stream=True)

        return BatchSession(self._servers, self._retry, alone=alone)

    async def _send(self, source: OpenSource, options: DiagnoseOptions, deadline: Deadline) -> Any:
        """One image in one message."""
        if source.size > _QUICK_BYTES or not source.in_memory:
            request, key = await asyncio.to_thread(_make_unary, source, options)
        else:
            request, key = _make_unary(source, options)

        async def work(server: Server) -> Any:
            return await self._servers.unary(
                server,
                "DiagnoseDicom",
                request,
                pb.Diagnosis,
                timeout=deadline.left(),
                metadata=(("irmsia-idempotency-key", key),),
            )

        return await self._servers.run(work, deadline, Tries(self._retry))

    async def _small(self, call: str, reply: Any, timeout: float | None, policy: RetryPolicy) -> Any:
        deadline = Deadline(timeout)

        async def work(server: Server) -> Any:
            return await self._servers.unary(server, call, b"", reply, timeout=deadline.left())

        try:
            return await self._servers.run(work, deadline, Tries(policy))
        except CallFailed as failure:
            raise failure.error from None


async def _open(source: Source) -> OpenSource:
    return OpenSource(source) if isinstance(source, bytes) else await asyncio.to_thread(OpenSource, source)


def _make_unary(source: OpenSource, options: DiagnoseOptions) -> tuple[bytes, str]:
    content = source.read_whole()
    return make_request(content, options), idempotency_key(hashlib.sha256(content).digest(), options)
