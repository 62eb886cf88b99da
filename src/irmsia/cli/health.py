"""`irmsia health`: is a server there, and does it take requests?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from irmsia.cli.consoles import make_console, note, print_json, printable
from irmsia.cli.options import AsJson, Ca, Certificate, Key, Server, tls_of

if TYPE_CHECKING:
    from irmsia.findings.service import ServiceHealth

EXAMPLE = """Examples:

[bold]irmsia health[/bold]

[bold]irmsia health --server 127.0.0.1:50051 --json[/bold]"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLE)(health)


def health(
    server: Server = None, ca: Ca = None, certificate: Certificate = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Ask running servers whether they take requests. Exit code 1 when one does not yet, 3 when one does not answer."""
    from irmsia.app.configure import read_settings
    from irmsia.app.health import check_health, http_door

    ready, settings = True, read_settings(client=tls_of(ca, certificate, key))
    for target, found in check_health(settings, server):
        ready &= found.ready
        _show(target, http_door(settings, target), found, as_json=as_json)
    raise typer.Exit(0 if ready else 1)


def _show(target: str, http: str | None, found: ServiceHealth, *, as_json: bool) -> None:
    from irmsia.wire.json import health_to_json

    if as_json:
        print_json({"server": target, "http": http, **health_to_json(found)})
        return
    state = "[green]ready[/green]" if found.ready else "[red]not ready[/red]"
    model = f"{found.model.name} {found.model.version} ({found.model.id[:12]})" if found.model else "no model"
    why = "" if found.ready or found.reason is None else f" ({escape(printable(found.reason))})"
    load = f"{found.running} running, {found.waiting} of {found.capacity} waiting, up {found.uptime_s:.0f} s"
    doors = f"{target} {http}" if http else target
    make_console().print(f"{state}{why}  {doors}  {escape(printable(model))}  {load}", soft_wrap=True)
    if found.problem:
        note(f"the running model stays: {found.problem}")
