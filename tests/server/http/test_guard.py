from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path

import pytest

from irmsia.server.http.config import HttpServerConfig
from irmsia.server.http.guard import is_loopback_name
from tests.server.http.doors import BothDoors, open_both

LIVE = "/api/v1/health/live"
UPLOAD = "/api/v1/dicom/upload"
QUICK = HttpServerConfig(patience_s=1.0, linger_s=0.5, keep_alive_s=1, floor_bytes_s=1024)
FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nimage\r\n--b--\r\n'
CLOSED_WITHIN = 60  # seconds; ten times and more what the configuration says, for a busy machine


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothDoors]:
    """Doors that are patient for one second."""
    with open_both(tmp_path_factory.mktemp("home"), http=QUICK) as doors:
        yield doors


def head(method: str = "GET", path: str = LIVE, *lines: str, host: str = "localhost") -> bytes:
    """A request without its body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def upload(*lines: str) -> bytes:
    """The head of an upload."""
    return head("POST", UPLOAD, "Content-Type: multipart/form-data; boundary=b", *lines)


def all_of(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    data = b""
    connection.settimeout(CLOSED_WITHIN)
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            data += piece
    return data


def first_line(doors: BothDoors, request: bytes) -> bytes:
    """The status line that a request gets."""
    with doors.raw() as connection:
        connection.sendall(request)
        return connection.recv(65536).split(b"\r\n")[0]


def trickle(connection: socket.socket, pieces: Callable[[], bytes]) -> float:
    """Seconds until the server closes the connection that is written to a little at a time."""
    began = time.monotonic()
    connection.setblocking(False)
    while time.monotonic() - began < CLOSED_WITHIN:
        try:
            connection.send(pieces())
            if connection.recv(65536) == b"":
                break
        except BlockingIOError:
            pass
        except ConnectionError:
            break
        time.sleep(0.05)  # that is what a slow sender does
    return time.monotonic() - began


SLOW = {
    "a head that never ends": (head()[:-2], lambda: b"X-A: b\r\n"),
    "empty lines": (b"", lambda: b"\r\n"),
    "a body a byte at a time": (upload("Content-Length: 100000"), lambda: b"x"),
    "chunks of one byte": (upload("Transfer-Encoding: chunked"), lambda: b"1\r\nx\r\n"),
}


@pytest.mark.parametrize("name", SLOW)
def test_who_dawdles_is_closed(doors: BothDoors, name: str) -> None:
    """L2: slowloris in each of its forms ends; a good client beside it is answered."""
    begin, pieces = SLOW[name]
    with doors.raw() as connection:
        connection.sendall(begin)
        assert trickle(connection, pieces) < CLOSED_WITHIN
        assert doors.client.get(LIVE).status_code == 200


def test_who_says_nothing_is_closed(doors: BothDoors) -> None:
    """A connection without a word, one with half a body, and an idle one after an answer all end."""
    with doors.raw() as silent, doors.raw() as half, doors.raw() as idle:
        half.sendall(upload("Content-Length: 1000") + b"x")
        idle.sendall(head())
        assert all_of(silent) == b""
        assert b" 200 " not in all_of(half)
        assert all_of(idle).startswith(b"HTTP/1.1 200")


def test_a_slow_but_steady_sender_is_served(doors: BothDoors) -> None:
    """Above the floor a body may take longer than the patience for silence."""
    with doors.raw() as connection:
        connection.sendall(upload(f"Content-Length: {len(FORM) + 20_000}"))
        connection.sendall(FORM[:-9])
        for _ in range(20):
            connection.sendall(bytes(1000))
            time.sleep(0.1)  # some 10,000 bytes a second
        connection.sendall(FORM[-9:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 201")


def test_floods_of_headers(doors: BothDoors) -> None:
    """A head beyond its limit is 431, whether it comes in one piece, in one header, or never ends."""
    many = head("GET", LIVE, *(f"X-{number}: {'v' * 100}" for number in range(1000)))
    one = head("GET", LIVE, f"X-Long: {'v' * 100_000}")
    address = head("GET", "/" + "a" * 100_000)
    for flood in (many, one, address, one[:-4]):
        with doors.raw() as connection:
            try:
                connection.sendall(flood)
            except ConnectionError:
                continue  # cut off while it was still sending
            reply = all_of(connection)
            assert reply == b"" or reply.startswith(b"HTTP/1.1 431"), reply[:100]
            assert b"200 OK" not in reply
    assert doors.client.get(LIVE).status_code == 200


def test_a_head_too_large_is_told(doors: BothDoors) -> None:
    """One that is a little too large and then waits reads the problem."""
    with doors.raw() as connection:
        connection.sendall(head("GET", LIVE, f"X-Long: {'v' * 40_000}"))
        reply = all_of(connection)
    assert reply.startswith(b"HTTP/1.1 431")
    assert b'"code":"LIMIT_EXCEEDED"' in reply
    assert b"x-content-type-options: nosniff" in reply


def test_a_flood_of_tiny_chunks(doors: BothDoors) -> None:
    """As fast as they come: framing that outweighs its content is refused, not worked on without end."""
    with doors.raw() as connection:
        try:
            connection.sendall(upload("Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 200_000)
        except ConnectionError:
            return
        assert b" 201 " not in all_of(connection)


def test_a_peer_that_never_reads(tmp_path: Path) -> None:
    """Answers that nobody takes do not stay in memory."""
    with open_both(tmp_path, http=QUICK) as doors:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", doors.port))
        wanted = head("GET", "/openapi.json") * 200
        threading.Thread(target=lambda: _push(connection, wanted), daemon=True).start()
        server = doors.doors.http
        assert server is not None
        held = server._server.server_state.connections
        _until(lambda: len(held) == 1)
        _until(lambda: not held)
        connection.close()


def _push(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)


def _until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + CLOSED_WITHIN
    while not condition():
        assert time.monotonic() < limit, "it never came true"
        time.sleep(0.01)


def _read_status(connection: socket.socket) -> int:
    """The status of one answer, which is read to its end: head and body may come apart."""
    response = HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def test_early_answers_reach_who_still_sends(tmp_path: Path) -> None:
    """Who is refused for the size of a body can read why although the body was not taken."""
    with open_both(tmp_path, http=HttpServerConfig(body_bytes=1000, linger_s=5)) as doors, doors.raw() as connection:
        connection.sendall(upload("Content-Length: 5000000"))
        assert _read_status(connection) == 413
        connection.sendall(bytes(5_000_000))
        connection.sendall(head())  # the connection is still good for the next request
        assert _read_status(connection) == 200


def test_who_wants_it_closed_reads_an_early_answer(tmp_path: Path) -> None:
    """`Connection: close` closes after the body, not in the middle of it: a reset would take the answer away."""
    with open_both(tmp_path, http=HttpServerConfig(body_bytes=1000)) as doors, doors.raw() as connection:
        connection.sendall(upload("Content-Length: 5000000", "Connection: close"))
        connection.sendall(bytes(5_000_000))
        reply = all_of(connection)
    assert reply.startswith(b"HTTP/1.1 413")
    assert reply.endswith(b"}")


def test_a_busy_server_blames_nobody(tmp_path: Path) -> None:
    """While the loop itself does not come to read, no sender counts as slow."""
    with open_both(tmp_path, http=QUICK) as doors, doors.raw() as connection:
        connection.sendall(upload(f"Content-Length: {len(FORM)}"))
        _until(lambda: "irmsia_bodies_coming_in 1.0" in doors.client.get("/metrics").text)
        doors.loop.call_soon_threadsafe(time.sleep, 4.0)  # four times the patience
        connection.sendall(FORM)
        assert connection.recv(65536).startswith(b"HTTP/1.1 201")


def test_who_dawdles_makes_room(tmp_path: Path) -> None:
    """When every place to receive is taken by slow bodies, a newcomer is served and a slow one goes."""
    with open_both(tmp_path, http=HttpServerConfig(receivers=2, patience_s=60)) as doors:
        slow = [doors.raw() for _ in range(2)]
        for one in slow:
            one.sendall(upload("Content-Length: 100000") + FORM[:60])
        _until(lambda: "irmsia_bodies_coming_in 2.0" in doors.client.get("/metrics").text)
        _until(lambda: doors.client.post(UPLOAD, files={"file": ("a", b"image")}).status_code == 201)
        told, _, _ = select.select(slow, [], [], CLOSED_WITHIN)
        assert [b" 429 " in one.recv(65536) for one in told] == [True]
        for one in slow:
            one.close()


STRANGE = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": head("GET", LIVE, "Host: localhost"),
    "a name of elsewhere": head(host="irmsia.example.org"),
    "an address of elsewhere": head(host="10.0.0.1:8000"),
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "two lengths": head("POST", UPLOAD, "Content-Length: 1", "Content-Length: 2"),
    "length and chunks": head("POST", UPLOAD, "Content-Length: 5", "Transfer-Encoding: chunked"),
    "a page of elsewhere": upload("Content-Length: 0", "Origin: https://elsewhere.example"),
    "a page without origin": upload("Content-Length: 0", "Origin: null"),
    "a cross-site request": upload("Content-Length: 0", "Sec-Fetch-Site: cross-site"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_requests_are_400(doors: BothDoors, name: str) -> None:
    """DNS rebinding, requests from pages of other sites, and what is no HTTP."""
    assert first_line(doors, STRANGE[name]).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("127.0.0.1:1", True),
        ("127.9.9.9", True),
        ("[::1]:8000", True),
        ("[::1]", True),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("10.0.0.1", False),
        ("[::2]:80", False),
        ("", False),
        ("@localhost", False),
    ],
)
def test_names_of_this_server(host: str, fine: bool) -> None:
    """Only localhost and loopback addresses."""
    assert is_loopback_name(host) is fine


def test_own_pages_may_ask(doors: BothDoors) -> None:
    """A page of this server sends its own origin."""
    reply = doors.client.post(UPLOAD, files={"file": ("a", b"image")}, headers={"Origin": doors.url})
    assert reply.status_code == 201


@pytest.mark.parametrize("path", [LIVE, "/nothing", "/metrics", "/openapi.json"])
def test_strict_headers(doors: BothDoors, path: str) -> None:
    """On every response, errors among them; nothing tells what serves."""
    headers = doors.client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["x-frame-options"] == "DENY"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "server" not in headers
    assert "x-powered-by" not in headers


def test_websockets_are_not_spoken(doors: BothDoors) -> None:
    """An upgrade is not taken."""
    asked = head("GET", LIVE, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    assert b" 101 " not in first_line(doors, asked)


def test_pipelined_requests_are_answered_in_order(doors: BothDoors) -> None:
    """Several requests in one piece get their answers, each whole."""
    with doors.raw() as connection:
        connection.sendall(head() + head("GET", "/nothing") + head("GET", LIVE, "Connection: close"))
        reply = all_of(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", reply) == [b"200", b"404", b"200"]
