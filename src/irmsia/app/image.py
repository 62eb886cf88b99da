"""Images as files say they are, and as they look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from irmsia.app.compose import open_pool
from irmsia.app.inputs import InputFile
from irmsia.app.ordered import run_ordered
from irmsia.errors import InvalidRequestError, from_system
from irmsia.imaging.render import write_png
from irmsia.imaging.types import ImageInfo
from irmsia.settings.tree import Settings


def inspect_files(settings: Settings, files: Sequence[InputFile]) -> Iterator[tuple[InputFile, ImageInfo]]:
    """Yield each file with what is known of it, in order; every frame is decoded and hashed. No file raises."""
    workers = max(1, min(settings.engine.workers, len(files)))
    with open_pool(settings, workers) as pool, ThreadPoolExecutor(workers) as threads:
        try:
            yield from run_ordered(files, lambda file: threads.submit(pool.inspect, file.path), ahead=2 * workers)
        except BaseException:
            pool.close()  # first, so that no thread waits for a file that nobody wants any more
            raise


def write_picture(settings: Settings, file: Path, out: Path, *, frame: int = 0) -> ImageInfo:
    """Write the grey or colour picture of one frame as 8-bit PNG, through the grey-scale pipeline.

    Raises:
        InputError: the file cannot be read.
        InvalidRequestError: there is no such frame, or ``out`` cannot be written; StorageFullError: a full disk.
    """
    with open_pool(settings, 1) as pool:
        info, picture = pool.render(file, frame)
    try:
        write_png(out, picture)
    except (OSError, MemoryError) as error:
        raise from_system(error, "the output cannot be written", InvalidRequestError) from None
    return info
