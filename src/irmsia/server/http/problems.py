"""Every error as an RFC 9457 problem: the status of the table in `irmsia.wire.errors`, and the leaf's ``code``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from irmsia.errors import IrmsiaError, OverloadedError
from irmsia.wire import Diagnosis
from irmsia.wire.errors import http_status
from irmsia.wire.json import diagnosis_to_json

MEDIA_TYPE = "application/problem+json"

MAX_DETAIL_CHARACTERS = 500


def problem_of(error: IrmsiaError, *, status: int | None = None, diagnosis: Diagnosis | None = None) -> dict[str, Any]:
    """The members of a problem; ``status`` tells one of a kind more exactly (405, 410) than the table.

    ``diagnosis`` is the answer of an image that failed, with all that is known of it.
    """
    code = error.code or "INTERNAL"
    problem = {
        "type": f"/docs#{code}",
        "title": title_of(type(error)),
        "status": status or http_status(error),
        "detail": error.message[:MAX_DETAIL_CHARACTERS],
        "code": code,
    }
    return problem if diagnosis is None else {**problem, "diagnosis": diagnosis_to_json(diagnosis)}


def problem_response(
    error: IrmsiaError,
    *,
    status: int | None = None,
    diagnosis: Diagnosis | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The problem as a response; overload says when to come again."""
    problem = problem_of(error, status=status, diagnosis=diagnosis)
    told = dict(headers or {})
    if isinstance(error, OverloadedError):
        told["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return JsonResponse(problem, status=problem["status"], headers=told, media_type=MEDIA_TYPE)


def title_of(leaf: type[IrmsiaError]) -> str:
    """What a leaf means, the same for every error of its kind."""
    first = (leaf.__doc__ or leaf.code).splitlines()[0]
    return first.removesuffix(".").replace("`", "")


class JsonResponse(Response):
    """Strict JSON in ASCII."""

    def __init__(
        self,
        content: Any,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str = "application/json",
    ) -> None:
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        super().__init__(text.encode("ascii"), status_code=status, headers=headers, media_type=media_type)
