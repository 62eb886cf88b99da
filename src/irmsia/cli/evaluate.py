"""`irmsia evaluate`: figures with intervals, of a bundle or of anybody's predictions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.markup import escape

from irmsia.cli.consoles import make_console, note, print_json, printable
from irmsia.cli.options import AsJson

if TYPE_CHECKING:
    from rich.table import Table

    from irmsia.app.evaluate import Answered
    from irmsia.evaluation.estimate import Estimate
    from irmsia.evaluation.measure import RegionReport
    from irmsia.evaluation.report import Evaluation

Item = TypeVar("Item")

_BY_CLASS = ("sensitivity", "specificity", "AUROC")

EXAMPLE = """Examples:

[bold]irmsia evaluate --data ../shared/data --out results/[/bold]

[bold]irmsia evaluate --bundle my-bundle/ --data ../shared/data --part validation[/bold]

[bold]irmsia evaluate predictions.csv --out results/[/bold]

A table has the columns id, group, truth, p_TERM (one a term, in 0..1, of sum 1) and may have region, routed, \
decision, reason, present, set (docs/evaluation.md)."""


class PartChoice(StrEnum):
    """Which part of the sets is answered."""

    TEST = "test"
    VALIDATION = "validation"


Predictions = Annotated[
    Path | None, typer.Argument(metavar="[PREDICTIONS.csv]", help="A table of predictions; else a bundle answers.")
]
BundleName = Annotated[
    str, typer.Option("--bundle", metavar="DIR|active|NAME", help="The bundle: a folder, the active one, a name or id.")
]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where the starter's collected sets lie.")]
PartOption = Annotated[PartChoice, typer.Option("--part", help="The sealed test part, or the validation part.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Write report.md, figures, metrics.json and predictions.csv here."),
]
Page = Annotated[
    Path | None, typer.Option("--page", metavar="FILE.md", help="Write the report as this page, figures beside it.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLE)(evaluate)


def evaluate(
    predictions: Predictions = None,
    bundle: BundleName = "active",
    data: Data = None,
    part: PartOption = PartChoice.TEST,
    out: Out = None,
    page: Page = None,
    as_json: AsJson = False,
) -> None:
    """Measure a bundle on its sealed test part, or a table of predictions: every figure with its 95 % interval.

    Opening the sealed part is logged in IRMSIA_HOME/seal.jsonl, and the report says how often it was.
    """
    from irmsia.app.results import write_page, write_results
    from irmsia.errors import InvalidRequestError
    from irmsia.evaluation.report import to_json

    if (predictions is None) == (data is None):
        raise InvalidRequestError(
            "name either a table of predictions or, with --data, the folder of the collected sets"
        )
    command = _command(predictions, bundle, data, part, out=out, page=page)
    answered = _answer(predictions, bundle, data, part, command)
    written = [] if out is None else write_results(answered, out)
    written += [] if page is None else write_page(answered, page)
    if as_json:
        print_json(to_json(answered.evaluation))
    else:
        _print(answered.evaluation)
    for path in written:
        note(f"written: {path}")


def _answer(predictions: Path | None, bundle: str, data: Path | None, part: PartChoice, command: str) -> Answered:
    from irmsia.app.configure import read_settings
    from irmsia.app.evaluate import evaluate_bundle, evaluate_table

    settings = read_settings()
    if predictions is not None or data is None:
        return evaluate_table(predictions or Path(), command=command)
    return evaluate_bundle(settings, bundle, data, part=part.value, command=command, progress=_progress)


def _progress(items: Sequence[Item], word: str) -> Iterator[Item]:
    from irmsia.cli.meter import Meter

    with Meter(len(items), word) as meter:
        for item in items:
            yield item
            meter.advance()


def _command(
    predictions: Path | None, bundle: str, data: Path | None, part: PartChoice, *, out: Path | None, page: Path | None
) -> str:
    """The command for the report; of absolute paths the last part alone, since a report travels."""
    given = ["irmsia evaluate"] if predictions is None else ["irmsia evaluate", _travelling(predictions)]
    if data is not None:
        given += ["--bundle", _travelling(Path(bundle)), "--data", _travelling(data), "--part", part.value]
    for name, path in (("--out", out), ("--page", page)):
        given += [] if path is None else [name, _travelling(path)]
    return printable(" ".join(given)).replace("`", "?")


def _travelling(path: Path) -> str:
    return path.name if path.is_absolute() else path.as_posix()


def _print(evaluation: Evaluation) -> None:
    console = make_console()
    console.print(escape(printable(evaluation.title)), style="bold")
    for name, text in evaluation.facts:
        console.print(f"[dim]{name}[/dim]  {escape(printable(text.replace('`', '')))}", soft_wrap=True)
    for report in evaluation.regions:
        groups = f"{report.n} images of {report.groups} patients or clusters"
        console.print(f"\n[bold]{escape(printable(report.region))}[/bold]  {groups}")
        console.print(_by_class(report))
        console.print(_overall(report))
    console.print("\n[dim]value [95 % interval]; * at the frozen operating point, of images not refused[/dim]")
    console.print("[dim]all figures with their n and method: --out DIR or --json[/dim]")


def _by_class(report: RegionReport) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("", *_BY_CLASS, box=None, header_style="dim", padding=(0, 2, 0, 0))
    for term in report.terms:
        short = term.removeprefix(f"{report.region}_")
        table.add_row(Text(printable(short)), *(_brief(report.find(name, term)) for name in _BY_CLASS))
    return table


def _overall(report: RegionReport) -> Table:
    """Two figures a line."""
    from rich.table import Table

    from irmsia.evaluation.report import QUICK

    found = [(head, estimate) for head, name in QUICK if (estimate := report.find(name)) is not None]
    cells = [cell for head, estimate in found for cell in (f"[dim]{head}[/dim]", _brief(estimate))]
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for start in range(0, len(cells), 4):
        table.add_row(*cells[start : start + 4])
    return table


def _brief(estimate: Estimate | None) -> str:
    """As in the report, but .5 for 0.5 and 1 for 1.000: a line has 80 columns."""
    from irmsia.evaluation.report import show

    return re.sub(r"\b0\.", ".", show(estimate)).replace("1.000", "1")
