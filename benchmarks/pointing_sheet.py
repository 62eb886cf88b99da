"""A contact sheet of phantoms under their contribution maps: for a page, since no patient's image may stand there."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from irmsia.app.evaluate import Judge
from irmsia.imaging.phantoms import Lesion, Phantom, qa_set
from irmsia.imaging.render import encode_png, render_grey, render_overlay

_TILE = 150
_ACROSS = 4
_TRUTH = (60, 220, 90)
_MARK = (255, 255, 0)


def make_sheet(judge: Judge) -> bytes:
    """Return PNG bytes: every phantom of the self-test with a lesion, its map, truth (green) and maximum (a cross)."""
    phantoms = [phantom for phantom in qa_set() if phantom.truth.lesion is not None]
    tiles = [draw_tile(judge, phantom) for phantom in phantoms]
    rows = [np.hstack(tiles[start : start + _ACROSS]) for start in range(0, len(tiles) - _ACROSS + 1, _ACROSS)]
    return encode_png(np.ascontiguousarray(np.vstack(rows)))


def draw_tile(judge: Judge, phantom: Phantom) -> NDArray[np.uint8]:
    """Return one phantom as a square RGB tile."""
    truth, judgement = phantom.truth, judge.judge(phantom.data)
    index = judge.rules.group("phantom").terms.index(truth.expected_term)
    outputs = judge.infer(judgement.prepared.tensor[None])
    cells, grid = judgement.prepared.locate(np.asarray(outputs["maps_phantom"][0, index]))
    shown = render_overlay(render_grey(judgement.image, judgement.image.indices[0]), cells, grid)
    row, column = np.unravel_index(int(np.argmax(cells)), cells.shape)
    largest = grid.row0 + float(row) * grid.row_step, grid.column0 + float(column) * grid.column_step
    scale = _TILE / max(shown.shape[:2])
    small = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.zeros((_TILE, _TILE, 3), np.uint8)
    tile[: small.shape[0], : small.shape[1]] = small
    if truth.lesion is not None:
        _outline(tile, truth.lesion, scale)
    cv2.drawMarker(tile, _at(largest, scale), _MARK, cv2.MARKER_CROSS, 12, 1, cv2.LINE_AA)
    label = f"{truth.kind} {truth.lesion_kind}"
    cv2.putText(tile, label, (6, _TILE - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def _outline(tile: NDArray[np.uint8], lesion: Lesion, scale: float) -> None:
    axes = (max(1, round(lesion.column_radius * scale)), max(1, round(lesion.row_radius * scale)))
    cv2.ellipse(tile, _at((lesion.row, lesion.column), scale), axes, 0, 0, 360, _TRUTH, 1, cv2.LINE_AA)


def _at(place: tuple[float, float], scale: float) -> tuple[int, int]:
    """(row, column) of the stored image as OpenCV's (x, y) of the tile."""
    return round((place[1] + 0.5) * scale - 0.5), round((place[0] + 0.5) * scale - 0.5)
