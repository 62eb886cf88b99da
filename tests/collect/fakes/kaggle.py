"""A stand-in of Kaggle: the routes of its REST interface, and the calls that its own client kagglehub makes."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.collect.fakes.faults import Faulty
from tests.collect.fakes.serving import serve
from tests.collect.fakes.storage import send_file

TOKEN, USER, KEY = "KGAT_phantom", "phantom", "0123456789abcdef"
_PAGE, _FILES_PAGE = 2, 2
_SERVICE = "/api/v1/datasets.DatasetApiService"


@dataclass(frozen=True)
class KaggleSet:
    """A dataset: ``versions`` are its states, each path -> content; the last is the current one."""

    ref: str
    title: str
    versions: tuple[Mapping[str, bytes], ...]
    licence: str = "CC0-1.0"
    restricted: bool = False

    @property
    def current(self) -> int:
        """Its number."""
        return len(self.versions)

    def files(self, version: int | None = None) -> Mapping[str, bytes]:
        """Of a version."""
        return self.versions[(version or self.current) - 1]

    def packed(self, version: int | None = None) -> bytes:
        """All files as one ZIP, the same bytes every time."""
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sorted(self.files(version).items()):
                archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data)
        return out.getvalue()

    def row(self) -> dict[str, Any]:
        """What Kaggle says of it."""
        owner = self.ref.partition("/")[0]
        return {
            "ref": self.ref,
            "title": self.title,
            "subtitle": f"About {self.title}",
            "totalBytes": sum(map(len, self.files().values())),
            "licenseName": self.licence,
            "ownerName": owner.title(),
            "currentVersionNumber": self.current,
            "usabilityRating": 0.9,
            "lastUpdated": "2026-01-01T00:00:00Z",
            "url": f"https://www.kaggle.com/datasets/{self.ref}",
        }


@dataclass
class Kaggle:
    """The server. ``hidden_errors``: errors come with status 200 and their code inside."""

    sets: tuple[KaggleSet, ...]
    hidden_errors: bool = False
    stored: dict[str, bytes] = field(default_factory=dict)

    def app(self) -> Faulty:
        """Its base addresses are ``/api/v1`` for REST and ``/api`` for kagglehub."""
        routes = [
            Route("/api/v1/datasets/list", self._list),
            Route("/api/v1/datasets/view/{owner}/{slug}", self._view),
            Route("/api/v1/datasets/list/{owner}/{slug}", self._files),
            Route("/api/v1/datasets/download/{owner}/{slug}", self._download),
            Route("/api/v1/datasets/download-raw/{owner}/{slug}/{file:path}", self._download),
            Route("/storage/{key:path}", self._storage),
            *(
                Route(f"{_SERVICE}/{name}", act, methods=["POST"])
                for name, act in (
                    ("GetDataset", self._called_view),
                    ("ListDatasets", self._called_list),
                    ("ListDatasetFiles", self._called_files),
                    ("DownloadDataset", self._called_download),
                )
            ),
        ]
        return Faulty(Starlette(routes=routes))

    async def _list(self, request: Request) -> Response:
        asked = request.query_params
        return self._refusal(request) or JSONResponse(self._page(asked.get("search", ""), int(asked.get("page", 1))))

    async def _view(self, request: Request) -> Response:
        found = self._find(request.path_params)
        return self._refusal(request) or (self._error(404) if found is None else JSONResponse(found.row()))

    async def _files(self, request: Request) -> Response:
        found = self._find(request.path_params)
        if refusal := self._refusal(request):
            return refusal
        if found is None:
            return self._error(404)
        version = request.query_params.get("datasetVersionNumber")
        return JSONResponse(_file_rows(found, version, request.query_params.get("pageToken")))

    async def _download(self, request: Request) -> Response:
        found = self._find(request.path_params)
        if refusal := self._refusal(request):
            return refusal
        version = int(request.query_params.get("datasetVersionNumber") or 0)
        return self._redirect(found, version, request.path_params.get("file"))

    def _redirect(self, found: KaggleSet | None, version: int, file: str | None) -> Response:
        if found is None or version > found.current:
            return self._error(404)
        if found.restricted:
            return self._error(403)
        files = found.files(version or None)
        if file is not None and file not in files:
            return self._error(404)
        key = f"{found.ref}/{version or found.current}/{file or 'archive.zip'}"
        self.stored[key] = files[file] if file is not None else found.packed(version or None)
        return RedirectResponse(f"/storage/{key}?X-Goog-Signature=secret", 302)

    async def _storage(self, request: Request) -> Response:
        data = self.stored.get(request.path_params["key"])
        return Response(status_code=404) if data is None else send_file(request, data)

    async def _called_list(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        return JSONResponse({"datasets": self._page(asked.get("search", ""), int(asked.get("page", 1)))})

    async def _called_view(self, request: Request) -> Response:
        found = self._find(_named(json.loads(await request.body())))
        return self._error(404) if found is None else JSONResponse(found.row())

    async def _called_files(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        found = self._find(_named(asked))
        return self._error(404) if found is None else JSONResponse(_file_rows(found, None, asked.get("pageToken")))

    async def _called_download(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        return self._redirect(
            self._find(_named(asked)), int(asked.get("datasetVersionNumber") or 0), asked.get("fileName")
        )

    def _page(self, search: str, page: int) -> list[dict[str, Any]]:
        words = search.lower().split()
        rows = [one.row() for one in self.sets if all(word in f"{one.ref} {one.title}".lower() for word in words)]
        return rows[(page - 1) * _PAGE : page * _PAGE]

    def _find(self, named: Mapping[str, Any]) -> KaggleSet | None:
        ref = f"{named['owner']}/{named['slug']}"
        return next((one for one in self.sets if one.ref == ref), None)

    def _refusal(self, request: Request) -> Response | None:
        basic = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        known = request.headers.get("authorization") in (f"Bearer {TOKEN}", f"Basic {basic}")
        return None if known else self._error(401)

    def _error(self, code: int) -> Response:
        body = {"code": code, "message": {401: "Unauthenticated", 403: "Permission denied"}.get(code, "Not found")}
        return JSONResponse(body, 200 if self.hidden_errors else code)


def _named(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"owner": asked.get("ownerSlug"), "slug": asked.get("datasetSlug")}


def _file_rows(found: KaggleSet, version: str | None, token: str | None) -> dict[str, Any]:
    files = sorted(found.files(int(version) if version else None).items())
    start = int(token or 0)
    rows = [{"name": name, "totalBytes": len(data), "creationDate": "2026-01-01T00:00:00Z"} for name, data in files]
    more = start + _FILES_PAGE < len(rows)
    return {
        "datasetFiles": rows[start : start + _FILES_PAGE],
        "nextPageToken": str(start + _FILES_PAGE) if more else "",
    }


@dataclass(frozen=True)
class OpenKaggle:
    """A served Kaggle. ``url``: what `CollectSettings.kaggle_url` takes."""

    kaggle: Kaggle
    app: Faulty
    url: str


@contextmanager
def open_kaggle(*sets: KaggleSet, port: int = 0) -> Iterator[OpenKaggle]:
    """Kaggle with ``sets``; ``port``: 0 takes a free one."""
    kaggle = Kaggle(sets)
    app = kaggle.app()
    with serve(app, port=port) as url:
        yield OpenKaggle(kaggle, app, f"{url}/api/v1")
