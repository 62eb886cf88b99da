"""The routes of contract section 4: forms become calls of a service, answers and failures become JSON. No medicine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from irmsia.errors import InvalidRequestError, NotAnImageError, UnavailableError, from_code
from irmsia.findings.summary import summarise
from irmsia.inference.protocol import DiagnoseRequest, InferenceService, Priority
from irmsia.server.admission import Admission
from irmsia.server.health import health_of
from irmsia.server.http.answering import answer_all, answer_one, while_connected
from irmsia.server.http.config import HttpServerConfig
from irmsia.server.http.forms import Form, FormFile, FormRules, read_form, remove_files
from irmsia.server.http.problems import JsonResponse, problem_response
from irmsia.server.http.receiving import Receiving, Relays
from irmsia.server.metrics import Metrics
from irmsia.server.uploads import Received, Uploads
from irmsia.wire import Diagnosis
from irmsia.wire.json import diagnosis_to_json, health_to_json, model_to_json, summary_to_json

OPTIONS = frozenset({"heatmap", "overlay", "segmentation", "model", "term", "all_findings"})
UPLOAD = FormRules(frozenset(), "file")
ONE = FormRules(OPTIONS | {"upload_id"}, "file")
MANY = OPTIONS | {"grouped"}


@dataclass(frozen=True, slots=True)
class HttpParts:
    """What the routes work with. ``dicom`` answers here; ``ai_grpc`` is asked over a gRPC channel."""

    dicom: InferenceService
    ai_grpc: InferenceService
    config: HttpServerConfig
    admission: Admission
    receiving: Receiving
    uploads: Uploads
    metrics: Metrics
    relays: Relays


class Routes:
    """The endpoints; each returns its response or raises an `IrmsiaError`."""

    def __init__(self, parts: HttpParts) -> None:
        self._parts = parts

    async def upload(self, request: Request) -> Response:
        """Keep one image for `diagnose`."""
        parts = self._parts
        form = await self._read(request, UPLOAD)
        received = _only_file(form).received
        if not received.size:
            await remove_files(form, parts.uploads)
            raise NotAnImageError("the image holds no bytes")
        expires = datetime.now(UTC) + timedelta(seconds=parts.uploads.keep_seconds)
        content = {
            "upload_id": received.upload_id,
            "sha256": received.sha256,
            "size": received.size,
            "expires_at": expires.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
        location = f"/api/v1/dicom/upload/{received.upload_id}"
        return JsonResponse(content, status=201, headers={"Location": location})

    async def uploaded(self, request: Request) -> Response:
        """Tell what is kept under an upload id."""
        async with self._parts.uploads.using(request.path_params["upload_id"]) as received:
            return JsonResponse({"upload_id": received.upload_id, "sha256": received.sha256, "size": received.size})

    async def diagnose(self, request: Request) -> Response:
        """Answer one image in this process."""
        return await self._diagnose(request, self._parts.dicom)

    async def diagnose_by_grpc(self, request: Request) -> Response:
        """Answer one image over the gRPC channel."""
        return await self._diagnose(request, self._parts.ai_grpc)

    async def diagnose_batch(self, request: Request) -> Response:
        """Answer several images over the gRPC channel, in the order given."""
        parts = self._parts
        rules = FormRules(MANY, "files", parts.config.files)
        form = await self._read(request, rules)
        try:
            if not form.files:
                raise InvalidRequestError("the form holds no files")
            grouped = form.flag("grouped")
            deadline = self._deadline(len(form.files))
            asked = [
                self._asked(request, form, file, deadline=deadline, priority=Priority.BATCH) for file in form.files
            ]
            self._admit(request)
            with parts.relays.passing(), self._held(file.received for file in form.files):
                work = answer_all(parts.ai_grpc, asked, at_once=parts.config.at_once)
                answers = await while_connected(request, work)
        finally:
            await remove_files(form, parts.uploads)
        listed = [diagnosis_to_json(answer) for answer in answers]
        if not grouped:
            return JsonResponse(listed)
        return JsonResponse({"answers": listed, "summary": summary_to_json(summarise(answers))})

    async def models(self, request: Request) -> Response:
        """List the models that can be asked for, the active one first."""
        models = await asyncio.to_thread(self._parts.dicom.models)
        return JsonResponse([model_to_json(model) for model in models])

    async def live(self, request: Request) -> Response:
        """Say that the process answers at all."""
        return JsonResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Say whether requests are taken: 200, or 503 with the reason."""
        health = await health_of(self._parts.dicom, self._parts.admission)
        return JsonResponse(health_to_json(health), status=200 if health.ready else 503)

    async def metrics(self, request: Request) -> Response:
        """Give the metrics in the text format of Prometheus."""
        text, kind = await asyncio.to_thread(self._parts.metrics.render)
        return Response(text, media_type=kind)

    async def _diagnose(self, request: Request, service: InferenceService) -> Response:
        parts = self._parts
        here = service is parts.dicom
        with parts.admission.coming(_client_of(request)) if here else nullcontext():
            form = await self._read(request, ONE)
        try:
            async with self._file(form) as file:
                if not file.received.size:
                    raise NotAnImageError("the image holds no bytes")
                asked = self._asked(request, form, file, deadline=self._deadline(1), priority=Priority.SINGLE)
                self._admit(request)
                passing = nullcontext() if here else parts.relays.passing()
                with passing, self._held([file.received]):
                    answer = await while_connected(request, answer_one(service, asked))
        finally:
            await remove_files(form, parts.uploads)
        return _response_of(answer)

    async def _read(self, request: Request, rules: FormRules) -> Form:
        """Take the form in, unless it would be turned away anyway."""
        parts = self._parts
        request.state.slot.require_room()
        async with parts.receiving.place() as incoming:
            return await read_form(request, rules, config=parts.config, uploads=parts.uploads, incoming=incoming)

    @asynccontextmanager
    async def _file(self, form: Form) -> AsyncIterator[FormFile]:
        """The image that came with the form, or the one that was uploaded before."""
        upload_id = form.text("upload_id")
        if upload_id is None:
            yield _only_file(form)
            return
        if form.files:
            raise InvalidRequestError("the form holds file and upload_id; one of them is enough")
        async with self._parts.uploads.using(upload_id) as received:
            yield FormFile(upload_id, received)

    def _deadline(self, images: int) -> float:
        """On the monotonic clock, as for a batch over gRPC: images of one may wait for each other and for others."""
        return time.monotonic() + images * self._parts.config.request_s

    def _asked(
        self, request: Request, form: Form, file: FormFile, *, deadline: float, priority: Priority
    ) -> DiagnoseRequest:
        heatmap = form.flag("heatmap")
        return DiagnoseRequest(
            input=file.name,
            source=file.received.source,
            heatmap=heatmap,
            overlay=form.flag("overlay", default=heatmap),
            term=form.text("term"),
            segmentation=form.flag("segmentation"),
            model=form.text("model"),
            deadline=deadline,
            all_findings=form.flag("all_findings"),
            priority=priority,
            client=_client_of(request),
        )

    def _admit(self, request: Request) -> None:
        if self._parts.admission.stopping:
            raise UnavailableError("the server is stopping")
        request.state.slot.take()

    def _held(self, files: Iterable[Received]) -> AbstractContextManager[None]:
        """Count what the images hold in memory while they wait; those on disk hold nothing."""
        return self._parts.admission.hold(sum(len(file.source) for file in files if isinstance(file.source, bytes)))


def _client_of(request: Request) -> str:
    return request.client.host if request.client else ""


def _only_file(form: Form) -> FormFile:
    if not form.files:
        raise InvalidRequestError("the form holds no file")
    return form.files[0]


def _response_of(answer: Diagnosis) -> Response:
    """An answer is 200, refusals included; a failed image is its status with all that is known."""
    if answer.error is None:
        return JsonResponse(diagnosis_to_json(answer))
    return problem_response(from_code(answer.error.code, answer.error.message), diagnosis=answer)
