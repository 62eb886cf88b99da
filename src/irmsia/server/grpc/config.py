"""What the gRPC door is told."""

from __future__ import annotations

from dataclasses import dataclass

from irmsia.wire import MAX_UNARY_BYTES

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class GrpcServerConfig:
    """Port 0 takes a free one; times in seconds, sizes in bytes.

    ``image_bytes``: largest image in one message. ``request_s``: longest time for a request that names no deadline.
    ``receive_s``: longest time for one message to come in. ``grace_s``: how long admitted work may take to finish after
    a stop. ``calls``: diagnoses at once, those that still come in among them. ``receivers``: messages that come in at
    once. ``held_bytes``: sum of the images that wait for an answer. ``retry_after_s``: told to who was turned away.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    image_bytes: int = MAX_UNARY_BYTES
    request_s: float = 60.0
    receive_s: float = 30.0
    grace_s: float = 30.0
    calls: int = 256
    receivers: int = 4
    held_bytes: int = 256 * MIB
    retry_after_s: float = 1.0
    readiness_s: float = 1.0
