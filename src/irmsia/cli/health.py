"""`irmsia health`: is a server there, and does it take requests?"""

from __future__ import annotations

import typer
from rich.markup import escape

from irmsia.cli.consoles import make_console, note, print_json, printable
from irmsia.cli.options import AsJson, Server

EXAMPLE = """Examples:

[bold]irmsia health[/bold]

[bold]irmsia health --server 127.0.0.1:50051 --json[/bold]"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLE)(health)


def health(server: Server = None, as_json: AsJson = False) -> None:
    """Ask a running server whether it takes requests. Exit code 1 when it does not yet, 3 when none answers."""
    from irmsia.app.configure import read_settings
    from irmsia.app.health import check_health
    from irmsia.wire.json import health_to_json

    target, found = check_health(read_settings(), server)
    if as_json:
        print_json({"server": target, **health_to_json(found)})
    else:
        state = "[green]ready[/green]" if found.ready else "[red]not ready[/red]"
        model = f"{found.model.name} {found.model.version} ({found.model.id[:12]})" if found.model else "no model"
        why = "" if found.ready or found.reason is None else f" ({escape(printable(found.reason))})"
        load = f"{found.running} running, {found.waiting} of {found.capacity} waiting, up {found.uptime_s:.0f} s"
        make_console().print(f"{state}{why}  {target}  {escape(printable(model))}  {load}", soft_wrap=True)
        if found.problem:
            note(f"the running model stays: {found.problem}")
    raise typer.Exit(0 if found.ready else 1)
