"""A grpc.aio server on an `InferenceService`, with the standard health service and reflection beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import SERVICE_NAME as HEALTH_SERVICE
from grpc_health.v1.health import aio as aio_health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from irmsia import telemetry
from irmsia.errors import AddressInUseError
from irmsia.inference.protocol import InferenceService
from irmsia.server.address import join_address, listen_address, require_free_port
from irmsia.server.admission import Admission
from irmsia.server.grpc.config import GrpcServerConfig
from irmsia.server.grpc.credentials import server_credentials
from irmsia.server.grpc.edge import Observed
from irmsia.server.grpc.servicer import DicomDiagnosticServicer
from irmsia.server.tls import TlsCertificates, TlsFiles
from irmsia.server.uploads import Uploads
from irmsia.wire import SERVICE

_log = telemetry.get_logger(__name__)

_CEILING = 2
"""gRPC itself refuses a message from so many times the limit on, without ErrorInfo; below that our own error does."""

_PENDING = 10_000
"""Calls that may wait to be handed over to us; of more than 1000 gRPC by itself drops some as a bare CANCELLED."""

_WINDOW_BYTES = 16 * 1024
"""What of a message may come before anybody wants to read it: thousands of calls that are turned away hold little."""

_FAREWELL_S = 0.5
"""How long late-comers, then streams of the health and reflection services, may linger when all work is answered."""

_QUIET_S = 0.1
"""So long nobody may have come before the server closes its door."""


class DiagnosticServer:
    """One server. `start` it on the loop that runs it, then `drain`; ``service`` stays the caller's to close."""

    def __init__(
        self,
        service: InferenceService,
        config: GrpcServerConfig,
        uploads: Uploads,
        *,
        admission: Admission | None = None,
        observed: Observed | None = None,
    ) -> None:
        """Raise UnsafeSettingsError for an address that is not loopback without mutual TLS, or for bad TLS files.

        ``uploads`` stays the caller's to close; the server lets them expire. ``admission``: null for one of its own.
        ``observed`` hears of every call that is over.
        """
        self.host = listen_address(config.host, config.tls)
        self.port = 0
        self._credentials = _credentials(config.tls)
        self._service = service
        self._config = config
        self._admission = admission or Admission(config.admission)
        self._health = aio_health.HealthServicer()
        self._server = aio.server(options=_options(config))
        self._uploads = uploads
        self._tasks: list[asyncio.Task[None]] = []
        servicer = DicomDiagnosticServicer(
            service, config, admission=self._admission, uploads=uploads, observed=observed
        )
        self._server.add_generic_rpc_handlers((servicer.handler(),))
        add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME), self._server)

    async def start(self, *, private: str | None = None) -> int:
        """Listen, and return the port. ``private``: one more address, without TLS, that this process alone can reach.

        Raises:
            AddressInUseError: the port is taken or may not be opened.
        """
        if self._config.port:
            require_free_port(self.host, self._config.port)
        try:
            self.port = self._add_port(join_address(self.host, self._config.port))
            if private is not None:
                self._server.add_insecure_port(private)
        except RuntimeError:  # taken between the probe and here
            raise AddressInUseError(f"port {self._config.port} on {self.host} cannot be bound") from None
        await self._tell_readiness()
        await self._server.start()
        self._tasks += [
            asyncio.create_task(self._watch_readiness()),
            asyncio.create_task(self._uploads.expire_forever()),
        ]
        return self.port

    def _add_port(self, address: str) -> int:
        if self._credentials is None:
            return int(self._server.add_insecure_port(address))
        return int(self._server.add_secure_port(address, self._credentials))

    async def say_stopping(self) -> None:
        """Say "not serving" from now on; requests are still taken. Twice is once."""
        self._admission.stop()
        for task in self._tasks:
            task.cancel()
        await self._health.enter_graceful_shutdown()

    async def drain(self, grace_s: float | None = None) -> bool:
        """Say "not serving" first, let nobody in, answer what was admitted, stop. False when the grace ran out.

        The health services still answer while admitted work finishes, so that a load balancer sees why.
        """
        await self.say_stopping()
        self._admission.close()
        answered = await self._all_answered(self._config.grace_s if grace_s is None else grace_s)
        if not answered:
            telemetry.log_event(_log, logging.WARNING, "grace ran out", unanswered=self._admission.calls)
        # gRPC drops the calls that it has not handed over yet as a bare CANCELLED: first turn them away in our words.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._admission.quiet(_QUIET_S), _FAREWELL_S if answered else 0)
        await self._server.stop(_FAREWELL_S if answered else 0)
        return answered

    async def _all_answered(self, grace_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._admission.idle(), grace_s)
        return self._admission.calls == 0

    async def _tell_readiness(self) -> None:
        ready = (await asyncio.to_thread(self._service.health)).ready
        kinds = health_pb2.HealthCheckResponse
        for name in ("", SERVICE):
            await self._health.set(name, kinds.SERVING if ready else kinds.NOT_SERVING)

    async def _watch_readiness(self) -> None:
        while True:
            await asyncio.sleep(self._config.readiness_s)
            try:
                await self._tell_readiness()
            except Exception as error:  # noqa: BLE001 - the edge of a background task: one line, then on
                place = telemetry.format_stack(error)
                telemetry.log_event(_log, logging.ERROR, "health of the service unknown", at=place)


def _credentials(tls: TlsFiles | None) -> grpc.ServerCredentials | None:
    if tls is None:
        return None
    return server_credentials(TlsCertificates(tls), require_client=tls.client_ca is not None)


def _options(config: GrpcServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", _CEILING * config.image_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.server.max_pending_requests", _PENDING),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING),
        # Windows that gRPC lets grow by itself take several MiB a stream: 300 MiB more with 32 large uploads at once.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
        ("grpc.so_reuseport", 0),  # two servers must never share one port unawares
    ]
