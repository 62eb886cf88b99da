"""`irmsia data stats`, `merge`, `probe` and `cite`: what a dataset holds, made of several, told by its source, owed."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irmsia.cli.consoles import make_console, note, print_json, printable
from irmsia.cli.options import AsJson

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from irmsia.app.data_stats import MergeOutcome
    from irmsia.app.dataset_page import DatasetReport
    from irmsia.app.dataset_summary import TextTable
    from irmsia.app.dataset_words import DatasetWords
    from irmsia.datasets.citation import Citations, Reference
    from irmsia.datasets.review import Review
    from irmsia.datasets.source_probe import SourceProbe

STATS_EXAMPLE = """Examples:

[bold]irmsia data stats chest[/bold]

[bold]irmsia data stats chest --out chest.html --language fr[/bold]

[bold]irmsia data stats chest --sample 60 --out to_check.html[/bold]"""
MERGE_EXAMPLE = """Examples:

[bold]irmsia data merge chest brain breast --name all[/bold]

[bold]irmsia data merge chest covid --name lungs --map labels.csv[/bold]   (columns source,label,new)"""
CITE_EXAMPLE = """Examples:

[bold]irmsia data cite all[/bold]

[bold]irmsia data cite all --format bibtex > references.bib[/bold]

[bold]irmsia data cite mine --licence "CC BY 4.0" --citation "..."[/bold]   (keeps it with the dataset)"""
PROBE_EXAMPLE = """Examples:

[bold]irmsia data probe all[/bold]

[bold]irmsia data probe all --pixels 2000 --json[/bold]"""

_BAR = 14


class LanguageName(StrEnum):
    """What tables and pages are written in."""

    EN = "en"
    FR = "fr"


class CopiesName(StrEnum):
    """What becomes of a picture that several of the merged sets hold."""

    DROP = "drop"
    KEEP = "keep"


class CiteFormat(StrEnum):
    """How references are written."""

    TEXT = "text"
    BIBTEX = "bibtex"
    JSON = "json"


Name = Annotated[str, typer.Argument(metavar="NAME", help="The dataset.")]
Language = Annotated[LanguageName, typer.Option("--language", help="Of the tables and of the page.")]
Seed = Annotated[int, typer.Option("--seed", help="Of what is drawn, of folds and of the bootstrap.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `irmsia data`."""
    app.command(epilog=STATS_EXAMPLE)(stats)
    app.command(epilog=MERGE_EXAMPLE)(merge)
    app.command(epilog=PROBE_EXAMPLE)(probe)
    app.command(epilog=CITE_EXAMPLE)(cite)


def stats(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write one page (.html); with --sample also a picture (.png)."),
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", min=0, metavar="N", help="Draw N labelled images to check by hand, into --out.")
    ] = 0,
    pictures: Annotated[int, typer.Option("--pictures", min=0, help="Images of the page's contact sheet.")] = 48,
    reviewed: Annotated[
        Path | None,
        typer.Option("--reviewed", metavar="FILE", help="A filled list of verdicts: how many labels are wrong."),
    ] = None,
    language: Language = LanguageName.EN,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Show what a dataset holds: classes, sizes, intensities, patients, duplicates, labels that contradict each other.

    [bold]--out FILE.html[/bold] writes all of it as one page with plots and a contact sheet. With
    [bold]--sample N[/bold] the file shows N images to check by hand, and a list for the verdicts lies beside it;
    [bold]--reviewed[/bold] tells what the filled list says of the labels.
    """
    from irmsia.app.configure import read_settings
    from irmsia.app.data_stats import describe_dataset, measure_review, write_page, write_review
    from irmsia.cli.meter import Meter
    from irmsia.datasets.source_probe import to_json as probe_to_json
    from irmsia.datasets.statistics import to_json

    if sample and out is None:
        raise typer.BadParameter("--sample needs --out FILE.html or FILE.png")
    settings = read_settings()
    report = describe_dataset(settings, name, seed=seed)
    if reviewed is not None:
        _print_review(measure_review(report, reviewed), language, as_json=as_json)
        return
    if as_json:
        told = None if report.probe is None else probe_to_json(report.probe)
        head = {"name": report.name, "revision": report.revision, "state": report.state}
        print_json({**head, **to_json(report.figures), "source_probe": told})
    else:
        _print_report(report, language)
    if out is None:
        return
    with Meter(sample or pictures, "reading pictures") as meter:
        if sample:
            listed = write_review(settings, report, out, count=sample, seed=seed, language=language, tick=meter.advance)
        else:
            write_page(settings, report, out, language=language, pictures=pictures, seed=seed, tick=meter.advance)
    note(f"written: {out}" + (f", and {listed} for the verdicts" if sample else ""))


def merge(
    names: Annotated[list[str], typer.Argument(metavar="A B ...", help="The datasets; earlier ones win.")],
    name: Annotated[str, typer.Option("--name", metavar="NEW", help="What the merged dataset is called.")],
    map_file: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="CSV with the columns source,label,new; * is every source."),
    ] = None,
    copies: Annotated[
        CopiesName, typer.Option("--copies", help="Pictures that several sets hold: keep one, or keep all.")
    ] = CopiesName.DROP,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Make one dataset of several: labels unified, copies across them dropped, sources, licences and patients kept.

    No file is moved. Then the source probe asks whether the label can be told from the source alone, and says so.
    """
    from irmsia.app.configure import read_settings
    from irmsia.app.data_stats import merge_datasets

    done = merge_datasets(read_settings(), names, name, map_file=map_file, copies=copies.value, seed=seed)
    if as_json:
        print_json(_merge_to_json(done))
    else:
        _print_merge(done)


