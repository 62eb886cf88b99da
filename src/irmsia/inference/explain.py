"""The explanation: signed contributions to one term's logit on the network's own grid, and their picture.

Class activation mapping (Zhou et al., CVPR 2016) computed in the exported graph: the cells add up to the logit but for
its bias.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InternalError
from irmsia.findings.types import Explanation, GridToImage
from irmsia.imaging.geometry import Grid
from irmsia.imaging.preprocess import Prepared
from irmsia.imaging.render import encode_png, render_overlay

METHOD = "class_activation_map"

_MOST_PIXELS = 2048
"""Long side of an overlay."""


def make_explanation(cells: NDArray[np.float32], term: str, frame: Prepared) -> Explanation:
    """The explanation of ``term`` by ``cells`` (h, w) of the tensor of ``frame``, turned back to the stored image.

    Raises:
        InternalError: a contribution is not finite.
    """
    if not np.isfinite(cells).all():
        raise InternalError("the network's map is not finite")
    turned, grid = frame.locate(cells)
    return Explanation(
        method=METHOD,
        term=term,
        frame=frame.frame,
        shape=(turned.shape[0], turned.shape[1]),
        grid_to_image=GridToImage(grid.row0, grid.column0, grid.row_step, grid.column_step),
        map=turned.astype("<f4").tobytes(),
    )


def make_overlay(cells: NDArray[np.float32], frame: Prepared, picture: NDArray[np.uint8]) -> bytes:
    """PNG of ``picture`` (rows, columns), the frame as seen, under the same ``cells``: red for the term, blue against.

    At most 2,048 pixels on the long side: a picture of 100 megapixels must not become an answer of that size.
    """
    turned, grid = frame.locate(cells)
    shrink = max(1.0, max(picture.shape) / _MOST_PIXELS)
    if shrink > 1.0:
        rows, columns = (max(1, round(side / shrink)) for side in picture.shape[:2])
        picture = np.asarray(cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
        grid = _shrunk(grid, shrink)
    return encode_png(render_overlay(picture, turned, grid, orientation=frame.exif_orientation))


def _shrunk(grid: Grid, factor: float) -> Grid:
    """The same places in pixels ``factor`` times as large."""
    row0, column0 = ((place + 0.5) / factor - 0.5 for place in (grid.row0, grid.column0))
    return Grid(row0, column0, grid.row_step / factor, grid.column_step / factor)
