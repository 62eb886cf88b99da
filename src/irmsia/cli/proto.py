"""`irmsia proto`: the gRPC contract, and stubs in the languages that protoc knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irmsia.cli.consoles import make_console, note

EXAMPLE = """Examples:

[bold]irmsia proto[/bold]

[bold]irmsia proto --out stubs/ --language python[/bold]

[bold]irmsia proto --list[/bold]"""

Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write stubs into this folder.")]
LanguageName = Annotated[
    str | None,
    typer.Option("--language", metavar="L", help="With --out: python, go, java ... [dim]Default: python[/dim]"),
]
List = Annotated[bool, typer.Option("--list", help="List the languages, and what each needs.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLE)(proto)


def proto(out: Out = None, language: LanguageName = None, languages: List = False) -> None:
    """Print where the gRPC contract is, or write code for it: with it any language can ask a server.

    Python's stubs are a package `irmsia_v1` that needs grpcio and protobuf alone, not this platform.
    """
    from irmsia.app.stubs import PYTHON, find_contract
    from irmsia.errors import InvalidRequestError

    if languages:
        _list()
    elif out is not None:
        _write(out, language or PYTHON)
    elif language is not None:
        raise InvalidRequestError("--language goes with --out DIR")
    else:
        typer.echo(find_contract())


def _list() -> None:
    from rich.table import Table

    from irmsia.app.stubs import list_languages

    table = Table("language", "here", "", box=None, header_style="dim", padding=(0, 1, 0, 0))
    for language in list_languages():
        table.add_row(language.name, "[green]yes[/green]" if language.ready else "no", language.needs)
    make_console().print(table)


def _write(out: Path, language: str) -> None:
    from irmsia.app.stubs import write_stubs

    stubs = write_stubs(out, language)
    for path in stubs.files:
        typer.echo(path)
    if stubs.missing is not None:
        note(f"messages alone: with {stubs.missing} on the PATH the calls are written as well")
