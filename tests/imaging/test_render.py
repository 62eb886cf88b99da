"""Pictures for people: what is on them and that they are whole."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from irmsia.errors import InvalidRequestError
from irmsia.imaging.geometry import Grid, apply_orientation
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.imaging.render import encode_png, render_frame, render_grey, render_overlay, write_png
from irmsia.imaging.types import Window
from irmsia.imaging.window import VoiSpec
from tests.imaging.made import make_dicom_image, make_image, make_texture


def decode(png: bytes) -> np.ndarray[Any, Any]:
    """Return the pixels as Pillow reads them."""
    return np.asarray(PIL.Image.open(BytesIO(png)))


def test_grey_frames_are_shown_through_their_window() -> None:
    """0 and 255 at the ends of the file's window, or of the one asked for."""
    image = make_dicom_image(np.array([[0, 50, 100, 900]], np.uint16), windows=(Window(50.5, 101),))
    assert render_frame(image, 0).tolist() == [[0, 128, 255, 255]]
    wide = VoiSpec(method="window", center=450.5, width=901)
    assert render_frame(image, 0, wide).tolist() == [[0, 14, 28, 255]]


def test_8_bit_files_are_shown_as_they_are() -> None:
    """Not a level changes, in grey or in colour, except for the EXIF turn."""
    stored = np.arange(256, dtype=np.uint8).reshape(8, 32)
    assert np.array_equal(render_frame(make_image(stored), 0), stored)
    rgb = np.stack([stored, stored[::-1], stored[:, ::-1]], -1)
    image = make_image(rgb, photometric="RGB", exif_orientation=6)
    assert np.array_equal(render_frame(image, 0), apply_orientation(rgb, 6))
    assert render_grey(image, 0).shape == (32, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_overlay_puts_colour_on_the_cell_that_speaks(orientation: int) -> None:
    """A map of the tensor, turned back and laid over the picture as seen, is red and blue where the marks were."""
    stored = np.full((60, 90), 40, np.uint8)
    stored[10:14, 70:74] = 255
    image = make_image(stored, exif_orientation=orientation)
    prepared = PreprocessSpec().apply(image, 0)
    cells = np.zeros((16, 16), np.float32)
    blocks = prepared.tensor[0].reshape(16, 10, 16, 10).mean(axis=(1, 3))
    cells[np.unravel_index(blocks.argmax(), blocks.shape)] = 2.0
    turned, grid = prepared.locate(cells)
    base = render_grey(image, 0)
    overlay = render_overlay(base, turned, grid, orientation=orientation).astype(int)
    assert overlay.shape == (*base.shape, 3)
    reddish = overlay[..., 0] - overlay[..., 2]
    reddish[base == 255] = 0
    seen = apply_orientation(reddish, 1)
    row, column = np.unravel_index(seen.argmax(), seen.shape)
    marks = np.argwhere(base == 255).mean(axis=0)
    assert np.hypot(row - marks[0], column - marks[1]) < 8
    blue = render_overlay(base, -turned, grid, orientation=orientation).astype(int)
    assert blue[row, column, 2] > blue[row, column, 0]


def test_an_overlay_of_nothing_is_the_picture() -> None:
    """Zeros and numbers that are none leave it alone, on grey and colour, and the input is not written to."""
    base = make_texture(20, 30, 255).astype(np.uint8)
    grid = Grid(2.0, 2.0, 5.0, 5.0)
    for nothing in (np.zeros((4, 6), np.float32), np.full((4, 6), np.nan, np.float32)):
        assert np.array_equal(render_overlay(base, nothing, grid), np.stack([base] * 3, -1))
    colour = np.stack([base] * 3, -1)
    render_overlay(colour, np.ones((4, 6), np.float32), grid)
    assert np.array_equal(colour[..., 0], base)
    with pytest.raises(InvalidRequestError):
        render_overlay(base.astype(float), np.zeros((4, 6), np.float32), grid)  # type: ignore[arg-type]


def test_png_is_lossless_in_grey_and_colour(tmp_path: Path) -> None:
    """Another library reads the same pixels in the same order of channels; the file is written whole."""
    rgb = np.stack([make_texture(20, 30, 255, seed) for seed in range(3)], -1).astype(np.uint8)
    assert np.array_equal(decode(encode_png(rgb)), rgb)
    write_png(tmp_path / "x.png", rgb[..., 1])
    assert np.array_equal(decode((tmp_path / "x.png").read_bytes()), rgb[..., 1])
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize("pixels", [np.zeros((3, 3)), np.zeros((3, 3, 2), np.uint8), np.zeros((0, 3), np.uint8)])
def test_what_is_no_picture_is_refused(pixels: Any) -> None:
    """Floats, two channels, no pixels."""
    with pytest.raises(InvalidRequestError):
        encode_png(pixels)
