"""`irmsia qa`: phantoms with known truth through every door."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from irmsia.cli.consoles import make_console, note, print_json, printable
from irmsia.cli.options import AsJson, Ca, Certificate, Key, Server, tls_of

if TYPE_CHECKING:
    from rich.table import Table

    from irmsia.app.qa import PhantomReport

EXAMPLE = """Examples:

[bold]irmsia qa[/bold]

[bold]irmsia qa --server 127.0.0.1:50051 --json[/bold]

[bold]irmsia qa --out phantoms/[/bold]"""

Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the phantoms as DICOM files as well.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLE)(qa)


def qa(
    server: Server = None,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Send phantoms through this process and every door of the server, and check every answer against the truth.

    The term; severity, risk and urgency by the published table; the map's maximum; spacing; digests; equal doors.

    Exit code 1 when any check fails.
    """
    from irmsia.app.compose import open_doors
    from irmsia.app.configure import read_settings
    from irmsia.app.qa import run_qa, write_phantoms

    if out is not None:
        note(f"{len(write_phantoms(out))} phantoms written to {out}")
    with ExitStack() as stack:
        doors = stack.enter_context(open_doors(read_settings(client=tls_of(ca, certificate, key)), server))
        if len(doors.services) == 1:
            note("no server runs here: this process alone is checked")
        reports = list(run_qa(doors.services, doors.inspect))
    if as_json:
        for report in reports:
            print_json(report_to_json(report))
    else:
        print_reports(reports)
    raise typer.Exit(0 if all(report.ok for report in reports) else 1)


def print_reports(reports: Sequence[PhantomReport]) -> None:
    """The table, what was referred and why, what is wrong in words, and the sum."""
    console = make_console()
    console.print(make_table(reports))
    for report in reports:
        for line in (*_referrals(report), *_faults(report)):
            console.print(line, soft_wrap=True)
    passed = sum(report.ok for report in reports)
    doors = ", ".join(reports[0].answers) if reports else "no door"
    colour = "green" if passed == len(reports) else "red"
    console.print(f"[{colour}]{passed} of {len(reports)} phantoms pass[/{colour}] through {doors}")


def make_table(reports: Sequence[PhantomReport]) -> Table:
    """One row a phantom: decision and term of the first door, and each check over all doors. Fits 80 columns."""
    from rich.table import Table

    from irmsia.app.qa import CHECKS

    table = Table("phantom", "answer", "term", "p", box=None, header_style="dim", padding=(0, 1, 0, 0))
    for name in (*CHECKS, ""):
        table.add_column(name)
    for report in reports:
        marks = [_mark(report, check) for check in CHECKS]
        result = "[green]pass[/green]" if report.ok else "[red]FAIL[/red]"
        table.add_row(_name(report), *_answer(report), *marks, result)
    return table


def report_to_json(report: PhantomReport) -> dict[str, Any]:
    """One line of ``irmsia qa --json``."""
    return {
        "phantom": _name(report),
        "expected": report.truth.expected_term,
        "decisions": {door: answer.decision for door, answer in report.answers.items()},
        "checks": list(report.checks),
        "ok": report.ok,
        "faults": [{"door": fault.door, "check": fault.check, "found": fault.found} for fault in report.faults],
    }


def _name(report: PhantomReport) -> str:
    return f"{report.truth.kind} {report.truth.lesion_kind}"


def _answer(report: PhantomReport) -> tuple[str, str, str]:
    from irmsia.app.qa import best_term

    answer = next(iter(report.answers.values()))
    if answer.error is not None or answer.decision is None:
        return "[red]FAILED[/red]", "", ""
    term, probability = best_term(answer)
    return answer.decision, term.removeprefix("phantom_"), f"{probability:.3f}"


def _referrals(report: PhantomReport) -> Iterator[str]:
    for door, answer in report.answers.items():
        if answer.decision == "REFER":
            yield f"[yellow]REFER[/yellow] {_name(report)} by {door}: {answer.reason}"


def _faults(report: PhantomReport) -> Iterator[str]:
    for fault in report.faults:
        yield f"[red]FAIL[/red]  {_name(report)} by {fault.door}: {fault.check}: {escape(printable(fault.found))}"


def _mark(report: PhantomReport, check: str) -> str:
    if any(fault.check == check for fault in report.faults):
        return "[red]x[/red]"
    return "[green]✓[/green]" if check in report.checks else "[dim]-[/dim]"
