"""The answer on the wire: dataclass <-> proto message <-> JSON; error leaf <-> gRPC status, HTTP status, exit code.

Modules: `json`, `proto`, `errors` (the one table), `status` (google.rpc.Status). The types that travel are here for
those who know the wire alone.
"""

from irmsia.findings.service import IntendedUseRow, ModelInfo, ServiceHealth, TermGroup
from irmsia.findings.summary import BatchSummary, summarise_numbered
from irmsia.findings.types import Diagnosis, ModelRef, Problem

MAX_UNARY_BYTES = 64 * 1024 * 1024
"""The largest image in one message (contract section 4)."""

SERVICE = "irmsia.v1.DicomDiagnosticService"

__all__ = [
    "MAX_UNARY_BYTES",
    "SERVICE",
    "BatchSummary",
    "Diagnosis",
    "IntendedUseRow",
    "ModelInfo",
    "ModelRef",
    "Problem",
    "ServiceHealth",
    "TermGroup",
    "summarise_numbered",
]
