"""The table of routes: what the application serves, what the OpenAPI document and `/docs` say, what the docs list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from irmsia import errors
from irmsia.errors import IrmsiaError
from irmsia.server.http.examples import make_examples
from irmsia.server.http.problems import MEDIA_TYPE, title_of
from irmsia.server.http.schemas import schema_reference
from irmsia.wire.errors import http_status

TAGS = (
    {"name": "dicom", "description": "Images answered in this process."},
    {"name": "ai-grpc", "description": "Images answered over a gRPC channel: this server's own, or another's."},
    {"name": "service", "description": "What runs here."},
)

_EXAMPLES = make_examples()
_IMAGE = {"type": "string", "format": "binary", "description": "A DICOM, PNG, JPEG, TIFF or BMP file"}
_FLAG = {"type": "boolean", "default": False}
_OPTIONS: dict[str, Any] = {
    "heatmap": {**_FLAG, "description": "Explain the answer: signed contributions on the network's own grid"},
    "overlay": {"type": "boolean", "description": "The heat-map drawn over the image as PNG; as heatmap unless told"},
    "segmentation": {**_FLAG, "description": "Outline the lesion, where the model can"},
    "model": {"type": "string", "description": "Id, start of an id, NAME or NAME:VERSION; the active one unless told"},
    "term": {"type": "string", "description": "What to explain; the most probable term other than normal unless told"},
    "all_findings": {**_FLAG, "description": "Also the terms that the model does not assess"},
}
_BODY_ERRORS: tuple[type[IrmsiaError], ...] = (
    errors.InvalidRequestError,
    errors.LimitExceededError,
    errors.UnsupportedError,
    errors.NotAnImageError,
    errors.OverloadedError,
    errors.UnavailableError,
    errors.TimedOutError,
    errors.StorageFullError,
    errors.InternalError,
)
_INPUT_ERRORS: tuple[type[IrmsiaError], ...] = (
    *_BODY_ERRORS,
    errors.ModelNotFoundError,
    errors.TruncatedError,
    errors.DecodeFailedError,
    errors.QuarantinedError,
)


@dataclass(frozen=True, slots=True)
class Route:
    """One row. ``schema`` names a component schema; ``many``: a list of them; ``form``: fields by name.

    ``not_now``: the status of the same object where it says no.
    """

    method: str
    path: str
    name: str
    tag: str
    summary: str
    description: str
    schema: str | None
    examples: dict[str, Any]
    status: int = 200
    many: bool = False
    form: dict[str, Any] | None = None
    required: tuple[str, ...] = ()
    errors: tuple[type[IrmsiaError], ...] = (errors.InternalError,)
    not_now: int | None = None


_DIAGNOSE = "The answer of contract section 4. A refusal is an answer, too; an image that fails is its status."
_ONE = {"file": _IMAGE, "upload_id": {"type": "string", "description": "Instead of `file`"}, **_OPTIONS}
_MANY = {
    "files": {"type": "array", "items": _IMAGE},
    **_OPTIONS,
    "grouped": {**_FLAG, "description": "`{answers, summary}`: by study and series as well"},
}

ROUTES = (
    Route(
        *("POST", "/api/v1/dicom/upload", "upload", "dicom", "Upload one image"),
        "It is hashed as it comes in and kept for 15 minutes; `upload_id` then stands for it.",
        *("Upload", {"upload": _EXAMPLES["Upload"]}, 201),
        form={"file": _IMAGE},
        required=("file",),
        errors=_BODY_ERRORS,
    ),
    Route(
        *("GET", "/api/v1/dicom/upload/{upload_id}", "uploaded", "dicom", "What was uploaded"),
        "Its size and digest, while it is kept.",
        *("Upload", {"upload": {**_EXAMPLES["Upload"]}}),
        errors=(errors.NotFoundError, errors.UploadExpiredError, errors.InternalError),
    ),
    Route(
        *("POST", "/api/v1/dicom/diagnose", "diagnose", "dicom", "Diagnose one image"),
        _DIAGNOSE,
        *("Diagnosis", _EXAMPLES["Diagnosis"]),
        form=_ONE,
        errors=(*_INPUT_ERRORS, errors.NotFoundError, errors.UploadExpiredError),
    ),
    Route(
        *("POST", "/api/v1/ai-grpc/diagnose", "diagnose_by_grpc", "ai-grpc", "Diagnose one image over gRPC"),
        _DIAGNOSE,
        *("Diagnosis", _EXAMPLES["Diagnosis"]),
        form=_ONE,
        errors=(*_INPUT_ERRORS, errors.NotFoundError, errors.UploadExpiredError),
    ),
    Route(
        *("POST", "/api/v1/ai-grpc/diagnose-batch", "diagnose_batch", "ai-grpc", "Diagnose several images over gRPC"),
        "A list in the order given; an image that fails is an answer with its `error` and harms no other.",
        *("Diagnosis", _EXAMPLES["Batch"]),
        many=True,
        form=_MANY,
        required=("files",),
        errors=_INPUT_ERRORS,
    ),
    Route(
        *("GET", "/api/v1/models", "models", "service", "List the models"),
        "Those that can be asked for, the active one first.",
        *("ModelInfo", {"models": _EXAMPLES["ModelInfo"]}),
        many=True,
    ),
    Route(
        *("GET", "/api/v1/health/live", "live", "service", "Is the process alive?"),
        "200 while the process answers.",
        *("Live", {"live": {"live": True}}),
    ),
    Route(
        *("GET", "/api/v1/health/ready", "ready", "service", "Are requests taken?"),
        "200, or 503 with the reason: no model is ready yet, or the server is stopping.",
        *("ServiceHealth", {"ready": _EXAMPLES["ServiceHealth"]}),
        not_now=503,
    ),
    Route(
        *("GET", "/metrics", "metrics", "service", "Metrics"),
        "The text format of Prometheus.",
        *(None, {}),
    ),
)


def describe(row: Route) -> dict[str, Any]:
    """What FastAPI is told of a route besides its path and method."""
    return {
        "operation_id": row.name,
        "summary": row.summary,
        "description": row.description,
        "tags": [row.tag],
        "status_code": row.status,
        "response_model": None,
        "responses": {row.status: _answer(row), **_problems(row), **_not_now(row)},
        "openapi_extra": _request(row),
    }


def _answer(row: Route) -> dict[str, Any]:
    if row.schema is None:
        return {"description": "Success", "content": {"text/plain": {"schema": {"type": "string"}}}}
    schema = schema_reference(row.schema)
    if row.many:
        schema = {"type": "array", "items": schema}
    if "grouped" in row.examples:
        schema = {"oneOf": [schema, schema_reference("GroupedAnswers")]}
    examples = {name: {"value": value} for name, value in row.examples.items()}
    return {"description": "Success", "content": {"application/json": {"schema": schema, "examples": examples}}}


def _not_now(row: Route) -> dict[int | str, Any]:
    if row.not_now is None or row.schema is None:
        return {}
    content = {"application/json": {"schema": schema_reference(row.schema)}}
    return {row.not_now: {"description": "Not now: reason says why", "content": content}}


def _problems(row: Route) -> dict[int | str, Any]:
    """The problems by status; several leaves may share one."""
    by_status: dict[int, list[type[IrmsiaError]]] = {}
    for leaf in row.errors:
        by_status.setdefault(http_status(leaf("")), []).append(leaf)
    return {status: _problem(leaves) for status, leaves in sorted(by_status.items())}


def _problem(leaves: list[type[IrmsiaError]]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schema_reference("ProblemDetails")}
    if errors.TruncatedError in leaves:
        content["examples"] = {"unreadable": {"value": _EXAMPLES["Unreadable"]}}
    if errors.OverloadedError in leaves:
        content["examples"] = {"overloaded": {"value": _EXAMPLES["Overloaded"]}}
    described = "; ".join(f"{leaf.code}: {title_of(leaf)}" for leaf in leaves)
    problem: dict[str, Any] = {"description": described, "content": {MEDIA_TYPE: content}}
    if errors.OverloadedError in leaves:
        problem["headers"] = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
    return problem


def _request(row: Route) -> dict[str, Any]:
    if "{upload_id}" in row.path:
        return {"parameters": [{"name": "upload_id", "in": "path", "required": True, "schema": {"type": "string"}}]}
    if row.form is None:
        return {}
    schema = {"type": "object", "properties": row.form, "required": list(row.required)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
