"""`irmsia data sources`: the public sets worth knowing, by what one needs, and how to get each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from irmsia.cli.consoles import make_console, note, print_json
from irmsia.cli.options import AsJson

if TYPE_CHECKING:
    from irmsia.datasets.public_sets import PublicSet

EXAMPLE = """Examples:

[bold]irmsia data sources --recommended[/bold]

[bold]irmsia data sources --modality CT --region chest --task segmentation --licence "CC BY"[/bold]

[bold]irmsia data sources lidc-idri[/bold]"""

_THOUSAND, _MILLION = 1_000, 1_000_000

Identity = Annotated[str | None, typer.Argument(metavar="ID", help="One set: all that is known of it.")]
Modality = Annotated[str, typer.Option("--modality", metavar="X", help="CT, MRI, X-RAY, ULTRASOUND ...")]
Region = Annotated[str, typer.Option("--region", metavar="R", help="brain, chest, breast, abdomen ...")]
Task = Annotated[str, typer.Option("--task", metavar="T", help="classification, segmentation, detection ...")]
Licence = Annotated[
    str,
    typer.Option("--licence", metavar="L", help="How its name begins: CC BY takes no CC BY-NC."),
]
Access = Annotated[str, typer.Option("--access", metavar="A", help="open, registration, credentialed.")]
Search = Annotated[str, typer.Option("--search", metavar="TEXT", help="Words that stand somewhere in its row.")]
Recommended = Annotated[bool, typer.Option("--recommended", help="Only the ten to begin with.")]


def register(app: typer.Typer) -> None:
    """Add the command to the group `data`."""
    app.command(epilog=EXAMPLE)(sources)


def sources(
    identity: Identity = None,
    modality: Modality = "",
    region: Region = "",
    task: Task = "",
    licence: Licence = "",
    access: Access = "",
    search: Search = "",
    recommended: Recommended = False,
    as_json: AsJson = False,
) -> None:
    """List public sets of medical images, or show one: facts from public references, unknown ones left empty.

    The ten to begin with stand first. A licence is its source's affair: read the page before you use a set.
    """
    from irmsia.datasets.public_sets import Choice, find_public_sets, get_public_set

    choice = Choice(modality, region, task, licence, access, search, recommended)
    found = find_public_sets(choice) if identity is None else (get_public_set(identity),)
    if as_json:
        for one in found:
            print_json(_to_json(one))
    elif identity is None:
        _print_table(found)
    else:
        _print_set(found[0])


def _to_json(one: PublicSet) -> dict[str, Any]:
    return {name: value if value != "" else None for name, value in asdict(one).items()} | {
        "stars": one.stars,
        "command": one.command,
    }


def _print_table(found: Sequence[PublicSet]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("id", overflow="fold", min_width=22)
    table.add_column("modality", overflow="fold", max_width=10)
    table.add_column("region", overflow="fold", max_width=10)
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("GB", justify="right", no_wrap=True)
    table.add_column("licence", max_width=13)
    table.add_column("from", no_wrap=True)
    for one in found:
        mark = f"[bold]{escape(one.id)}[/bold]" if one.recommended else escape(one.id)
        table.add_row(
            mark,
            _first(one.modality),
            _first(one.region),
            _short(one.images),
            _short(one.size_gb),
            "\n".join(one.licence),
            one.source,
        )
    make_console().print(table)
    note(f"{len(found)} sets; `irmsia data sources ID` shows one, with its page and how to get it")


def _first(words: Sequence[str]) -> str:
    """At most two lines, and how many words more there are."""
    more = f" +{len(words) - 2}" if len(words) > 2 else ""
    return "\n".join(words[:2]) + more


def _short(number: float | None) -> str:
    """``874K``, ``21.1M``, ``0.3``; empty where unknown."""
    if number is None:
        return ""
    if number >= _MILLION:
        return f"{number / _MILLION:.3g}M"
    if isinstance(number, int) and number >= 10 * _THOUSAND:
        return f"{number / _THOUSAND:.0f}K"
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


def _print_set(one: PublicSet) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(one):
        table.add_row(name, Text(value or "not known"))
    console = make_console()
    console.print(f"[bold]{escape(one.name)}[/bold]  {'*' * one.stars}")
    console.print(table)


def _lines(one: PublicSet) -> list[tuple[str, str]]:
    images = f"{one.images:,} {one.unit}" if one.images is not None else ""
    return [
        ("id", one.id),
        ("modality", ", ".join(one.modality)),
        ("region", ", ".join(one.region)),
        ("task", ", ".join(one.task)),
        ("images", images),
        ("patients", f"{one.patients:,}" if one.patients is not None else ""),
        ("size", f"{one.size_gb:,g} GB" if one.size_gb is not None else ""),
        ("format", ", ".join(one.format)),
        ("licence", ", ".join(one.licence)),
        ("access", one.access),
        ("get", one.command or "as its page says"),
        ("page", one.page),
        ("labels by", ", ".join(one.labels)),
        ("quality", one.notes),
        ("use", one.use),
        ("reference", one.reference),
        ("facts from", one.source_of_facts),
    ]
