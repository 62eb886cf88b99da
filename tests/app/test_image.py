"""What a person may ask of a picture, before any file is read."""

from __future__ import annotations

import re
from typing import Any

import pytest

from irmsia.app.image import is_ignored, make_clahe, make_voi
from irmsia.errors import InvalidRequestError
from irmsia.imaging.clahe import ClaheSpec
from irmsia.imaging.window import VoiSource, VoiSpec, VoiUsed


def test_one_way_at_a_time() -> None:
    """Nothing asked is the file's own window; a preset, a level and width, or percentiles are themselves."""
    assert make_voi() == VoiSpec()
    assert make_voi(preset="lung") == VoiSpec(method="preset", preset="lung")
    window = make_voi(level=60.0, width=160.0, function="SIGMOID")
    assert window == VoiSpec(method="window", center=60.0, width=160.0, function="SIGMOID")
    assert make_voi(percentiles=(1.0, 99.0)) == VoiSpec(method="percentile", low_percentile=1.0, high_percentile=99.0)
    assert make_clahe(3.0, 4) == ClaheSpec(clip_limit=3.0, tiles=4)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"preset": "nix"}, "there are default, soft_tissue, lung,"),
        ({"level": 4.0}, "belong together"),
        ({"width": 4.0}, "belong together"),
        ({"level": 4.0, "width": 0.0}, "the width must be"),
        ({"level": 4.0, "width": 0.5}, "at least 1 wide"),
        ({"level": float("nan"), "width": 5.0}, "the level must be"),
        ({"level": 1.0, "width": 5.0, "function": "nix"}, "LINEAR, LINEAR_EXACT, SIGMOID"),
        ({"percentiles": (60.0, 40.0)}, "below"),
        ({"percentiles": (-1.0, 40.0)}, "between 0 and 100"),
        ({"percentiles": (1.0, 100.5)}, "between 0 and 100"),
        ({"preset": "lung", "percentiles": (1.0, 99.0)}, "one of them"),
        ({"preset": "lung", "level": 1.0, "width": 9.0}, "one of them"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: dict[str, Any], words: str) -> None:
    """INVALID_REQUEST with a sentence in the words of the command line, never those of the library beneath."""
    with pytest.raises(InvalidRequestError) as caught:
        make_voi(**asked)
    assert words in caught.value.message
    assert not re.search(r"Input|center|_percentile|pydantic|Value error", caught.value.message)


@pytest.mark.parametrize(("clip_limit", "tiles"), [(0.0, 8), (1000.0, 8), (2.0, 0), (2.0, 65), (float("inf"), 8)])
def test_clahe_out_of_range_is_refused(clip_limit: float, tiles: int) -> None:
    """INVALID_REQUEST with what is allowed, before anything is read."""
    with pytest.raises(InvalidRequestError, match=r"above 0 and at most 100|from 1 to 64"):
        make_clahe(clip_limit, tiles)


@pytest.mark.parametrize(
    ("asked", "source", "ignored"),
    [
        (make_voi(preset="lung"), VoiSource.NONE, True),
        (make_voi(preset="lung"), VoiSource.REQUESTED, False),
        (make_voi(preset="default"), VoiSource.AUTOMATIC, False),
        (make_voi(level=1.0, width=2.0), VoiSource.AUTOMATIC, True),
        (make_voi(percentiles=(1.0, 99.0)), VoiSource.AUTOMATIC, False),
        (make_voi(percentiles=(1.0, 99.0)), VoiSource.NONE, True),
        (make_voi(), VoiSource.NONE, False),
        (make_voi(), VoiSource.FILE_WINDOW, False),
    ],
)
def test_what_colour_ignores(asked: VoiSpec, source: VoiSource, ignored: bool) -> None:
    """A window asked for that was not used; float colour is stretched by the percentiles asked for."""
    assert is_ignored(asked, VoiUsed(source, "")) is ignored
