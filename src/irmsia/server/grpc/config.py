"""What the gRPC door is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from irmsia.server.admission import MIB, AdmissionLimits
from irmsia.server.tls import TlsFiles
from irmsia.wire import MAX_UNARY_BYTES


@dataclass(frozen=True, slots=True)
class GrpcServerConfig:
    """Port 0 takes a free one; times in seconds, sizes in bytes. ``tls``: null for plain text.

    ``image_bytes``: largest image in one message. ``file_bytes``: largest upload in chunks. ``request_s``: longest time
    for a request that names no deadline, after the last chunk of an upload. ``receive_s``: longest time for one message
    or chunk to come in, or to be read by the client; who streams fewer than ``least_bytes_s`` bytes a second for so
    long is turned away. ``upload_s``: how long an upload is kept that nobody goes on with. ``upload_bytes``: sum of all
    uploads that are kept. ``grace_s``: how long admitted work may take to finish after a stop. ``batch_places``:
    images of one batch in work at once, at most ``image_bytes`` of them together; ``batch_items``: images of one batch.
    ``admission``: how much may be inside, where the server is given no `Admission` to share.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    tls: TlsFiles | None = None
    image_bytes: int = MAX_UNARY_BYTES
    request_s: float = 60.0
    receive_s: float = 10.0
    least_bytes_s: float = 8192.0
    upload_s: float = 900.0
    upload_bytes: int = 4096 * MIB
    file_bytes: int = 1024 * MIB
    grace_s: float = 30.0
    batch_places: int = 8
    batch_items: int = 100_000
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    readiness_s: float = 1.0
