"""A sheet shows each pair with its names; nothing in a name breaks it."""

from __future__ import annotations

import numpy as np
import pytest

from irmsia.datasets.leak_sheet import MOST_PAIRS, draw_sheet
from irmsia.datasets.leaks import Leak, LeakKind
from irmsia.errors import NotReadableError
from tests.datasets.pictures import Grey, make_picture

PAIR = Leak("benign/a (1).png", "malignant/b (2).png", LeakKind.CROPPED, 0.991, 0.98, kept=0.81)


def _read(path: str) -> Grey:
    if "gone" in path:
        raise NotReadableError("gone")
    return make_picture(len(path), 120, 200)


def test_both_pictures_are_on_the_sheet() -> None:
    """The sheet holds the bright and dark of two pictures, ink, and paper."""
    sheet = draw_sheet([PAIR], _read, labels={PAIR.first: "benign", PAIR.second: "malignant"}, title="busi")
    blank = draw_sheet([PAIR], lambda _: np.zeros((9, 9), np.uint8))
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    assert sheet.shape == blank.shape
    assert np.mean(sheet != blank) > 0.15


def test_labels_that_differ_are_red() -> None:
    """Red ink appears under a pair with two labels, and not under one with one."""
    alike = Leak(PAIR.first, PAIR.second, LeakKind.ALIKE, 0.9)

    def red(label: str) -> int:
        sheet = draw_sheet([alike], _read, labels={alike.first: "benign", alike.second: label}).astype(int)
        return int(((sheet[..., 2] > 150) & (sheet[..., 1] < 90) & (sheet[..., 0] < 90)).sum())

    assert red("malignant") > 50
    assert red("benign") == 0


@pytest.mark.parametrize("count", [0, 1, 3, 4, 200])
def test_any_number_of_pairs(count: int) -> None:
    """No pair, one row, a row that is not full, more than fit."""
    sheet = draw_sheet([PAIR] * count, _read)
    rows = -(-min(count, MOST_PAIRS) // 3)
    assert sheet.shape[0] < 330 * max(1, rows) + 100


@pytest.mark.parametrize("name", ["", "ü" * 3000, "\x00\x1b[31m\n", "\u202e../../x.png", "漢字" * 40, "gone.png"])
def test_hostile_names_and_lost_pictures_are_drawn(name: str) -> None:
    """Control letters, endless names, other scripts, pictures that cannot be read."""
    leak = Leak(f"a/{name}", "b.png", LeakKind.PATIENT)
    assert draw_sheet([leak], _read, parts={leak.first: name}, labels={leak.first: name}, title=name[:50]).size
