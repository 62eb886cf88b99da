"""One client of each door, with as little work of its own as can be: what is measured is the server.

Requests are serialised once; replies are decoded only where they are looked at. A client asks one image at a time.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grpc

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.app.remote_http import make_form
from irmsia.client.calls import DiagnoseOptions, make_request
from irmsia.errors import OverloadedError
from irmsia.findings.types import Diagnosis
from irmsia.wire import SERVICE
from irmsia.wire.json import diagnosis_from_json
from irmsia.wire.proto import diagnosis_from_bytes
from irmsia.wire.status import DETAILS_KEY, error_of, status_from_bytes

CHUNK_BYTES = 1 << 20
PATIENCE_S, IDLE_S = 120.0, 1.0
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own for every client
]


class Client(Protocol):
    """Asks one door."""

    def ask(self, data: bytes) -> Diagnosis:
        """The answer to one image; OverloadedError where the server turns it away."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class _Grpc:
    """A channel of its own, bytes in and bytes out."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)

    def close(self) -> None:
        self._channel.close()


class Unary(_Grpc):
    """``DiagnoseDicom``."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._call = self._channel.unary_unary(f"/{SERVICE}/DiagnoseDicom")

    def ask(self, data: bytes) -> Diagnosis:
        """One message there, one back."""
        try:
            return diagnosis_from_bytes(self._call(make_request(data, DiagnoseOptions()), timeout=PATIENCE_S))
        except grpc.RpcError as failure:
            raise typed(failure) from None


class Stream(_Grpc):
    """``DiagnoseDicomStream``; ``kept_s``: when the last upload was acknowledged whole, on the monotonic clock."""

    def __init__(self, target: str, chunk_bytes: int = CHUNK_BYTES) -> None:
        super().__init__(target)
        self.kept_s = 0.0
        self._chunk_bytes = chunk_bytes
        self._call = self._channel.stream_stream(
            f"/{SERVICE}/DiagnoseDicomStream",
            request_serializer=pb.DiagnoseStreamRequest.SerializeToString,
            response_deserializer=pb.DiagnoseStreamResponse.FromString,
        )

    def ask(self, data: bytes) -> Diagnosis:
        """Chunks there; the answer comes last."""
        try:
            for reply in self._call(chunks(data, self._chunk_bytes), timeout=PATIENCE_S):
                if reply.ack.received == len(data):
                    self.kept_s = time.monotonic()
            return diagnosis_from_bytes(reply.diagnosis.SerializeToString())
        except grpc.RpcError as failure:
            raise typed(failure) from None


class BatchStream(_Grpc):
    """``DiagnoseBatchStream``."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._call = self._channel.stream_stream(
            f"/{SERVICE}/DiagnoseBatchStream",
            request_serializer=pb.DiagnoseBatchStreamRequest.SerializeToString,
            response_deserializer=pb.DiagnoseBatchStreamResponse.FromString,
        )

    def ask(self, data: bytes) -> Diagnosis:
        """A batch of one."""
        return diagnosis_from_bytes(next(answer for _, answer in self.ask_all([data])))

    def ask_all(self, images: list[bytes]) -> Iterator[tuple[float, bytes]]:
        """All in one call: the seconds that each took from its message to its answer, and the serialised answer."""
        sent: dict[str, float] = {}

        def items() -> Iterator[pb.DiagnoseBatchStreamRequest]:
            for index, data in enumerate(images):
                sent[str(index)] = time.monotonic()
                yield pb.DiagnoseBatchStreamRequest(id=str(index), item=pb.DiagnoseDicomRequest(content=data))

        try:
            for reply in self._call(items(), timeout=PATIENCE_S):
                if reply.WhichOneof("part") == "answer":
                    seconds = time.monotonic() - sent[reply.answer.id]
                    yield seconds, reply.answer.diagnosis.SerializeToString()
        except grpc.RpcError as failure:
            raise typed(failure) from None


class Http:
    """A connection to an HTTP door or to the newcomer's server, kept while it is used: servers end what is idle."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
        self._used_s = 0.0

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def post(self, path: str, content_type: str, body: bytes, *, wanted: int = 200) -> Any:
        """The JSON of the reply."""
        if time.monotonic() > self._used_s + IDLE_S:
            self._connection.close()  # the request opens another
        try:
            self._connection.request("POST", path, body, {"Content-Type": content_type})
            reply = self._connection.getresponse()
            text = reply.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        self._used_s = time.monotonic()
        if reply.status == http.client.TOO_MANY_REQUESTS:
            raise OverloadedError("turned away", float(reply.getheader("Retry-After") or 1))
        if reply.status != wanted:
            raise RuntimeError(f"{path} answered {reply.status}: {text[:300]!r}")
        return json.loads(text)


class Multipart(Http):
    """``POST /api/v1/dicom/diagnose`` with the file in the form."""

    def ask(self, data: bytes) -> Diagnosis:
        """One form."""
        content_type, body = make_form((), data)
        return diagnosis_from_json(self.post("/api/v1/dicom/diagnose", content_type, body))


class Newcomer(Http):
    """The newcomer's ``POST /diagnose``."""

    def ask(self, data: bytes) -> Diagnosis:
        """One JSON object with the image as base64."""
        return diagnosis_from_json(self.post("/diagnose", "application/json", base64_json(data)))


def base64_json(data: bytes) -> bytes:
    """``{"image": "..."}`` as every JSON library writes it."""
    return json.dumps({"image": base64.b64encode(data).decode("ascii")}).encode()


def chunks(data: bytes, chunk_bytes: int) -> Iterator[pb.DiagnoseStreamRequest]:
    """``open``, then the file in pieces."""
    yield pb.DiagnoseStreamRequest(open=pb.UploadOpen(size=len(data)))
    for offset in range(0, len(data), chunk_bytes):
        part = data[offset : offset + chunk_bytes]
        last = offset + len(part) == len(data)
        yield pb.DiagnoseStreamRequest(chunk=pb.UploadChunk(offset=offset, data=part, last=last))


def typed(failure: grpc.RpcError) -> Exception:
    """The platform's error in a failed call, or the failure itself where there is none."""
    trailers: Any = failure.trailing_metadata()  # type: ignore[attr-defined]  # an RpcError of a call is a call
    for key, value in trailers or ():
        status = status_from_bytes(value) if key == DETAILS_KEY else None
        error = error_of(status) if status is not None else None
        if error is not None:
            return error
    return failure


def patient(client: Client, data: bytes) -> tuple[Diagnosis, int]:
    """The answer however often the server turns the image away first, and how often it did."""
    refused = 0
    while True:
        try:
            return client.ask(data), refused
        except OverloadedError as error:
            refused += 1
            time.sleep(error.retry_after_s)


GRPC_DOORS: dict[str, Callable[[str], Client]] = {
    "gRPC unary": Unary,
    "gRPC stream": Stream,
    "gRPC batch stream": BatchStream,
}
HTTP_DOORS: dict[str, Callable[[tuple[str, int]], Client]] = {"REST multipart": Multipart, "REST base64 JSON": Newcomer}
"""How to make a client of each door of that name. The last is the newcomer's, at another address."""
