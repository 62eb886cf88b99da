"""A server process of its own: ``python -m tests.server.program PORT``; an image ``hold`` waits for HOME/release."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from irmsia.app.relay import RelayInference
from irmsia.errors import IrmsiaError
from irmsia.findings.types import Diagnosis
from irmsia.inference.protocol import DiagnoseRequest
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.http.config import HttpServerConfig
from irmsia.server.serve import HttpDoor, serve
from irmsia.server.tls import TlsFiles
from irmsia.wire.errors import exit_code
from tests.server.scripted import ScriptedService, make_answer


def find_tls() -> TlsFiles | None:
    """The TLS files that the environment names."""
    cert, key, ca = (os.environ.get(name) for name in ("TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENT_CA"))
    return TlsFiles(Path(cert), Path(key), Path(ca) if ca else None) if cert and key else None


def main() -> int:
    """Serve until a signal."""
    home = Path(os.environ["IRMSIA_HOME"])

    def script(request: DiagnoseRequest) -> Diagnosis:
        while request.source == b"hold" and not (home / "release").exists():
            threading.Event().wait(0.01)
        return make_answer(request)

    service = ScriptedService(script)
    try:
        serve(
            service,
            GrpcServerConfig(
                host=os.environ.get("HOST", "127.0.0.1"), port=int(sys.argv[1]), grace_s=60, tls=find_tls()
            ),
            home,
            http=HttpDoor(HttpServerConfig(port=0), RelayInference) if "HTTP" in os.environ else None,
            on_ready=lambda running: print("ready", running.grpc_target, flush=True),
        )
    except IrmsiaError as error:
        print(error.code, error.message, file=sys.stderr)
        return exit_code(error)
    finally:
        service.close()
    print("admitted", len(service.requests), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
