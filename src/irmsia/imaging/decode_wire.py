"""Messages between the pool and its children, over an anonymous socket pair.

A message is a pickle behind its length. A child parses hostile bytes, so what it sends back is unpickled with a short
list of types only: a child that was taken over cannot make the parent call anything.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any

_LENGTH = struct.Struct("<Q")
_LONGEST = 1 << 32
_STEP = 1 << 16
_OURS = "irmsia.imaging."
_NUMPY = frozenset(
    {
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }
)


class PeerGoneError(Exception):
    """The other end closed the socket."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The child has imported everything and waits."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The child has the input and begins; a death from here on is the input's."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The child is alive; ``index`` frames of ``total`` are decoded."""

    index: int
    total: int


@dataclass(frozen=True, slots=True)
class Done:
    """The result. ``last``: the child ends now, because a codec kept memory."""

    result: Any
    last: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """An error on purpose: the leaf's code and message. ``last`` as in `Done`."""

    code: str
    message: str
    last: bool = False


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Only plain types of the imaging package and numpy's arrays; no functions of ours, no attribute walks."""
        if (module, name) in _NUMPY:
            return super().find_class(module, name)
        if module.startswith(_OURS) and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__.startswith(_OURS):
                return found
        raise pickle.UnpicklingError("a type that no child sends")


def send_message(link: socket.socket, message: object) -> None:
    """Send one message.

    Raises:
        PeerGoneError: nobody listens.
        TimeoutError: the link's timeout passed.
    """
    body = pickle.dumps(message, protocol=5)
    send_bytes(link, body)


def send_bytes(link: socket.socket, body: bytes | memoryview) -> None:
    """Send bytes behind their length. Raises what `send_message` raises."""
    try:
        link.sendall(_LENGTH.pack(len(body)))
        link.sendall(body)
    except (BrokenPipeError, ConnectionError):
        raise PeerGoneError from None


def receive_message(link: socket.socket, *, trusted: bool = False) -> Any:
    """Receive one message of the types above; from a ``trusted`` end, of any type.

    Raises:
        PeerGoneError: the other end is gone, or sent what no child sends.
        TimeoutError: the link's timeout passed.
    """
    body = receive_bytes(link)
    try:
        return pickle.loads(body) if trusted else _Unpickler(io.BytesIO(body)).load()
    except TimeoutError:
        raise
    except Exception:  # noqa: BLE001 - whatever a forged pickle raises: such a child is not to be talked to
        raise PeerGoneError from None


def receive_bytes(link: socket.socket) -> bytearray:
    """Receive bytes behind their length. Raises what `receive_message` raises.

    Raises:
        MemoryError: they do not fit; they were taken from the link all the same, so that the next message can be read.
    """
    (length,) = _LENGTH.unpack(_receive_exactly(link, _LENGTH.size))
    if length > _LONGEST:
        raise PeerGoneError
    try:
        body = bytearray(length)
    except MemoryError:
        for at in range(0, length, _STEP):
            _fill(link, bytearray(min(_STEP, length - at)))
        raise
    return _fill(link, body)


def _receive_exactly(link: socket.socket, length: int) -> bytearray:
    return _fill(link, bytearray(length))


def _fill(link: socket.socket, body: bytearray) -> bytearray:
    view = memoryview(body)
    try:
        while view:
            count = link.recv_into(view)
            if not count:
                raise PeerGoneError
            view = view[count:]
    except ConnectionError:
        raise PeerGoneError from None
    return body
