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
