"""`irmsia models`: which models there are, what they are, whether they answer here as they did when built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from irmsia.cli.consoles import make_console, note, print_json, printable
from irmsia.cli.options import AsJson

if TYPE_CHECKING:
    from irmsia.app.models import ModelStatus
    from irmsia.inference.verify import RecordResult, VerificationReport

app = typer.Typer(name="models", help="The models of this machine.", no_args_is_help=True)

Name = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="Id, start of it, NAME or NAME:VERSION; else the active model.")
]
VERIFY_EXAMPLE = """Examples:

[bold]irmsia models verify[/bold]

[bold]irmsia models verify --data images/ --runtime openvino --precision bf16[/bold]"""


class PrecisionName(StrEnum):
    """What `verify` may compute in."""

    ALL = "all"
    F32 = "f32"
    BF16 = "bf16"
    INT8 = "int8"


@app.command("list", epilog="Example: [bold]irmsia models list[/bold]")
def list_(as_json: AsJson = False) -> None:
    """List the packaged starter and the bundles of this machine: active, ready, unproven, or rejected and why."""
    from irmsia.app.configure import read_settings
    from irmsia.app.models import list_models

    found = list_models(read_settings())
    if as_json:
        for model in found.models:
            print_json(_status_to_json(model))
    else:
        _print_models(found.models)
    if found.problem:
        note(f"the active model cannot serve: {found.problem}")
    if found.server_problem:
        note(f"the running server keeps its model: {found.server_problem}")


def _print_models(models: tuple[ModelStatus, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "name", "version", "id", "state", "regions", "problem", box=None, header_style="dim")
    for model in models:
        row = _status_to_json(model)
        cells = (row["name"], row["version"], row["id"][:12], row["state"], " ".join(row["regions"]), row["problem"])
        table.add_row("*" if row["active"] else "", *(Text(printable(str(cell or ""))) for cell in cells))
    make_console().print(table)


@app.command(epilog="Example: [bold]irmsia models show starter[/bold]")
def show(name: Name = None, as_json: AsJson = False) -> None:
    """Show a model's card: what it is for, what was measured, where it fails. [bold]--json[/bold]: its manifest."""
    from rich.markdown import Markdown

    from irmsia.app.configure import read_settings
    from irmsia.app.models import load_model

    bundle = load_model(read_settings(), name)
    if as_json:
        print_json({"id": bundle.id, **bundle.manifest.model_dump(mode="json")})
    else:
        make_console().print(Markdown(bundle.card()))


@app.command(epilog=VERIFY_EXAMPLE)
def verify(
    name: Name = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where the real images may lie.")] = None,
    runtime: Annotated[str, typer.Option("--runtime", metavar="R|all", help="What runs the network.")] = "all",
    precision: Annotated[PrecisionName, typer.Option("--precision", help="What to compute in.")] = PrecisionName.ALL,
    as_json: AsJson = False,
) -> None:
    """Prove that a model answers here as it did when it was built: its golden records are read and inferred again.

    Phantoms are made anew. Real images are found by their digest in [bold]--data[/bold], else they are NOT CHECKED.
    What passed is kept for this machine: bf16 serves only where it passed.
    """
    from irmsia.app.configure import read_settings
    from irmsia.app.verify import verify_model
    from irmsia.cli.meter import Meter

    with Meter(None, "reading golden records") as meter:
        reports = verify_model(
            read_settings(), name, data=data, runtime=runtime, precision=precision, advance=meter.advance
        )
    if as_json:
        for report in reports:
            print_json(_report_to_json(report))
    else:
        _print_reports(reports)
    raise typer.Exit(0 if all(report.ok for report in reports) else 1)


def _status_to_json(model: ModelStatus) -> dict[str, Any]:
    entry = model.entry
    groups = entry.bundle.manifest.rules.groups if entry.bundle is not None else ()
    return {
        "name": entry.name,
        "version": entry.version or None,
        "id": entry.id,
        "active": entry.active,
        "state": model.state,
        "served": model.served,
        "packaged": entry.packaged,
        "regions": [group.region for group in groups],
        "problem": model.problem,
    }


def _report_to_json(report: VerificationReport) -> dict[str, Any]:
    return {
        "bundle": report.bundle,
        "runtime": report.runtime,
        "precision": report.precision,
        "ok": report.ok,
        **_counts(report),
        "flips": report.flips,
        "max_dp": report.max_dp,
        "problems": list(report.problems),
        "failed": [{"record": result.name, "reasons": list(result.reasons)} for result in _failed(report)],
    }


def _print_reports(reports: Sequence[VerificationReport]) -> None:
    from rich.table import Table

    console = make_console()
    for report in reports:
        for line in _problems(report):
            console.print(f"[red]FAIL[/red]  {report.runtime} {report.precision}  {escape(line)}", soft_wrap=True)
    columns = ("runtime", "precision", "", *(name.replace("_", " ") for name in _counts(reports[0])), "flips", "max dp")
    table = Table(*columns, box=None, header_style="dim")
    for report in reports:
        state = "[green]verified[/green]" if report.ok else "[red]NOT verified[/red]"
        counts = (str(count) for count in _counts(report).values())
        table.add_row(report.runtime, report.precision, state, *counts, str(report.flips), f"{report.max_dp:.1e}")
    console.print(f"model {reports[0].bundle[:12]}")
    console.print(table)


def _problems(report: VerificationReport) -> Iterator[str]:
    yield from (printable(problem) for problem in report.problems)
    yield from (f"{result.name}: {printable('; '.join(result.reasons))}" for result in _failed(report))


def _counts(report: VerificationReport) -> dict[str, int]:
    from irmsia.inference.verify import Status

    return {status.value.lower(): report.count(status) for status in Status}


def _failed(report: VerificationReport) -> list[RecordResult]:
    from irmsia.inference.verify import Status

    return [result for result in report.results if result.status is Status.FAIL]
