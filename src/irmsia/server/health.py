"""How the service is, asked in the way that holds nobody up."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from irmsia.inference.protocol import InferenceService, ServiceHealth, TellsRoom
from irmsia.server.admission import Admission


async def health_of(service: InferenceService, admission: Admission) -> ServiceHealth:
    """What ``service`` says of itself; not ready while the server stops.

    A service in this process answers at once. One far away is asked on a thread, behind whatever else waits for one.
    """
    health = service.health() if isinstance(service, TellsRoom) else await asyncio.to_thread(service.health)
    if admission.stopping:
        return replace(health, ready=False, reason="the server is stopping")
    return health
