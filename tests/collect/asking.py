"""Asks hostile addresses, and counts what comes of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from irmsia.datasets.collect.web import Web
from irmsia.errors import AddressRefusedError, IrmsiaError
from irmsia.settings.tree import CollectSettings
from tests.collect.hostile_addresses import Hostile
from tests.collect.scripted import redirect, serving
from tests.collect.wanting import local_settings


@dataclass
class Refusals:
    """``wrong``: trick -> what happened instead. ``connections``: to the server that nobody may reach."""

    refused: int = 0
    wrong: dict[str, str] = field(default_factory=dict)
    connections: int = 0


@contextmanager
def _canary(count: list[int]) -> Iterator[int]:
    """A port of this machine on which every connection is counted."""
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        listener.settimeout(0.05)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                count[0] += 1
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def refusals(addresses: Sequence[Hostile]) -> Refusals:
    """Ask each; an address that redirects is asked of a server of this machine."""
    found, count = Refusals(), [0]
    with _canary(count) as port, serving() as server:
        for hostile in addresses:
            url = hostile.url.replace("{port}", str(port))
            settings = CollectSettings(retries=0)
            if hostile.redirect:
                server.add("/there", b"", faults=[redirect(url)])
                url, settings = server.url("/there"), local_settings(retries=0)
            said = _ask(url, settings, hostile.resolves)
            if said == AddressRefusedError.code:
                found.refused += 1
            else:
                found.wrong[hostile.trick] = said
    found.connections = count[0]
    return found


def _ask(url: str, settings: CollectSettings, resolves: tuple[str, ...]) -> str:
    with Web(settings, resolve=lambda host, port: list(resolves), pause_s=0.001) as web:
        try:
            return f"HTTP {web.ask(url).status}"
        except IrmsiaError as error:
            return error.code
