"""A stand-in of the folder of NIH ChestX-ray14: static links, each a 302 to a signed address that takes Range."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tests.collect.fakes.faults import Faulty
from tests.collect.fakes.serving import serve
from tests.collect.fakes.storage import send_file


def make_archive(images: Mapping[str, bytes]) -> bytes:
    """``images/NAME`` in a gzipped TAR, the same bytes every time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in sorted(images.items()):
            member = tarfile.TarInfo(f"images/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0)


@dataclass(frozen=True)
class OpenFolder:
    """A served folder. ``url``: what `CollectSettings.nih_url` takes."""

    app: Faulty
    url: str


@contextmanager
def open_nih(files: Mapping[str, bytes]) -> Iterator[OpenFolder]:
    """The folder with ``files`` by the last part of their links."""

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        return RedirectResponse(f"/signed/{name}?s=secret", 302) if name in files else Response(status_code=404)

    async def signed(request: Request) -> Response:
        return send_file(request, files[request.path_params["name"]], media_type="application/gzip")

    app = Faulty(Starlette(routes=[Route("/shared/static/{name}", static), Route("/signed/{name}", signed)]))
    with serve(app) as url:
        yield OpenFolder(app, f"{url}/shared/static")
