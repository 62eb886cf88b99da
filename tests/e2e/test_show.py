"""`irmsia image show` with windows, as people type it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.e2e.conftest import Platform


def test_a_preset_and_a_window_give_their_pictures(platform: Platform, phantoms: Path, tmp_path: Path) -> None:
    """The preset and its level and width are one picture, another than the file's own; what was used is told."""
    file = next(phantoms.glob("*CT*.dcm"), None) or next(phantoms.glob("*ct*.dcm"))
    named, asked, own, equalised = (tmp_path / f"{name}.png" for name in ("named", "asked", "own", "equalised"))
    told = platform.run("image", "show", file, "--out", named, "--preset", "lung")
    assert (told.returncode, told.stdout) == (0, "")
    assert "preset lung asked for: level -600, width 1500, LINEAR" in told.stderr
    assert platform.run("image", "show", file, "--out", asked, "--level", "-600", "--width", "1500").returncode == 0
    assert platform.run("image", "show", file, "--out", own).returncode == 0
    assert platform.run("image", "show", file, "--out", equalised, "--clahe").returncode == 0
    assert named.read_bytes() == asked.read_bytes() != own.read_bytes() != equalised.read_bytes()
    picture = cv2.imread(str(equalised), cv2.IMREAD_UNCHANGED)
    assert picture.dtype == np.uint8 and picture.ndim == 2


def test_a_preset_of_another_modality_is_exit_2(platform: Platform, phantoms: Path, tmp_path: Path) -> None:
    """One line that says why, and no picture."""
    out = tmp_path / "out.png"
    result = platform.run("image", "show", next(phantoms.glob("*[cC][tT]*.dcm")), "--out", out, "--preset", "mr")
    assert result.returncode == 2
    assert "the preset mr is for MR; this image is CT (INVALID_REQUEST)" in result.stderr
    assert not out.exists()


def test_a_window_for_colour_is_said_to_be_ignored(platform: Platform, tmp_path: Path) -> None:
    """Colour has no grey window: the picture is the plain one, and standard error says why; grey says nothing."""
    rng = np.random.default_rng(5)
    colour, grey, out = (tmp_path / f"{name}.png" for name in ("colour", "grey", "out"))
    cv2.imwrite(str(colour), rng.integers(0, 256, (24, 20, 3), np.uint8))
    cv2.imwrite(str(grey), rng.integers(0, 256, (24, 20), np.uint8))
    warning = "warning: no grey window applies to colour; the one asked for was not used"

    def show(file: Path, *options: str) -> tuple[int, bool, bytes]:
        told = platform.run_here("image", "show", file, "--out", out, *options)
        return told.returncode, warning in told.stderr, out.read_bytes()

    _, _, plain = show(colour)
    for options in (("--preset", "lung"), ("--level", "40", "--width", "80"), ("--percentiles", "1", "99")):
        assert show(colour, *options) == (0, True, plain), options
    for options in ((), ("--preset", "ultrasound"), ("--preset", "default")):
        assert show(colour, *options) == (0, False, plain), options
    assert show(grey, "--level", "40", "--width", "80")[:2] == (0, False)
