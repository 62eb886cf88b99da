"""One connection, on its guard: against heads without end, one-byte chunks, senders that dawdle, peers that never read.

uvicorn limits none of these. A connection has credit: ``patience_s`` at most, spent while the peer keeps it waiting
and earned back by bytes at ``floor_bytes_s``. Without credit it is closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from irmsia.errors import InvalidRequestError, IrmsiaError, LimitExceededError
from irmsia.server.http.config import HttpServerConfig
from irmsia.server.http.guard import HEADERS
from irmsia.server.http.problems import problem_response

_FRAMING_BYTES = 64 * 1024
"""So many bytes more than its content a body may take on the wire, beyond twice the content: chunks need headers."""


_LITTLE, _MUCH = 8 * 1024, 256 * 1024
"""Bytes taken from the system at once: before a request is let in, and of a body that somebody wants."""


TurnedAway = Callable[[bytes, tuple[str, int] | None], bytes | None]
"""By path and peer of a POST: the whole response that turns it away, null where it may come in."""


class _Flow(FlowControl):
    """Takes little from a connection until the application asks for the body."""

    def __init__(self, transport: Any) -> None:
        super().__init__(transport)
        self._peer = transport
        self.read_little()

    def read_little(self) -> None:
        """Thousands of connections may say something in one turn of the loop: what they send is in memory at once."""
        self._peer.max_size = _LITTLE  # asyncio's transports on selectors read so much at once; others take no notice

    def read_much(self) -> None:
        """A body is wanted, or thrown away: each way it goes at once."""
        self._peer.max_size = _MUCH

    def resume_reading(self) -> None:
        """The body is wanted."""
        self.read_much()
        super().resume_reading()


class GuardedProtocol(HttpToolsProtocol):
    """`check` must be called about once a second."""

    flow: _Flow

    def __init__(
        self, config: Config, server_state: ServerState, *, limits: HttpServerConfig, turned_away: TurnedAway
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={})
        self._limits = limits
        self._turned_away = turned_away
        self._thrown_away = False
        self._deadline: float | None = None
        self._in_head = self._in_body = self._lingering = self._last = False
        self._head = self._named = self._wire = self._content = self._unsent = 0
        self._unread_until = 0.0
        self._refusal: IrmsiaError | None = None
        self._refusal_status: int | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a first request; one connection too many is dropped."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
        self._deadline = self._in(self._limits.patience_s)
        if len(self.connections) > self._limits.connections:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and count."""
        self._earn(len(data))
        self._wire += len(data)
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._head > self._limits.head_bytes:
            self._refuse_head()
        elif self._in_body and self._wire > 2 * self._content + _FRAMING_BYTES + self._limits.head_bytes:
            self._refuse(InvalidRequestError("the chunks of the body are too small"))

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._in_body = True, False
        self._head = self._named = self._wire = self._content = 0
        self._deadline = self._in(self._limits.patience_s)

    def on_url(self, url: bytes) -> None:
        """Count a piece of the address."""
        self._count_head(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._count_head(name, value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The body begins."""
        self._in_head, self._in_body = False, True
        self._deadline = self._in(self._limits.patience_s)
        if self._is_turned_away():
            return
        super().on_headers_complete()
        if any(name in _BODY_FOLLOWS for name, _ in self.headers):
            self.flow.pause_reading()  # until the application asks: it may turn the request away
            # An early answer must not close the connection while the peer still sends: it would not read the answer.
            self._last, self.cycle.keep_alive = not self.cycle.keep_alive, True

    def on_body(self, body: bytes) -> None:
        """Count a piece of the body."""
        self._content += len(body)
        if not self._thrown_away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: from now on it waits for us."""
        self._in_body = self._lingering = False
        self._deadline = None
        if self._thrown_away:
            self.transport.close()
            return
        super().on_message_complete()
        if self._last:
            self._close_after_answer()

    def _is_turned_away(self) -> bool:
        """Answer an image for which there is no room, without the application; the connection ends with it."""
        idle = self.cycle is None or self.cycle.response_complete
        refusal = self._turned_away(self.url, self.client) if idle and self.parser.get_method() == b"POST" else None
        if refusal is None:
            return False
        self._thrown_away = True
        self.transport.write(refusal)
        self._linger()
        return True

    def _close_after_answer(self) -> None:
        """The peer wants the connection closed, and its body is whole."""
        self._last = self.cycle.keep_alive = False
        if self.cycle.response_complete:
            self.transport.close()

    def on_response_complete(self) -> None:
        """The answer is out; the rest of a body that was answered early is thrown away for a while."""
        super().on_response_complete()
        self.flow.read_little()
        if self.cycle.response_complete:
            self.cycle.body = bytearray()  # what of it was not taken is never taken
        if self._in_body and self.cycle.response_complete:
            self._linger()

    def _linger(self) -> None:
        """Throw the rest of the body away: closed before, the connection would be reset and the answer lost."""
        self.flow.read_much()
        self._lingering = True
        self._deadline = self._in(self._limits.linger_s)

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, as a problem; nothing where an answer is on its way already."""
        error = self._refusal or InvalidRequestError("this is no HTTP request")
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(written(error, self._refusal_status))
        self.transport.close()

    def forgive(self, seconds: float) -> None:
        """So long the server itself did not come to read or write."""
        if self._deadline is not None:
            self._deadline += seconds
        self._unread_until += seconds

    def check(self, now: float) -> None:
        """Close the connection when the peer keeps it waiting for too long."""
        if self._is_unread(now) or (self._deadline is not None and now > self._deadline and not self._we_are_slow(now)):
            self.transport.abort()

    def _is_unread(self, now: float) -> bool:
        """Whether the peer does not take what was written."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or not self._unsent:
            self._unread_until = now + self._limits.patience_s
        else:
            earned = max(0, self._unsent - unsent) / self._limits.floor_bytes_s
            self._unread_until = min(now + self._limits.patience_s, self._unread_until + earned)
        self._unsent = unsent
        return now > self._unread_until

    def _we_are_slow(self, now: float) -> bool:
        if self._lingering or not self.flow.read_paused:
            return False
        self._deadline = now + self._limits.patience_s
        return True

    def _earn(self, size: int) -> None:
        """Bytes of a body are credit; those of a head are not, nor is what comes after an answer."""
        if self._deadline is None:
            if self.cycle is None or self.cycle.response_complete:
                self._deadline = self._in(self._limits.patience_s)
        elif self._in_body and not self._lingering:
            earned = self._deadline + size / self._limits.floor_bytes_s
            self._deadline = min(self._in(self._limits.patience_s), earned)

    def _count_head(self, *pieces: bytes) -> None:
        """Stop the parser where a head comes whole but is too large."""
        self._named += sum(map(len, pieces))
        if self._named > self._limits.head_bytes:
            self._refusal, self._refusal_status = _too_large(), _HEAD_TOO_LARGE
            raise ValueError  # the parser's own way to end: then `send_400_response` is called

    def _refuse_head(self) -> None:
        self._refuse(_too_large(), status=_HEAD_TOO_LARGE)

    def _refuse(self, error: IrmsiaError, *, status: int | None = None) -> None:
        self._refusal, self._refusal_status = error, status
        self.send_400_response("")

    def _in(self, seconds: float) -> float:
        return time.monotonic() + seconds


_HEAD_TOO_LARGE = 431
_BODY_FOLLOWS = frozenset({b"content-length", b"transfer-encoding"})


def _too_large() -> IrmsiaError:
    return LimitExceededError("the headers are too large")


def written(error: IrmsiaError, status: int | None = None) -> bytes:
    """A whole response, as bytes: there is no application to ask."""
    response = problem_response(error, status=status, headers={**HEADERS, "Connection": "close"})
    lines = [f"HTTP/1.1 {response.status_code} ".encode("ascii")]
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*lines, b"", response.body])
