"""Images as files say they are, and as they look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from irmsia.app.compose import open_pool
from irmsia.app.inputs import InputFile
from irmsia.app.ordered import run_ordered
from irmsia.errors import InvalidRequestError, from_system
from irmsia.imaging.preprocess import ClaheSpec, VoiSpec, VoiUsed
from irmsia.imaging.presets import PresetName
from irmsia.imaging.render import write_png
from irmsia.imaging.types import ImageInfo
from irmsia.imaging.window import VoiSource
from irmsia.settings.tree import Settings

M = TypeVar("M", bound=BaseModel)

_PERCENTILES = "two percentiles lie between 0 and 100, the lower one first"
_SAYS = {
    "preset": f"there is no such preset; there are {', '.join(get_args(PresetName))}",
    "center": "the level must be a finite number",
    "width": "the width must be a finite number above 0",
    "function": "there is no such function; there are LINEAR, LINEAR_EXACT, SIGMOID",
    "low_percentile": _PERCENTILES,
    "high_percentile": _PERCENTILES,
    "clip_limit": "the clip limit must be a number above 0 and at most 100",
    "tiles": "the tiles must be a whole number from 1 to 64",
}
"""By field of `VoiSpec` and `ClaheSpec`: what is wrong with a value, in the words of the command line."""


def inspect_files(settings: Settings, files: Sequence[InputFile]) -> Iterator[tuple[InputFile, ImageInfo]]:
    """Yield each file with what is known of it, in order; every frame is decoded and hashed. No file raises."""
    workers = max(1, min(settings.engine.workers, len(files)))
    with open_pool(settings, workers) as pool, ThreadPoolExecutor(workers) as threads:
        try:
            yield from run_ordered(files, lambda file: threads.submit(pool.inspect, file.path), ahead=2 * workers)
        except BaseException:
            pool.close()  # first, so that no thread waits for a file that nobody wants any more
            raise


def write_picture(
    settings: Settings,
    file: Path,
    out: Path,
    *,
    frame: int = 0,
    voi: VoiSpec | None = None,
    clahe: ClaheSpec | None = None,
) -> VoiUsed:
    """Write the grey or colour picture of one frame as 8-bit PNG, through the grey-scale pipeline; the VOI used.

    ``voi``: the file's own unless told. ``clahe``: contrast equalisation after it, none unless told.

    Raises:
        InputError: the file cannot be read.
        InvalidRequestError: there is no such frame, the VOI does not fit the image, or ``out`` cannot be written;
            StorageFullError: a full disk.
    """
    with open_pool(settings, 1) as pool:
        rendered = pool.render(file, frame, voi, clahe=clahe)
    try:
        write_png(out, rendered.pixels)
    except (OSError, MemoryError) as error:
        raise from_system(error, "the output cannot be written", InvalidRequestError) from None
    return rendered.voi


def make_voi(
    *,
    preset: str | None = None,
    level: float | None = None,
    width: float | None = None,
    function: str = "LINEAR",
    percentiles: tuple[float, float] | None = None,
) -> VoiSpec:
    """The VOI that a person asked for by at most one of preset, level with width, percentiles; else the file's own.

    Raises:
        InvalidRequestError: several at once, half a window, an unknown preset, numbers out of range.
    """
    ways = [preset is not None, level is not None or width is not None, percentiles is not None]
    if (level is None) != (width is None):
        raise InvalidRequestError("a level and a width belong together")
    if sum(ways) > 1:
        raise InvalidRequestError("ask for a preset, for a level and a width, or for percentiles: one of them")
    asked: dict[str, Any] = {"function": function}
    if preset is not None:
        asked |= {"method": "preset", "preset": preset}
    elif ways[1]:
        asked |= {"method": "window", "center": level, "width": width}
    elif percentiles is not None:
        asked |= {"method": "percentile", "low_percentile": percentiles[0], "high_percentile": percentiles[1]}
    return _validated(VoiSpec, asked)


def is_ignored(voi: VoiSpec, used: VoiUsed) -> bool:
    """Whether the image took no notice of the window asked for: colour has none.

    The presets ``default`` and ``ultrasound`` ask for nothing else there.
    """
    if voi.preset in {"default", "ultrasound"}:
        return False
    if used.source is VoiSource.AUTOMATIC:  # colour of unknown range: stretched, by the percentiles asked for
        return voi.method in {"preset", "window"}
    return used.source is VoiSource.NONE and voi.method in {"preset", "window", "percentile"}


def make_clahe(clip_limit: float, tiles: int) -> ClaheSpec:
    """Contrast equalisation; `InvalidRequestError` where a number is out of range."""
    return _validated(ClaheSpec, {"clip_limit": clip_limit, "tiles": tiles})


def _validated(kind: type[M], fields: dict[str, Any]) -> M:
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        # Of several fields the specification itself speaks, in a sentence of its own.
        own = first["msg"].removeprefix("Value error, ")
        raise InvalidRequestError(_SAYS[str(first["loc"][0])] if first["loc"] else own) from None
