"""What the gRPC door is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from irmsia.server.admission import AdmissionLimits
from irmsia.wire import MAX_UNARY_BYTES


@dataclass(frozen=True, slots=True)
class GrpcServerConfig:
    """Port 0 takes a free one; times in seconds, sizes in bytes.

    ``image_bytes``: largest image in one message. ``request_s``: longest time for a request that names no deadline.
    ``receive_s``: longest time for one message to come in. ``grace_s``: how long admitted work may take to finish after
    a stop. ``admission``: how much may be inside, where the server is given no `Admission` to share.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    image_bytes: int = MAX_UNARY_BYTES
    request_s: float = 60.0
    receive_s: float = 30.0
    grace_s: float = 30.0
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    readiness_s: float = 1.0
