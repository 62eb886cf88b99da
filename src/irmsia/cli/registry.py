"""`irmsia models install | export | trust | activate | rollback`: what changes the models of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irmsia.cli.consoles import make_console, note, print_json, printable
from irmsia.cli.options import AsJson

if TYPE_CHECKING:
    from irmsia.app.registry import Proven
    from irmsia.inference.verify import VerificationReport

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Id, start of it (8 digits), NAME or NAME:VERSION.")]
Source = Annotated[Path, typer.Argument(metavar="FILE|DIR", help="A .irmsia.zip, or the folder of a bundle.")]
KeyFile = Annotated[Path, typer.Argument(metavar="KEYFILE", help="An Ed25519 public key, PEM.")]
Target = Annotated[Path, typer.Argument(metavar="FILE", help="The .irmsia.zip to write.")]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where the golden images may lie.")]
Older = Annotated[bool, typer.Option("--older", help="A lower version may follow a higher one.")]

_STATES = ("pass", "fail", "not_checked")
_SHOWN = 5
"""So many failed records are named."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: [bold]irmsia models install lung.irmsia.zip[/bold]")(install)
    app.command(epilog="Example: [bold]irmsia models export starter starter.irmsia.zip[/bold]")(export)
    app.command(epilog="Example: [bold]irmsia models trust colleague.pub[/bold]")(trust)
    app.command(epilog="Example: [bold]irmsia models activate lung:2.0[/bold]")(activate)
    app.command(epilog="Example: [bold]irmsia models rollback[/bold]")(rollback)


def install(source: Source, data: Data = None, as_json: AsJson = False) -> None:
    """Bring a model to this machine: signature, digests and contents are checked, its golden records run.

    Nothing is visible before all of it has passed. Installing the same model again changes nothing.
    """
    from irmsia.app.configure import read_settings
    from irmsia.app.registry import install_model

    done = _with_meter(lambda advance: install_model(read_settings(), source, data=data, advance=advance))
    _show(done, "installed" if done.changed else "installed already", as_json=as_json)


def export(model: Model, file: Target, as_json: AsJson = False) -> None:
    """Write a model as one file that `irmsia models install` takes. Equal models give equal files."""
    from irmsia.app.configure import read_settings
    from irmsia.app.registry import export_model

    bundle = export_model(read_settings(), model, file)
    if as_json:
        print_json({"id": bundle.id, "name": bundle.manifest.name, "version": bundle.manifest.version})
    else:
        note(f"wrote {bundle.manifest.name} {bundle.manifest.version} ({bundle.id[:12]})")


def trust(file: KeyFile, as_json: AsJson = False) -> None:
    """Trust whoever holds the private half of a key: models that it signed may be installed from now on."""
    from irmsia.app.configure import read_settings
    from irmsia.app.registry import trust_key_file

    identity = trust_key_file(read_settings(), file)
    if as_json:
        print_json({"key_id": identity})
    else:
        note(f"trusted from now on: {identity} (a file in IRMSIA_HOME/keys; remove it to trust no more)")


def activate(model: Model, data: Data = None, older: Older = False, as_json: AsJson = False) -> None:
    """Let a model serve: its golden records run first, and only if they pass it becomes the active one.

    Running servers take it over within seconds; the old model answers until the new one is ready.
    """
    from irmsia.app.configure import read_settings
    from irmsia.app.registry import activate_model

    done = _with_meter(lambda advance: activate_model(read_settings(), model, data=data, older=older, advance=advance))
    _show(done, "active" if done.changed else "active already", as_json=as_json)


def rollback(data: Data = None, as_json: AsJson = False) -> None:
    """Let the model that was active before serve again, proven like any other. Repeat it to go further back."""
    from irmsia.app.configure import read_settings
    from irmsia.app.registry import rollback_model

    done = _with_meter(lambda advance: rollback_model(read_settings(), data=data, advance=advance))
    _show(done, "active again", as_json=as_json)


def _with_meter(work: Callable[[Callable[[], None]], Proven]) -> Proven:
    from irmsia.cli.meter import Meter

    # Of the golden images only those that are at hand are run, so the count may stay below the end.
    with Meter(_records(), "proving") as meter:
        return work(meter.advance)


def _records() -> int:
    from irmsia.bundles.golden import MINIMUM_RECORDS

    return MINIMUM_RECORDS


def _show(done: Proven, what: str, *, as_json: bool) -> None:
    """Print what was done, or why nothing was, and leave with 0 or 1."""
    if as_json:
        print_json(_to_json(done))
    else:
        _print_table(done.reports)
        manifest, state = done.bundle.manifest, what if done.ok else "rejected, nothing changed:"
        line = f"{state}  {manifest.name} {manifest.version}  {done.bundle.id[:12]}"
        style = "green" if done.ok else "red"
        make_console().print(printable(line), style=style, markup=False, soft_wrap=True)
    raise typer.Exit(0 if done.ok else 1)


def _to_json(done: Proven) -> dict[str, Any]:
    manifest = done.bundle.manifest
    known = {"id": done.bundle.id, "name": manifest.name, "version": manifest.version}
    return {**known, "ok": done.ok, "changed": done.changed, "golden": [_golden(report) for report in done.reports]}


def _golden(report: VerificationReport) -> dict[str, Any]:
    return {
        "runtime": report.runtime,
        "precision": report.precision.value,
        "ok": report.ok,
        **{kind: dict(zip(_STATES, row, strict=True)) for kind, row in _count(report).items()},
        "flips": report.flips,
        "max_dp": report.max_dp,
        "problems": list(_problems(report)),
    }


def _problems(report: VerificationReport) -> list[str]:
    """What is wrong with the whole, then the first few records that fail, and why."""
    failed = [f"{result.name}: {'; '.join(result.reasons)}" for result in report.results if result.status == "FAIL"]
    return [*report.problems, *failed[:_SHOWN]]


def _count(report: VerificationReport) -> dict[str, list[int]]:
    """Phantoms and images: how many pass, fail and were not checked."""
    from irmsia.inference.verify import Status

    order = (Status.PASS, Status.FAIL, Status.NOT_CHECKED)
    return {
        kind: [sum(r.phantom is phantom and r.status is state for r in report.results) for state in order]
        for kind, phantom in (("phantoms", True), ("images", False))
    }


def _print_table(reports: Sequence[VerificationReport]) -> None:
    from rich.table import Table

    table = Table("runtime", "precision", "golden records", box=None, header_style="dim")
    for title in ("pass", "fail", "not checked", "flips", "max dp"):
        table.add_column(title, justify="right")
    for report in reports:
        for kind, row in _count(report).items():
            figures = (str(report.flips), f"{report.max_dp:.1e}") if kind == "phantoms" else ("", "")
            table.add_row(report.runtime, report.precision.value, kind, *map(str, row), *figures)
    console = make_console()
    console.print(table)
    for report in reports:
        for problem in _problems(report):
            console.print(f"FAIL  {printable(problem)}", style="red", markup=False, soft_wrap=True)
