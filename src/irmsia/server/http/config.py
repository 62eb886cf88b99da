"""What the HTTP door is told."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpServerConfig:
    """Port 0 takes a free one; times in seconds, sizes in bytes.

    ``body_bytes``: one request's body. ``files``: images of one batch. ``field_bytes``: one form field.
    ``head_bytes``: request line and headers. ``request_s``: longest time for the answer once the body is there, for a
    batch times its images. ``receive_s``: longest time for a body to come in. ``patience_s``: how long a connection may
    be silent, or behind ``floor_bytes_s``, before it is closed. ``linger_s``: how long the rest of a body is thrown
    away after an early answer. ``keep_alive_s``: life of an idle connection. ``receivers``: bodies that come in at
    once. ``connections``: open at once. ``at_once``: images of one batch that are asked for at once.
    ``retry_after_s``: told to who was turned away.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    body_bytes: int = 1024 * MIB
    files: int = 256
    field_bytes: int = 1024
    head_bytes: int = 32 * 1024
    request_s: float = 60.0
    receive_s: float = 600.0
    patience_s: float = 8.0
    floor_bytes_s: int = 1024
    linger_s: float = 3.0
    keep_alive_s: int = 5
    receivers: int = 64
    connections: int = 8192
    at_once: int = 8
    retry_after_s: float = 1.0
