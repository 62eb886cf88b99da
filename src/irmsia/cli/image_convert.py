"""`irmsia image convert`: from one format to another, without loss, read again before it is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irmsia.cli.consoles import note, print_json, printable
from irmsia.cli.options import AsJson
from irmsia.errors import InvalidRequestError, IrmsiaError, UnsupportedError

if TYPE_CHECKING:
    from irmsia.app.convert import WrittenPicture, WrittenVolume
    from irmsia.imaging.stacking import Group
    from irmsia.imaging.types import Notice

EXAMPLE = """Examples:

[bold]irmsia image convert series/ --out head.nii.gz[/bold]

[bold]irmsia image convert study/ --out t2.nii.gz --series 1.2.840.113619.2.408.5282380.4562341[/bold]

[bold]irmsia image convert scan.dcm --out scan.png[/bold]

[bold]irmsia image convert ct.dcm --out ct.png --window[/bold]"""

Inputs = Annotated[
    list[str], typer.Argument(metavar="IN", help="The files of a series, or folders; one image for PNG.")
]
OutFile = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="What to write: .nii, .nii.gz (a series) or .png (a frame).")
]
Series = Annotated[
    str | None, typer.Option("--series", metavar="UID", help="Which series, where there are several: its UID.")
]
Part = Annotated[
    int | None,
    typer.Option("--part", min=1, help="Which part of the series, where it holds echoes, directions or kinds apart."),
]
AllowUneven = Annotated[
    bool,
    typer.Option("--allow-uneven", help="Also write slices that are uneven or sheared. Nothing is resampled."),
]
Frame = Annotated[int | None, typer.Option("--frame", min=0, help="PNG: which frame, from 0.")]
Window = Annotated[
    bool, typer.Option("--window", help="PNG: 8 bits as seen through the image's own window, not the stored values.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLE)(convert)


def convert(
    inputs: Inputs,
    out: OutFile,
    series: Series = None,
    part: Part = None,
    allow_uneven: AllowUneven = False,
    frame: Frame = None,
    window: Window = False,
    as_json: AsJson = False,
) -> None:
    """Write a DICOM series as NIfTI, or a frame as PNG. What was written is read again and compared first."""
    is_picture = out.suffix.lower() == ".png"
    if not is_picture and not out.name.lower().endswith((".nii", ".nii.gz")):
        raise InvalidRequestError("--out names a .nii, .nii.gz or .png file")
    if is_picture and (series or part or allow_uneven):
        raise InvalidRequestError("--series, --part and --allow-uneven are for NIfTI")
    if not is_picture and (frame is not None or window):
        raise InvalidRequestError("--frame and --window are for PNG")
    with _names_of_failures():
        if is_picture:
            _picture(inputs, out, frame, window=window, as_json=as_json)
        else:
            _series(inputs, out, (series, part, allow_uneven), as_json=as_json)


@contextmanager
def _names_of_failures() -> Iterator[None]:
    """Say which file an error is about: its message holds no path."""
    try:
        yield
    except IrmsiaError as error:
        for name in getattr(error, "__notes__", ()):
            note(f"in {name}")
        raise


def _picture(inputs: Sequence[str], out: Path, frame: int | None, *, window: bool, as_json: bool) -> None:
    from irmsia.app.configure import read_settings
    from irmsia.app.convert import convert_picture

    if len(inputs) != 1:
        raise InvalidRequestError("one image makes one PNG file")
    try:
        written = convert_picture(read_settings(), Path(inputs[0]), out, frame=frame, window=window)
    except UnsupportedError:
        note("--window writes the picture as seen")
        raise
    if as_json:
        print_json(_picture_json(out, written))
        return
    if written.voi is not None:
        note(written.voi.reason)
    _warn(written.notices)
    _card(out, {"pixels": f"{_sides(written.shape)}, {written.dtype}", "digest": written.frame_sha256[:16]})


def _series(inputs: Sequence[str], out: Path, asked: tuple[str | None, int | None, bool], *, as_json: bool) -> None:
    from irmsia.app.configure import read_settings
    from irmsia.app.convert import SeriesRequest, convert_series
    from irmsia.app.inputs import Skipped, list_inputs
    from irmsia.cli.meter import Meter

    skipped = Skipped()
    files = list_inputs(inputs, skipped)
    if not files:
        raise InvalidRequestError("there is no file")
    with Meter(2 * len(files), "converting") as meter:

        def heard(word: str, done: int, of: int) -> None:
            meter.tell(f"{word} {done} of {of}")
            if done:
                meter.advance()

        written = convert_series(
            read_settings(),
            files,
            out,
            SeriesRequest(*asked),
            skipped=skipped,
            heard=heard,
            listed=lambda groups: _list(groups, as_json=as_json),
        )
    if sentence := skipped.sentence():
        note(sentence)
    if as_json:
        print_json(_volume_json(out, written))
        return
    _warn(written.volume.notices)
    _card(out, _volume_rows(written))


def _list(groups: Sequence[Group], *, as_json: bool) -> None:
    """What there is to choose from."""
    for group in groups:
        if as_json:
            row = {"series_instance_uid": group.series_uid, "part": group.part, "slices": len(group.members)}
            print_json({**row, "about": group.title})
        else:
            part = f" --part {group.part}" if group.parts > 1 else ""
            note(f"--series {group.series_uid or '(none)'}{part}: {group.title}")


def _warn(notices: Sequence[Notice]) -> None:
    for notice in notices:
        note(f"{notice.code}: {notice.text}")


def _card(out: Path, rows: dict[str, str]) -> None:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    from irmsia.cli.consoles import make_console

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for key, value in rows.items():
        grid.add_row(key, Text(value))
    title = Text(f" {printable(str(out))} ", style="bold")
    make_console().print(Panel(grid, title=title, title_align="left", border_style="cyan"))


def _volume_rows(written: WrittenVolume) -> dict[str, str]:
    volume = written.volume
    spacing = volume.spacing
    millimetres = (spacing.slice_mm, spacing.row_mm, spacing.column_mm)
    times = f", times: {volume.times}" if volume.times > 1 else ""
    step = f", {volume.time_step_s:g} s apart" if volume.time_step_s else ""
    return {
        "series": written.group.series_uid or "",
        "about": written.group.title,
        "voxels": f"slices: {volume.voxels.shape[0]}, {_sides(volume.voxels.shape[1:3])}{times}{step}, "
        f"{volume.voxels.dtype.name}",
        "spacing": " x ".join("?" if step is None else f"{step:g}" for step in millimetres) + " mm",
        "read again": f"equal, {len(written.frame_sha256)} frames of {written.files} files",
    }


def _sides(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _volume_json(out: Path, written: WrittenVolume) -> dict[str, Any]:
    volume = written.volume
    slices, rows, columns = volume.voxels.shape[:3]
    return {
        "out": str(out),
        "format": "NIFTI",
        "series_instance_uid": written.group.series_uid,
        "part": written.group.part,
        "files": written.files,
        "shape": [slices * volume.times, rows, columns, 1],
        "times": volume.times,
        "time_step_s": volume.time_step_s,
        "dtype": volume.voxels.dtype.name,
        "rescale": [volume.slope, volume.intercept],
        "spacing_mm": [volume.spacing.slice_mm, volume.spacing.row_mm, volume.spacing.column_mm],
        "affine": volume.affine.tolist() if volume.exact else None,
        "slice_origins_mm": volume.origins.tolist(),
        "frame_sha256": list(written.frame_sha256),
        "notices": _notices_json(volume.notices),
        "read_again": "equal",
    }


def _picture_json(out: Path, written: WrittenPicture) -> dict[str, Any]:
    return {
        "out": str(out),
        "format": "PNG",
        "frame": written.frame,
        "shape": [1, *written.shape],
        "dtype": written.dtype,
        "window": written.voi.reason if written.voi is not None else None,
        "frame_sha256": [written.frame_sha256],
        "notices": _notices_json(written.notices),
        "read_again": "equal",
    }


def _notices_json(notices: Sequence[Notice]) -> list[dict[str, str]]:
    return [{"code": notice.code, "text": notice.text} for notice in notices]
