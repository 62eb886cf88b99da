"""A real HTTP server on this machine that answers as scripted, well, badly or not at all, and notes requests."""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["Handler", "Resource"], None]


@dataclass
class Resource:
    """One file. ``faults`` are used up one a request; then it is served well."""

    content: bytes
    etag: str | None = None
    modified: str | None = "Wed, 01 Jan 2025 00:00:00 GMT"
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def validator(self) -> str | None:
        """What If-Range may name."""
        return self.etag or self.modified


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Serve, or fail as scripted."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        asked = Asked(self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, body)
        self.server.asked.append(asked)
        path, _, _ = self.path.partition("?")
        resource = self.server.resources.get(path)
        try:
            if resource is None:
                self.reply(404, b"no such file")
            elif resource.faults:
                resource.faults.pop(0)(self, resource)
            else:
                self.serve(resource)
        except OSError:
            self.close_connection = True

    do_HEAD = do_GET
    do_POST = do_GET

    def serve(self, resource: Resource) -> None:
        """The file, or the range that is asked for."""
        start = self.start_of(resource)
        total = len(resource.content)
        headers = {**self.known(resource), **resource.headers}
        if start is None:
            self.reply(200, resource.content, headers)
        elif start >= total:
            self.reply(416, b"", {"Content-Range": f"bytes */{total}"})
        else:
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
            self.reply(206, resource.content[start:], headers)

    def start_of(self, resource: Resource) -> int | None:
        """Where the range begins that is asked for and may be served."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        condition = self.headers.get("if-range")
        if not resource.ranges or found is None or (condition is not None and condition != resource.validator()):
            return None
        return int(found[1])

    def known(self, resource: Resource) -> dict[str, str]:
        """Headers about the file."""
        headers = {"ETag": resource.etag, "Last-Modified": resource.modified}
        return {key: value for key, value in headers.items() if value is not None}

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """A whole answer with its length."""
        self.head(status, {"Content-Length": str(len(body)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Status and headers."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()


class Server(ThreadingHTTPServer):
    """The server and what it heard."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.resources: dict[str, Resource] = {}
        self.asked: list[Asked] = []
        self.released = threading.Event()
        """Set at the end: whoever holds an answer back lets go."""
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.scheme = "http" if tls is None else "https"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no news."""

    def add(self, path: str, content: bytes, **more: Any) -> Resource:
        """Serve a file; its ETag is its digest unless told."""
        etag = more.pop("etag", f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"')
        self.resources[path] = Resource(content, etag=etag, **more)
        return self.resources[path]

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"{self.scheme}://127.0.0.1:{self.server_port}{path}"

    def asked_for(self, path: str) -> list[Asked]:
        """Requests for a path."""
        return [asked for asked in self.asked if asked.path.partition("?")[0] == path]


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server until the end of the block."""
    server = Server(tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="scripted")
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    """An answer with that status; headers with ``_`` for ``-``."""
    told = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda handler, resource: handler.reply(code, body, told)


def cut_after(count: int) -> Fault:
    """Announce all that was asked for, send so many bytes of it, hang up."""

    def fault(handler: Handler, resource: Resource) -> None:
        start, total = handler.start_of(resource), len(resource.content)
        body = resource.content[start or 0 :]
        headers = {"Content-Length": str(len(body)), **handler.known(resource)}
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        handler.head(200 if start is None else 206, headers)
        handler.wfile.write(body[:count])
        handler.close_connection = True

    return fault


def page(handler: Handler, resource: Resource) -> None:
    """An error page that says 200."""
    handler.reply(200, b"<!DOCTYPE html>\n<html><body>Sorry</body></html>", {"Content-Type": "text/html"})


def empty(handler: Handler, resource: Resource) -> None:
    """Nothing, and all is well."""
    handler.reply(200, b"", handler.known(resource))


def endless(handler: Handler, resource: Resource) -> None:
    """Bytes without end and without length."""
    handler.close_connection = True
    handler.head(200, {"Connection": "close"})
    while not handler.server.released.is_set():
        handler.wfile.write(b"\x5a" * 65536)


def silent_after(count: int) -> Fault:
    """Some bytes, and then nothing for as long as the test lasts."""

    def fault(handler: Handler, resource: Resource) -> None:
        handler.close_connection = True
        handler.head(200, {"Content-Length": str(len(resource.content)), **handler.known(resource)})
        handler.wfile.write(resource.content[:count])
        handler.wfile.flush()
        handler.server.released.wait()

    return fault


def dripping(handler: Handler, resource: Resource) -> None:
    """A byte now and then: never silent, never done."""
    handler.close_connection = True
    handler.head(200, {"Content-Length": str(len(resource.content)), **handler.known(resource)})
    for value in resource.content:
        handler.wfile.write(bytes([value]))
        handler.wfile.flush()
        if handler.server.released.wait(0.05):
            return


def wrong_range(handler: Handler, resource: Resource) -> None:
    """Another range than was asked for."""
    total = len(resource.content)
    headers = {"Content-Range": f"bytes 0-{total - 1}/{total}", **handler.known(resource)}
    handler.reply(206, resource.content, headers)


def changed(content: bytes, etag: str) -> Fault:
    """From now on the file is another one."""

    def fault(handler: Handler, resource: Resource) -> None:
        resource.content, resource.etag = content, etag
        handler.serve(resource)

    return fault


def redirect(location: str, code: int = 302) -> Fault:
    """Ask there."""
    return status(code, b"", Location=location)
