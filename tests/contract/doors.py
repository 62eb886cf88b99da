"""Every door of a running server as a table: how to ask it for the same images. Another door is one more row.

The doors are asked in their own words, messages and multipart forms, and not through the client library: what is
compared is what any program on the wire gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import httpx2

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.app.compose import open_service
from irmsia.findings.types import Diagnosis
from irmsia.inference.protocol import DiagnoseRequest
from irmsia.settings.tree import Settings
from irmsia.wire import SERVICE
from irmsia.wire.json import diagnosis_from_json
from irmsia.wire.proto import diagnosis_from_message
from irmsia.wire.status import DETAILS_KEY, answer_of, status_from_bytes

PATIENCE_S = 120.0
CHUNK_BYTES = 50_000  # no divisor of any image: the last chunk is a short one

Images = Mapping[str, bytes]
Answers = dict[str, Diagnosis]


@dataclass(frozen=True)
class Served:
    """One running server: its settings, a channel to its gRPC door, a client of its HTTP door."""

    settings: Settings
    channel: grpc.Channel
    http: httpx2.Client


@dataclass(frozen=True)
class Door:
    """One way in."""

    name: str
    ask: Callable[[Served, Images], Answers]


def ask_process(served: Served, images: Images) -> Answers:
    """The engine in this process, with the home of the server: pseudonyms hang on its key."""
    with open_service(served.settings, None) as service:
        asked = {
            name: service.submit(DiagnoseRequest(name, data, heatmap=True, overlay=True))
            for name, data in images.items()
        }
        return {name: future.result(PATIENCE_S) for name, future in asked.items()}


def ask_unary(served: Served, images: Images) -> Answers:
    """One message there, one back; a failed image is a status with its answer in the details."""
    call = served.channel.unary_unary(
        f"/{SERVICE}/DiagnoseDicom",
        request_serializer=pb.DiagnoseDicomRequest.SerializeToString,
        response_deserializer=pb.Diagnosis.FromString,
    )
    return {name: _answered(partial(call, _item(data), timeout=PATIENCE_S)) for name, data in images.items()}


def ask_stream(served: Served, images: Images) -> Answers:
    """Chunks there; acknowledgements, progress and the answer back."""
    call = served.channel.stream_stream(
        f"/{SERVICE}/DiagnoseDicomStream",
        request_serializer=pb.DiagnoseStreamRequest.SerializeToString,
        response_deserializer=pb.DiagnoseStreamResponse.FromString,
    )

    def last_part(data: bytes) -> pb.Diagnosis:
        parts = list(call(_chunks(data), timeout=PATIENCE_S))
        assert parts[0].WhichOneof("part") == "ack"
        assert [part.WhichOneof("part") for part in parts].count("diagnosis") == 1
        return parts[-1].diagnosis

    return {name: _answered(partial(last_part, data)) for name, data in images.items()}


def ask_batch(served: Served, images: Images) -> Answers:
    """All in one message; a failed image stands in its place."""
    call = served.channel.unary_unary(
        f"/{SERVICE}/DiagnoseBatch",
        request_serializer=pb.DiagnoseBatchRequest.SerializeToString,
        response_deserializer=pb.DiagnoseBatchResponse.FromString,
    )
    reply = call(pb.DiagnoseBatchRequest(items=[_item(data) for data in images.values()]), timeout=PATIENCE_S)
    assert reply.summary.counts.total == len(images)
    return dict(zip(images, map(diagnosis_from_message, reply.answers), strict=True))


def ask_batch_stream(served: Served, images: Images) -> Answers:
    """One image a message; answers in any order, each once, and the summary last."""
    call = served.channel.stream_stream(
        f"/{SERVICE}/DiagnoseBatchStream",
        request_serializer=pb.DiagnoseBatchStreamRequest.SerializeToString,
        response_deserializer=pb.DiagnoseBatchStreamResponse.FromString,
    )
    items = (pb.DiagnoseBatchStreamRequest(id=name, item=_item(data)) for name, data in images.items())
    *parts, last = call(items, timeout=PATIENCE_S)
    assert last.summary.counts.total == len(images) == len(parts)
    answers = {part.answer.id: diagnosis_from_message(part.answer.diagnosis) for part in parts}
    return {name: answers[name] for name in images}


def ask_rest_upload(served: Served, images: Images) -> Answers:
    """The file first, then its id in a form without a file."""

    def ask(data: bytes) -> httpx2.Response:
        kept = served.http.post("/api/v1/dicom/upload", files={"file": ("image", data)})
        if kept.status_code != httpx2.codes.CREATED:
            return kept
        form = {"upload_id": (None, kept.json()["upload_id"]), "heatmap": (None, "true")}
        return served.http.post("/api/v1/dicom/diagnose", files=form)

    return {name: _replied(ask(data)) for name, data in images.items()}


def ask_rest(path: str) -> Callable[[Served, Images], Answers]:
    """One multipart form an image."""

    def ask(served: Served, images: Images) -> Answers:
        return {
            name: _replied(served.http.post(path, files={"file": ("image", data)}, data={"heatmap": "true"}))
            for name, data in images.items()
        }

    return ask


def ask_rest_batch(served: Served, images: Images) -> Answers:
    """All in one form; a list in the order given."""
    files = [("files", (name, data)) for name, data in images.items()]
    reply = served.http.post("/api/v1/ai-grpc/diagnose-batch", files=files, data={"heatmap": "true"})
    assert reply.status_code == httpx2.codes.OK, reply.text
    return dict(zip(images, map(diagnosis_from_json, reply.json()), strict=True))


REFERENCE = Door("process", ask_process)
DOORS = (
    Door("gRPC unary", ask_unary),
    Door("gRPC stream", ask_stream),
    Door("gRPC batch", ask_batch),
    Door("gRPC batch stream", ask_batch_stream),
    Door("REST upload, then diagnose", ask_rest_upload),
    Door("REST dicom/diagnose", ask_rest("/api/v1/dicom/diagnose")),
    Door("REST ai-grpc/diagnose", ask_rest("/api/v1/ai-grpc/diagnose")),
    Door("REST batch", ask_rest_batch),
)


def _item(data: bytes) -> pb.DiagnoseDicomRequest:
    return pb.DiagnoseDicomRequest(content=data, heatmap=True, overlay=True)


def _chunks(data: bytes) -> Iterator[pb.DiagnoseStreamRequest]:
    options = pb.DiagnoseOptions(heatmap=True, overlay=True)
    yield pb.DiagnoseStreamRequest(open=pb.UploadOpen(size=len(data), options=options))
    for offset in range(0, len(data), CHUNK_BYTES):
        part = data[offset : offset + CHUNK_BYTES]
        last = offset + len(part) == len(data)
        yield pb.DiagnoseStreamRequest(chunk=pb.UploadChunk(offset=offset, data=part, last=last))


def _answered(call: Callable[[], pb.Diagnosis]) -> Diagnosis:
    """The reply, or the answer in the details of the status that ended the call."""
    try:
        return diagnosis_from_message(call())
    except grpc.RpcError as failure:
        trailers: Any = failure.trailing_metadata()  # type: ignore[attr-defined]  # an RpcError of a call is a call
        statuses = [status_from_bytes(value) for key, value in trailers or () if key == DETAILS_KEY]
        assert statuses and statuses[0] is not None, failure
        answer = answer_of(statuses[0])
        assert answer is not None, statuses
        return answer


def _replied(reply: httpx2.Response) -> Diagnosis:
    """The answer, or what a problem tells of the image."""
    if reply.status_code == httpx2.codes.OK:
        return diagnosis_from_json(reply.json())
    assert reply.headers["content-type"].startswith("application/problem+json"), reply.text
    return diagnosis_from_json(reply.json()["diagnosis"])
