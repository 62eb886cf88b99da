"""Who would be turned away is so before anything else is done for the call: that is what most calls of a storm cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from irmsia.errors import OverloadedError
from irmsia.server.admission import FULL, Admission
from irmsia.server.grpc.edge import Observed, client_of
from irmsia.wire.errors import row_of
from irmsia.wire.status import DETAILS_KEY, status_of

Behaviour = Callable[[Any, Any], Awaitable[Any]]


class TurningAway:
    """Stands before the calls that bring a whole image."""

    def __init__(self, admission: Admission, observed: Observed | None) -> None:
        error = OverloadedError(FULL, admission.retry_after_s)
        status = status_of(error)
        self._admission = admission
        self._observed = observed
        self._code = grpc.StatusCode[row_of(error).grpc]
        self._message = status.message
        self._details = ((DETAILS_KEY, status.SerializeToString()),)

    def before(self, call: str, behaviour: Behaviour) -> Behaviour:
        """``behaviour`` of ``call``, reached only while there is room for another image of the client."""

        async def let_in(requests: Any, context: Any) -> Any:
            if not self._admission.is_full(client_of(context)):
                return await behaviour(requests, context)
            if self._observed is not None:
                self._observed(call, self._code.name, 0.0)
            await context.abort(self._code, self._message, self._details)

        return let_in
