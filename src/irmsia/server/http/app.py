"""The application: FastAPI's routing and OpenAPI document around `routes`, errors as problems, `Guard` around all."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response
from starlette.types import Scope

from irmsia import __version__
from irmsia.errors import InvalidRequestError, IrmsiaError, NotFoundError
from irmsia.server.http.guard import Guard
from irmsia.server.http.pages import Pages
from irmsia.server.http.problems import problem_response
from irmsia.server.http.routes import HttpParts, Routes
from irmsia.server.http.schemas import component_schemas
from irmsia.server.http.table import ROUTES, TAGS, describe

_OTHER = "other"


def make_app(parts: HttpParts, *, tls: bool = False) -> FastAPI:
    """The application on ``parts``; ``tls`` where it is served over TLS: then any Host may be named."""
    app = FastAPI(
        title="IRMSIA",
        version=__version__,
        summary="Medical images in, calibrated answers out that may refuse.",
        openapi_tags=list(TAGS),
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    routes = Routes(parts)
    for row in ROUTES:
        app.add_api_route(row.path, getattr(routes, row.name), methods=[row.method], name=row.name, **describe(row))
    Pages(app, parts.dicom).add_to(app)
    _tell_errors_as_problems(app)
    _add_schemas(app)
    names = {row.path: row.name for row in ROUTES}

    def observed(scope: Scope, status: int, seconds: float) -> None:
        call = names.get(getattr(scope.get("route"), "path", ""), _OTHER)
        parts.metrics.requested("http", call, str(status), seconds)

    app.add_middleware(Guard, admission=parts.admission, observed=observed, tls=tls)
    return app


def _add_schemas(app: FastAPI) -> None:
    """FastAPI makes the document from its own models alone; ours are dataclasses."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        document["components"] = {"schemas": component_schemas()}
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way


def _tell_errors_as_problems(app: FastAPI) -> None:
    @app.exception_handler(IrmsiaError)
    def typed(request: Request, error: IrmsiaError) -> Response:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Response:
        places = sorted({str(item["loc"][-1]) for item in error.errors() if item.get("loc")})
        return problem_response(InvalidRequestError(f"malformed: {', '.join(places)}"))

    @app.exception_handler(StarletteHTTPException)
    def routed(request: Request, error: HTTPException) -> Response:
        if error.status_code == _NOT_FOUND:
            return problem_response(NotFoundError("there is nothing at this address"))
        if error.status_code == _NOT_ALLOWED:
            problem = InvalidRequestError("this address does not take that method")
            return problem_response(problem, status=_NOT_ALLOWED, headers=error.headers)
        return problem_response(InvalidRequestError("the request cannot be understood"))


_NOT_FOUND, _NOT_ALLOWED = 404, 405
