"""A REST server as a newcomer would write it: an image as base64 within JSON. For the benchmarks only.

It answers by the same engine as the platform does, so that the door alone is what differs. It prints its port, serves
until SIGTERM, and has none of what makes a server safe: no limits, no admission, no typed errors.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from irmsia.app.compose import open_service
from irmsia.inference.protocol import DiagnoseRequest, InferenceService
from irmsia.settings.tree import Settings
from irmsia.wire.json import diagnosis_to_json


class Body(BaseModel):
    """An image as base64."""

    image: str


def make_app(service: InferenceService | None) -> FastAPI:
    """Two routes: keep an upload's digest, diagnose an image."""
    app = FastAPI()

    @app.post("/upload")
    async def upload(body: Body) -> dict[str, Any]:
        data = base64.b64decode(body.image)
        return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}

    @app.post("/diagnose")
    async def diagnose(body: Body) -> dict[str, Any]:
        if service is None:
            raise RuntimeError("started without an engine")
        request = DiagnoseRequest(None, base64.b64decode(body.image))
        return diagnosis_to_json(await asyncio.wrap_future(service.submit(request)))

    return app


def main() -> None:
    """Serve on a free port."""
    with open_service(Settings(), None) as service, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as on a socket that uvicorn opens by itself
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(make_app(service), log_level="warning", access_log=False)
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
