"""Pictures side by side on one sheet, each with a number: to look through many at once."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InvalidRequestError
from irmsia.imaging.render import shrink

_CAPTION = 20
_GAP = 6
_MOST_PIXELS = 100_000_000


def make_contact_sheet(
    pictures: Sequence[NDArray[np.uint8] | None], captions: Sequence[str], *, side: int = 256, columns: int = 6
) -> NDArray[np.uint8]:
    """One sheet, uint8 RGB (rows, columns, 3), of pictures in reading order, white captions on dark grey below each.

    Args:
        pictures: uint8 (H, W) or RGB (H, W, 3); null leaves the place empty.
        captions: one each; characters that are not ASCII are shown as ``?``.
        side: pixels of a cell; larger pictures are shrunk into it.
        columns: pictures in a row.

    Raises:
        InvalidRequestError: no picture, or a sheet of more than 100 million pixels.
    """
    across = min(columns, len(pictures))
    down = -(-len(pictures) // columns)
    height, width = down * (side + _CAPTION + _GAP) + _GAP, across * (side + _GAP) + _GAP
    if not pictures or height * width > _MOST_PIXELS:
        raise InvalidRequestError("a sheet shows at least one picture and at most 100 million pixels")
    sheet = np.full((height, width, 3), 32, np.uint8)
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        top = _GAP + place // columns * (side + _CAPTION + _GAP)
        left = _GAP + place % columns * (side + _GAP)
        sheet[top : top + side, left : left + side] = 0
        if picture is not None:
            _paste(sheet, picture, top, left, side)
        _write(sheet, caption, top + side + 14, left, side)
    return sheet


def _paste(sheet: NDArray[np.uint8], picture: NDArray[np.uint8], top: int, left: int, side: int) -> None:
    small = shrink(picture, side)
    rgb = np.repeat(small[..., None], 3, axis=2) if small.ndim == 2 else small
    rows, columns = rgb.shape[:2]
    y, x = top + (side - rows) // 2, left + (side - columns) // 2
    sheet[y : y + rows, x : x + columns] = rgb


def _write(sheet: NDArray[np.uint8], caption: str, y: int, x: int, side: int) -> None:
    shown = "".join(character if " " <= character <= "~" else "?" for character in caption)[: side // 7]
    cv2.putText(sheet, shown, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (230, 230, 230), 1, cv2.LINE_AA)