def probe(
    name: Name,
    pixels: Annotated[
        int, typer.Option("--pixels", min=0, metavar="N", help="Also read N images: their borders may tell the label.")
    ] = 0,
    language: Language = LanguageName.EN,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Ask whether the label can be told from the source, or from sizes and brightness alone; keep the answer.

    Exit code 1 where the label can be predicted from the source: training then refuses, unless that is accepted.
    """
    from irmsia.app.configure import read_settings
    from irmsia.app.data_stats import probe_dataset
    from irmsia.cli.meter import Meter
    from irmsia.datasets.source_probe import to_json

    with Meter(pixels, "reading pictures") as meter:
        found = probe_dataset(read_settings(), name, seed=seed, pixels=pixels, tick=meter.advance)
    if as_json:
        print_json(to_json(found))
    else:
        _print_probe(found, language)
    raise typer.Exit(1 if found.is_confounded else 0)


def cite(
    name: Name,
    form: Annotated[CiteFormat, typer.Option("--format", help="How to write them.")] = CiteFormat.TEXT,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="TEXT", help="Keep this licence with the dataset.")
    ] = None,
    citation: Annotated[
        str | None, typer.Option("--citation", metavar="TEXT", help="Keep this reference with the dataset.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Keep this address with the dataset.")] = None,
    as_json: AsJson = False,
) -> None:
    """List references and licences of a dataset, and which licences do not go together. No legal advice."""
    from irmsia.app.configure import read_settings
    from irmsia.app.data_stats import cite_dataset
    from irmsia.datasets.citation import to_bibtex, to_json

    told = {"licence": licence, "citation": citation, "url": url}
    found = cite_dataset(read_settings(), name, told=told)
    if as_json or form is CiteFormat.JSON:
        print_json(to_json(found))
    elif form is CiteFormat.BIBTEX:
        typer.echo(to_bibtex(found), nl=False)
    else:
        _print_citations(found)


def _print_report(report: DatasetReport, language: str) -> None:
    from rich.text import Text

    from irmsia.app.dataset_summary import attention, headline, summarise
    from irmsia.app.dataset_words import DatasetWords

    words, console, figures = DatasetWords(language), make_console(), report.figures
    head = f"{words['revision']} {report.revision}, {words['state']} {report.state[:16]}"
    console.print(Text.assemble((printable(report.name), "bold"), "  ", (head, "dim")))
    console.print(Text(", ".join(f"{number} {what}" for number, what in headline(figures, words))))
    _print_attention(attention(figures, words, report.probe))
    for table in summarise(figures, words, report.probe):
        _print_table(table, words)


def _print_review(found: Review, language: str, *, as_json: bool) -> None:
    from dataclasses import asdict

    from irmsia.app.dataset_summary import review_table
    from irmsia.app.dataset_words import DatasetWords

    if as_json:
        print_json(asdict(found))
    else:
        words = DatasetWords(language)
        _print_table(review_table(found, words), words)


def _print_probe(found: SourceProbe, language: str) -> None:
    from irmsia.app.dataset_summary import probe_table
    from irmsia.app.dataset_words import DatasetWords

    words = DatasetWords(language)
    table = probe_table(found, words)
    _print_attention(found.reasons)
    if table.rows:
        _print_table(table, words)
    else:
        note("there are not two labels to tell apart")


def _print_merge(done: MergeOutcome) -> None:
    from rich.text import Text

    from irmsia.app.dataset_words import DatasetWords

    console, merged = make_console(), done.merged
    console.print(
        Text.assemble(
            (printable(done.name), "bold"),
            (f"  revision {done.revision}, state {done.state[:16]}", "dim"),
            f"\n{len(merged.records):,} files",
        )
    )
    for row in merged.renamed:
        console.print(Text(printable(f"{row.source}: {row.label} is called {row.new} ({row.images:,})")))
    if merged.copied:
        console.print(
            f"{merged.copied:,} pictures are in several sets: {merged.dropped:,} files left out"
            f" ({merged.contradicting:,} of the pictures under several labels)"
        )
    if merged.joined_patients:
        console.print(f"{merged.joined_patients:,} patients of two sets are one: they share a picture")
    if merged.unused:
        note(f"lines of the label map that fit nothing: {', '.join(map(str, merged.unused[:20]))}")
    _print_probe(done.probe, "en")
    if done.probe.is_confounded:
        note(DatasetWords("en")["confounded"] + " Training refuses, unless told --accept-confounding.")


def _merge_to_json(done: MergeOutcome) -> dict[str, object]:
    from dataclasses import asdict

    from irmsia.datasets.source_probe import to_json

    merged = done.merged
    return {
        "name": done.name,
        "revision": done.revision,
        "state": done.state,
        "files": len(merged.records),
        "renamed": [asdict(row) for row in merged.renamed],
        "copied": merged.copied,
        "dropped": merged.dropped,
        "contradicting": merged.contradicting,
        "copies": [asdict(row) for row in merged.copies],
        "joined_patients": merged.joined_patients,
        "unused_map_lines": list(merged.unused),
        "source_probe": to_json(done.probe),
    }


def _print_citations(found: Citations) -> None:
    from rich.text import Text

    from irmsia.app.dataset_summary import tell_condition
    from irmsia.app.dataset_words import DatasetWords

    console, words = make_console(), DatasetWords("en")
    for row in found.references:
        console.print(Text(printable(row.source), style="bold"))
        for line in _reference_lines(row):
            console.print(Text(f"  {printable(line)}"))
    for condition in found.conditions:
        mark = ("!", "bold yellow") if condition.is_conflict else ("-", "dim")
        console.print(Text.assemble(mark, f" {printable(tell_condition(condition, words))}"))


def _reference_lines(row: Reference) -> Iterable[str]:
    """What is known of one source, a line each."""
    licences = "; ".join(licence.spdx or f"{licence.told} (not known to the table)" for licence in row.licences)
    got = "" if row.got is None else f", {row.got[0]}" + (f" to {row.got[1]}" if row.got[1] != row.got[0] else "")
    lines = (
        row.title,
        row.citation or "no reference on record",
        f"doi: {row.doi}" if row.doi else "",
        row.url,
        f"licence: {licences or 'unknown'}",
        f"downloaded: {row.files:,} files{got}" if row.files else "",
    )
    return (line for line in lines if line)


def _print_attention(sentences: Iterable[str]) -> None:
    from rich.text import Text

    console = make_console()
    for sentence in sentences:
        console.print(Text.assemble(("! ", "bold yellow"), printable(sentence)))


def _print_table(table: TextTable, words: DatasetWords) -> None:
    from rich.text import Text

    console = make_console()
    console.print()
    console.print(Text(words[table.key], style="bold cyan"))
    if table.rows:
        console.print(_to_rich(table))
    for sentence in table.notes:
        console.print(Text(printable(sentence), style="dim"))


def _to_rich(table: TextTable) -> Table:
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for place, title in enumerate(table.titles):
        is_number = place >= table.texts
        shown.add_column(printable(title), justify="right" if is_number else "left", overflow="fold")
    if table.shares:
        shown.add_column("", no_wrap=True)
    for place, row in enumerate(table.rows):
        cells: list[RenderableType] = [Text(printable(cell)) for cell in row]
        if table.shares:
            cells.append(Text("█" * max(1, round(_BAR * table.shares[place])), style="cyan"))
        shown.add_row(*cells)
    return shown
