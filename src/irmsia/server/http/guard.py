"""What stands around every request: who may ask, strict headers, one place to be counted in, and the last edge."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from irmsia import telemetry
from irmsia.errors import InternalError, InvalidRequestError, IrmsiaError, from_system
from irmsia.server.admission import Admission
from irmsia.server.http.answering import CallerGoneError
from irmsia.server.http.problems import problem_response

_log = telemetry.get_logger(__name__)

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": CONTENT_POLICY,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
"""On every response, errors among them."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

Observed = Callable[[Scope, int, float], None]
"""Hears of every response: the scope with its route, the status and the seconds it took."""


class Slot:
    """One admitted request; given back by the `Guard` when the response is out."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._taken = False

    def require_room(self) -> None:
        """Nobody would be admitted now: so no body need come in. Raises as `take`."""
        self._admission.enter()
        self._admission.leave()

    def take(self) -> None:
        """Be admitted.

        Raises:
            OverloadedError, UnavailableError: as `Admission.enter`.
        """
        self._admission.enter()
        self._taken = True

    def give_back(self) -> None:
        """The request is over."""
        if self._taken:
            self._taken = False
            self._admission.leave()


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, *, admission: Admission, observed: Observed, tls: bool = False) -> None:
        self._app = app
        self._admission = admission
        self._observed = observed
        self._tls = tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reply = _Reply(send, self._headers(scope))
        slot = Slot(self._admission)
        scope.setdefault("state", {})["slot"] = slot
        began = time.monotonic()
        try:
            await self._answer(scope, receive, reply)
        finally:
            slot.give_back()
            self._observed(scope, reply.status, time.monotonic() - began)

    def _headers(self, scope: Scope) -> dict[str, str]:
        """With TLS browsers are told to come by TLS only, but not for localhost, which other servers share."""
        pinned = self._tls and not is_loopback_name(Headers(scope=scope).get("host", "localhost"))
        return {**HEADERS, "Strict-Transport-Security": "max-age=31536000"} if pinned else HEADERS

    async def _answer(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        try:
            self._require_own_page(scope)
            await self._app(scope, receive, reply)
        except (CallerGoneError, ClientDisconnect):
            return
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the edge of a request: logged without its text, answered as a problem
            if not reply.started:
                await problem_response(_typed(error))(scope, receive, reply)

    def _require_own_page(self, scope: Scope) -> None:
        """No page of another site may ask, under its own name (DNS rebinding) or from there (cross-site request).

        Raises:
            InvalidRequestError: one does.
        """
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not (self._tls or is_loopback_name(hosts[0])):
            raise InvalidRequestError("the Host header must name this server: localhost or its loopback address")
        if scope["method"] in _SAFE:
            return
        origin = headers.get("origin")
        own = f"{'https' if self._tls else 'http'}://{hosts[0]}"
        if origin is not None and origin.lower() != own.lower():
            raise InvalidRequestError("the request comes from a page of another site")
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise InvalidRequestError("the request comes from a page of another site")


def is_loopback_name(host: str) -> bool:
    """Whether a Host header, with or without its port, is localhost or a loopback address."""
    name, bracket, _ = host.removeprefix("[").partition("]")
    if not (host.startswith("[") and bracket):
        name = host.rpartition(":")[0] or host
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class _Reply:
    """``send`` with the headers of every response added; knows whether it began."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self.started = False
        self.status = 0
        self._send = send
        self._headers = headers

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers.setdefault(name, value)
        await self._send(message)


def _typed(error: Exception) -> IrmsiaError:
    if isinstance(error, IrmsiaError):
        return error
    telemetry.log_event(_log, logging.ERROR, "request failed", at=telemetry.format_stack(error))
    if isinstance(error, OSError | MemoryError):
        return from_system(error, "the server cannot answer now")
    return InternalError("internal error; the server's log says where")
