"""An answer is sent at once: nothing of it waits in the kernel until the client has confirmed what came before."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

from tests.server.http.doors import open_both
from tests.server.scripted import ScriptedService

DELAYED_S = 0.03  # Linux confirms after 40 ms what it has no reason to confirm at once (TCP_DELACK_MIN)


def test_a_kept_connection_is_not_slowed_by_delayed_acknowledgements(tmp_path: Path) -> None:
    """Head and body of an answer are two writes. With Nagle's algorithm the second waits 40 ms."""
    with open_both(tmp_path, ScriptedService()) as doors:
        connection = http.client.HTTPConnection("127.0.0.1", doors.port, timeout=60)
        seconds = []
        for _ in range(30):
            began = time.monotonic()
            connection.request("GET", "/api/v1/models")
            assert connection.getresponse().read()
            seconds.append(time.monotonic() - began)
        connection.close()
    assert min(seconds[15:]) < DELAYED_S  # at first the kernel confirms everything at once
