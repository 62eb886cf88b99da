"""The pages for people: ``/`` explains and answers a dropped file, ``/docs`` shows the REST interface. All our own."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from html import escape
from importlib import resources
from string import Template
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from irmsia import __version__
from irmsia.errors import NotFoundError
from irmsia.findings.service import ServiceHealth
from irmsia.findings.vocabulary import get_label, list_terms
from irmsia.inference.protocol import InferenceService
from irmsia.server.http.docs_page import render_docs

LANGUAGES = ("en", "fr")
_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class Pages:
    """Their endpoints."""

    def __init__(self, app: FastAPI, service: InferenceService) -> None:
        self._app = app
        self._service = service

    def add_to(self, app: FastAPI) -> None:
        """Serve them; they are not part of the OpenAPI document."""
        for path, endpoint in (("/", self.home), ("/docs", self.docs), ("/static/{name}", self.static)):
            app.add_api_route(path, endpoint, methods=["GET"], include_in_schema=False, response_model=None)

    async def home(self, request: Request) -> Response:
        """What runs, and a form for one file."""
        language = choose_language(request.query_params.get("lang"), request.headers.get("accept-language", ""))
        health = await asyncio.to_thread(self._service.health)
        html = render_home(language, health, f"{request.url.scheme}://{request.headers['host']}")
        return HTMLResponse(html, headers={"Content-Language": language, "Vary": "Accept-Language"})

    async def docs(self, request: Request) -> Response:
        """The OpenAPI document for people."""
        url = f"{request.url.scheme}://{request.headers['host']}"
        return HTMLResponse(render_docs(self._app.openapi(), url))

    async def static(self, request: Request) -> Response:
        """One of the few files that the pages use."""
        data = _assets().get(request.path_params["name"])
        if data is None:
            raise NotFoundError("there is nothing at this address")
        return Response(data, media_type=_KINDS[request.path_params["name"].rpartition(".")[2]])


def choose_language(asked: str | None, accepted: str) -> str:
    """The language asked for, else what an Accept-Language header likes best (RFC 9110, 12.5.4), else English."""
    if asked in LANGUAGES:
        return asked
    liked = sorted((_preference(part) for part in accepted.split(",")), key=lambda pair: -pair[1])
    return next((language for language, quality in liked if language in LANGUAGES and quality > 0), LANGUAGES[0])


def _preference(part: str) -> tuple[str, float]:
    name, _, rest = part.partition(";")
    quality = rest.strip().removeprefix("q=") if rest else "1"
    try:
        return name.strip().partition("-")[0].lower(), float(quality)
    except ValueError:
        return "", 0.0


def render_home(language: str, health: ServiceHealth, url: str) -> str:
    """The page in one language."""
    words = read_words(language)
    labels = {term.code: get_label(term.code, language) for term in list_terms()}
    plain = {key: escape(text) for key, text in words.items() if "." not in key}
    return _template().substitute(
        plain,
        lang=language,
        other=next(other for other in LANGUAGES if other != language),
        words=escape(json.dumps(words)),
        labels=escape(json.dumps(labels)),
        facts=_facts(health, words),
        url=escape(url),
        version=escape(__version__),
    )


def _facts(health: ServiceHealth, words: dict[str, str]) -> str:
    model = health.model
    state = words["ready"] if health.ready else f"{words['waiting']}: {health.reason or ''}"
    rows = {
        words["state_now"]: f'<span class="{"ready" if health.ready else "waiting"}">{escape(state)}</span>',
        words["model"]: escape(f"{model.name} {model.version} ({model.id[:12]})" if model else words["no_model"]),
        words["load"]: escape(words["load_now"].format(health.running, health.waiting)),
        words["uptime"]: escape(words["seconds"].format(round(health.uptime_s))),
        words["software"]: escape(health.software or f"irmsia {__version__}"),
    }
    items = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in rows.items())
    return f'<dl class="facts">{items}</dl>'


@cache
def read_words(language: str) -> dict[str, str]:
    """Every text of the pages in one language."""
    everything: dict[str, dict[str, str]] = json.loads(_file("words.json"))
    return everything[language]


@cache
def _template() -> Template:
    return Template(_file("static", "home.html"))


@cache
def _assets() -> dict[str, bytes]:
    folder: Any = resources.files(__package__).joinpath("static")
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _KINDS}


def _file(*parts: str) -> str:
    return resources.files(__package__).joinpath(*parts).read_text(encoding="utf-8")
