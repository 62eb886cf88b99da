"""`irmsia serve`: the server in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irmsia.cli.consoles import make_console
from irmsia.cli.options import Runtime

if TYPE_CHECKING:
    from irmsia.app.compose import Doors
    from irmsia.server.run_file import RunningServer

EXAMPLE = """Examples:

[bold]irmsia serve[/bold]

[bold]irmsia serve --port 8080 --grpc-port 50061 --qa[/bold]"""

Host = Annotated[str | None, typer.Option("--host", help="A loopback address. [dim]Default: 127.0.0.1[/dim]")]
HttpPort = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="HTTP; 0: a free one. [dim]Default: 8000[/dim]")
]
GrpcPort = Annotated[
    int | None, typer.Option("--grpc-port", min=0, max=65535, help="gRPC; 0: a free one. [dim]Default: 50051[/dim]")
]
Proof = Annotated[bool, typer.Option("--qa", help="Check every door with phantoms first; stop if a check fails.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLE)(serve)


def serve(
    host: Host = None, port: HttpPort = None, grpc_port: GrpcPort = None, runtime: Runtime = None, qa: Proof = False
) -> None:
    """Serve until Ctrl-C or SIGTERM; admitted work is finished first."""
    from irmsia.app.configure import read_settings
    from irmsia.app.serve import run_server

    settings = read_settings(runtime=runtime, host=host, port=port, grpc_port=grpc_port)
    raise typer.Exit(run_server(settings, on_ready=_announce, check=_prove if qa else None))


def _announce(server: RunningServer) -> None:
    others = "" if server.near_host == server.host else ", and on every other address of this machine"
    text = f"serving gRPC on {server.grpc_target}, HTTP on {server.http_url}{others}, Ctrl-C stops"
    make_console(stderr=True).print(text, style="bold", soft_wrap=True)


def _prove(doors: Doors, server: RunningServer) -> bool:
    """Run the quality assurance, print its table and what to type next."""
    from irmsia.app.qa import run_qa
    from irmsia.cli.qa import print_reports

    reports = list(run_qa(doors.services, doors.inspect))
    print_reports(reports)
    if all(report.ok for report in reports):
        make_console().print(_next_steps(server))
    return all(report.ok for report in reports)


def _next_steps(server: RunningServer) -> str:
    program = _program()
    steps = {
        f"{server.http_url}/": "drop a file, read the answer, in a browser; /docs tells the REST routes",
        f"{program} diagnose IMAGE --server {server.grpc_target}": "answer DICOM, PNG or JPEG files",
        f"{program} health": "ask how the server is",
        f"{program} --help": "everything else",
    }
    width = max(map(len, steps))
    lines = (f"  {command:<{width}}  [dim]{what}[/dim]" for command, what in steps.items())
    return "\n".join(["\n[bold]It runs.[/bold] What to try:\n", *lines, "\nCtrl-C here stops it."])


def _program() -> str:
    """How this program was called, where that works from this folder too."""
    called = Path(sys.argv[0]).absolute()
    return str(called.relative_to(Path.cwd())) if called.is_relative_to(Path.cwd()) else "irmsia"
