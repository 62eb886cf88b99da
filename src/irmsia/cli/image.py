"""`irmsia image`: what images say of themselves, and how they look."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irmsia.cli import image_convert
from irmsia.cli.consoles import note, print_json, printable
from irmsia.cli.options import AsJson, Paths

if TYPE_CHECKING:
    from rich.panel import Panel

    from irmsia.imaging.types import ImageInfo

app = typer.Typer(name="image", help="Look at images: their headers, their pixels.", no_args_is_help=True)

image_convert.register(app)

INFO_EXAMPLE = """Examples:

[bold]irmsia image info scan.dcm[/bold]

[bold]irmsia image info scans/ --json | jq .frame_sha256[/bold]"""
SHOW_EXAMPLE = """Examples:

[bold]irmsia image show scan.dcm --out scan.png[/bold]

[bold]irmsia image show ct.dcm --out lung.png --preset lung[/bold]

[bold]irmsia image show ct.dcm --out liver.png --level 60 --width 160 --function SIGMOID[/bold]

[bold]irmsia image show mr.dcm --out mr.png --frame 3 --percentiles 1 99 --clahe[/bold]"""


class Function(StrEnum):
    """The formulas of DICOM PS3.3 C.11.2.1."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


PRESETS = "default soft_tissue lung bone brain mediastinum xray mammography ultrasound mr"
Preset = Annotated[str | None, typer.Option("--preset", metavar="NAME", help=f"One of: {PRESETS.replace(' ', ', ')}.")]
Level = Annotated[float | None, typer.Option("--level", help="Window centre, in HU for CT, else the file's unit.")]
Width = Annotated[float | None, typer.Option("--width", help="Window width, with --level.")]
FunctionOption = Annotated[Function, typer.Option("--function", help="How level and width become grey.")]
Percentiles = Annotated[
    tuple[float, float] | None, typer.Option("--percentiles", metavar="LOW HIGH", help="Black and white, 0 to 100.")
]
Clahe = Annotated[bool, typer.Option("--clahe", help="Equalise the contrast locally, after the window.")]
ClipLimit = Annotated[float, typer.Option("--clip-limit", help="How much --clahe may raise it.")]
Tiles = Annotated[int, typer.Option("--tiles", help="Tiles of --clahe along each side.")]


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
    preset: Preset = None,
    level: Level = None,
    width: Width = None,
    function: FunctionOption = Function.LINEAR,
    percentiles: Percentiles = None,
    clahe: Clahe = False,
    clip_limit: ClipLimit = 2.0,
    tiles: Tiles = 8,
) -> None:
    """Write one frame as PNG: through the file's own window, a preset, a level and width, or percentiles.

    The window that was used is printed on standard error, and that a colour image has none.
    """
    from irmsia.app.configure import read_settings
    from irmsia.app.image import is_ignored, make_clahe, make_voi, write_picture

    voi = make_voi(preset=preset, level=level, width=width, function=function.value, percentiles=percentiles)
    equalised = make_clahe(clip_limit, tiles) if clahe else None
    used = write_picture(read_settings(), file, out, frame=frame, voi=voi, clahe=equalised)
    window = "" if used.center is None else f": level {used.center:g}, width {used.width:g}, {used.function}"
    note(f"{used.reason}{window}")
    if is_ignored(voi, used):
        note("warning: no grey window applies to colour; the one asked for was not used")


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
