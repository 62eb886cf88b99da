"""`irmsia image`: what images say of themselves, and how they look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irmsia.cli.consoles import note, print_json, printable
from irmsia.cli.options import AsJson, Paths

if TYPE_CHECKING:
    from rich.panel import Panel

    from irmsia.imaging.types import ImageInfo

app = typer.Typer(name="image", help="Look at images: their headers, their pixels.", no_args_is_help=True)

INFO_EXAMPLE = """Examples:

[bold]irmsia image info scan.dcm[/bold]

[bold]irmsia image info scans/ --json | jq .frame_sha256[/bold]"""
SHOW_EXAMPLE = "Example: [bold]irmsia image show scan.dcm --out scan.png[/bold]"


@app.command(epilog=INFO_EXAMPLE)
def info(paths: Paths, as_json: AsJson = False) -> None:
    """Show format, size, spacing, region, digests of every frame, and warnings. Every frame is decoded."""
    from irmsia.app.configure import read_settings
    from irmsia.app.image import inspect_files
    from irmsia.app.inputs import Skipped, list_inputs
    from irmsia.cli.meter import Meter
    from irmsia.imaging.metadata import info_to_json

    skipped = Skipped()
    files = list_inputs(paths, skipped)
    failed = False
    with Meter(len(files), "reading") as meter:
        for file, found in inspect_files(read_settings(), files) if files else ():
            meter.advance()
            if skipped.takes(file, found.error.code if found.error is not None else None):
                continue
            failed |= found.error is not None
            if as_json:
                print_json(info_to_json(file.name, found))
            else:
                meter.print(_card(file.name, found))
    if sentence := skipped.sentence():
        note(sentence)
    raise typer.Exit(1 if failed else 0)


@app.command(epilog=SHOW_EXAMPLE)
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The image.")],
    out: Annotated[Path, typer.Option("--out", metavar="PNG", help="Where to write the picture.")],
    frame: Annotated[int, typer.Option("--frame", min=0, help="Which frame, from 0.")] = 0,
) -> None:
    """Write one frame as PNG: as a viewer shows it, through the file's own window."""
    from irmsia.app.configure import read_settings
    from irmsia.app.image import write_picture

    write_picture(read_settings(), file, out, frame=frame)


def _card(name: str, found: ImageInfo) -> Panel:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for key, value in _rows(found):
        grid.add_row(key, Text(printable(value), "red" if key == "error" else ""))
    title = Text(f" {printable(name)} ", style="bold")
    return Panel(grid, title=title, title_align="left", border_style="red" if found.error else "cyan")


def _rows(found: ImageInfo) -> list[tuple[str, str]]:
    """What is known, for people; nothing of what is null."""
    spacing = found.spacing
    millimetres = (spacing.slice_mm, spacing.row_mm, spacing.column_mm)
    shape = found.shape and "{1} x {2}, frames: {0}, samples: {3}".format(*found.shape)
    rows = {
        "format": " ".join(part for part in (found.format, found.transfer_syntax) if part),
        "about": " ".join(part for part in (found.modality, found.region) if part),
        "pixels": ", ".join(part for part in (shape, found.dtype, _loss(found.lossless)) if part),
        "spacing": f"{_list(millimetres)} mm ({spacing.source})" if any(millimetres) else "",
        "frames": "  ".join(digest[:16] for digest in found.frame_sha256[:8]),
        **{f"warning {index}": f"{notice.code} {notice.text}" for index, notice in enumerate(found.warnings, 1)},
        "error": f"{found.error.code} {found.error.message}" if found.error else "",
    }
    return [(key, value) for key, value in rows.items() if value]


def _list(values: tuple[float | None, ...]) -> str:
    return " x ".join("?" if value is None else f"{value:g}" for value in values)


def _loss(lossless: bool | None) -> str:
    return "" if lossless is None else "lossless" if lossless else "lossy"
