"""`irmsia verify`: prove an answer offline, against its file and its signed bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from irmsia.cli.consoles import print_json, printable
from irmsia.cli.options import AsJson

if TYPE_CHECKING:
    from rich.console import RenderableType

    from irmsia.app.answer_checks import AnswerReport

EXAMPLE = """Examples:

[bold]irmsia verify answer.json scan.dcm[/bold]

[bold]irmsia verify answers.jsonl scans/ --bundle model/ --json[/bold]"""

Answers = Annotated[Path, typer.Argument(metavar="ANSWER.json", help="An answer, or several as JSON lines.")]
Files = Annotated[list[str], typer.Argument(metavar="FILE", help="Its image; several, or directories, for several.")]
BundleFolder = Annotated[
    Path | None, typer.Option("--bundle", metavar="DIR", help="The bundle that answered; else the one on this machine.")
]
_STYLES = {"PASS": "green", "FAIL": "bold red", "NOT_CHECKED": "yellow"}


class PrecisionName(StrEnum):
    """What an answer was computed in."""

    F32 = "f32"
    BF16 = "bf16"
    INT8 = "int8"


Precision = Annotated[
    PrecisionName | None, typer.Option("--precision", help="What it was computed in; else what it says of itself.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLE)(verify)


def verify(
    answers: Answers,
    files: Files,
    bundle: BundleFolder = None,
    precision: Precision = None,
    as_json: AsJson = False,
) -> None:
    """Prove an answer offline: its file, its pixels, its signed bundle, and that it is given again here.

    Needs no server. A tampered answer, another file and another bundle are named as such; exit code 1.
    """
    from irmsia.app.answers import read_answers
    from irmsia.app.configure import read_settings
    from irmsia.app.inputs import Skipped, list_inputs
    from irmsia.app.verify_answer import verify_answers
    from irmsia.cli.meter import Meter

    given = list(read_answers(answers))
    images = list_inputs(files, Skipped())
    failed = False
    with Meter(len(given), "verifying") as meter:
        for report in verify_answers(read_settings(), given, images, bundle=bundle, precision=precision):
            meter.advance()
            failed |= not report.ok
            if as_json:
                print_json(report_to_json(report))
            else:
                meter.print(make_table(report))
    raise typer.Exit(1 if failed else 0)


def report_to_json(report: AnswerReport) -> dict[str, Any]:
    """One line of ``irmsia verify --json``."""
    return {
        "answer": report.place,
        "input": report.input,
        "file": report.file,
        "ok": report.ok,
        "checks": [
            {"check": check.name, "status": check.status.value, "found": check.found} for check in report.checks
        ],
    }


def make_table(report: AnswerReport) -> RenderableType:
    """The checks of one answer, and what they come to."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for check in report.checks:
        status = Text(check.status.replace("_", " "), _STYLES[check.status])
        grid.add_row(Text(check.name, "dim"), status, Text(printable(check.found)))
    verdict = Text(" VERIFIED ", "reverse bold green") if report.ok else Text(" NOT VERIFIED ", "reverse bold red")
    name = printable(report.input or report.place)
    return Group(Text.assemble(verdict, f"  {name}"), Padding(grid, (0, 0, 1, 2)))
