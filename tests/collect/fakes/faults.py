"""Faults of a source, switched on for a path: an ASGI application around another that answers badly when told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
Fault = Callable[[App, MutableMapping[str, Any], Receive, Send], Awaitable[None]]

SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code><Message>Please reduce your request rate.'
    b"</Message><RequestId>0</RequestId></Error>"
)
PAGE = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body><h1>We will be back soon</h1></body></html>"


class CutError(Exception):
    """Makes the server drop the connection in the middle of an answer."""


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


@dataclass
class _Rule:
    pattern: re.Pattern[str]
    fault: Fault
    times: int | None
    skip: int


@dataclass
class Faulty:
    """An application that notes what is asked and answers badly where a rule says so.

    Attributes:
        app: the one that answers well.
        asked: every request so far.
        open: answers under way; ``most_open``: the most at once.
    """

    app: App
    asked: list[Asked] = field(default_factory=list)
    open: int = 0
    most_open: int = 0
    _rules: list[_Rule] = field(default_factory=list)

    def on(self, pattern: str, fault: Fault, *, times: int | None = None, skip: int = 0) -> None:
        """Answer requests whose path and query match ``pattern`` with ``fault``: ``times`` times, after ``skip``."""
        self._rules.append(_Rule(re.compile(pattern), fault, times, skip))

    def heal(self) -> None:
        """Answer everything well again."""
        self._rules.clear()

    def asked_for(self, pattern: str) -> list[Asked]:
        """The requests whose path and query match."""
        return [asked for asked in self.asked if re.search(pattern, f"{asked.path}?{asked.query}")]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] != "http":
            return
        path, query = scope["path"], scope["query_string"].decode()
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        self.asked.append(Asked(scope["method"], path, query, headers))
        fault = self._fault_for(f"{path}?{query}")
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            if fault is None:
                await self.app(scope, receive, send)
            else:
                await fault(self.app, scope, receive, send)
        finally:
            self.open -= 1

    def _fault_for(self, asked: str) -> Fault | None:
        for rule in self._rules:
            if not rule.pattern.search(asked):
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            if rule.times is None:
                return rule.fault
            if rule.times:
                rule.times -= 1
                return rule.fault
        return None


def answers(status: int, body: bytes = b"", content_type: str = "text/plain", **headers: str) -> Fault:
    """Always that answer. A header's ``_`` stands for ``-``."""

    async def fault(app: App, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        pairs = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        pairs += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})

    return fault


def error_500() -> Fault:
    """What a server that stumbles says."""
    return answers(500, b"Internal Server Error")


def slow_down(retry_after_s: int | None = None) -> Fault:
    """S3's way to say: less."""
    headers = {} if retry_after_s is None else {"retry_after": str(retry_after_s)}
    return answers(503, SLOW_DOWN, "application/xml", **headers)


def empty() -> Fault:
    """200 and nothing."""
    return answers(200, b"", "application/octet-stream")


def html_page() -> Fault:
    """A page for people, with status 200."""
    return answers(200, PAGE, "text/html; charset=utf-8")


def redirect(location: str) -> Fault:
    """To an address of the attacker's choice."""
    return answers(302, b"", location=location)


def cut(after: int) -> Fault:
    """The good answer, and the connection dropped after so many bytes of its body."""

    async def fault(app: App, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        sent = 0

        async def some(message: Message) -> None:
            nonlocal sent
            if message["type"] == "http.response.body":
                body = message.get("body", b"")
                if sent + len(body) >= after:
                    await send({"type": "http.response.body", "body": body[: after - sent], "more_body": True})
                    raise CutError
                sent += len(body)
                message = dict(message) | {"more_body": True}
            await send(message)

        await app(scope, receive, some)
        raise CutError  # the body was shorter: its end is not told either

    return fault


def flipped(offset: int) -> Fault:
    """The good answer with one bit of its body turned."""

    async def fault(app: App, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        seen = 0

        async def changed(message: Message) -> None:
            nonlocal seen
            if message["type"] == "http.response.body":
                body = bytearray(message.get("body", b""))
                if seen <= offset < seen + len(body):
                    body[offset - seen] ^= 1
                seen += len(body)
                message = dict(message) | {"body": bytes(body)}
            await send(message)

        await app(scope, receive, changed)

    return fault


def header(name: str, value: str) -> Fault:
    """The good answer with another value of one header: ``etag``, ``content-range``, ``content-length``."""

    async def fault(app: App, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                pairs = [pair for pair in message["headers"] if pair[0].lower() != name.encode()]
                message = dict(message) | {"headers": [*pairs, (name.encode(), value.encode())]}
            await send(message)

        await app(scope, receive, changed)

    return fault


def endless(chunk: bytes = b"\0" * 65536) -> Fault:
    """200 and a body without end, until the client goes."""

    async def fault(app: App, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        pairs = [(b"content-type", b"application/octet-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            while not gone.done():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await asyncio.sleep(0)
        finally:
            gone.cancel()

    return fault


def stalls(after: int) -> Fault:
    """The good answer up to so many bytes of its body, then silence until the client goes."""

    async def fault(app: App, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        sent = 0

        async def some(message: Message) -> None:
            nonlocal sent
            if message["type"] == "http.response.body":
                body = message.get("body", b"")
                await send({"type": "http.response.body", "body": body[: max(after - sent, 0)], "more_body": True})
                sent += len(body)
                if sent >= after:
                    await _disconnected(receive)
                    raise CutError
                return
            await send(message)

        await app(scope, receive, some)

    return fault


def slow(seconds: float, size: int = 1024) -> Fault:
    """The good answer in pieces of ``size`` bytes, one every so many seconds."""

    async def fault(app: App, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        async def pieces(message: Message) -> None:
            if message["type"] == "http.response.body":
                body = message.get("body", b"")
                for start in range(0, len(body), size):
                    piece = body[start : start + size]
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    await asyncio.sleep(seconds)
                message = dict(message) | {"body": b""}
            await send(message)

        await app(scope, receive, pieces)

    return fault


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
