"""The pointing game: its rule on phantoms with known lesions, its baselines, the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.grad_cam import weigh
from benchmarks.pointing import (
    CENTRE,
    MAP,
    RANDOM,
    Pointed,
    detail_table,
    diameter_in_cells,
    dilate,
    game_table,
    holds,
    largest_place,
    prior_place,
)
from benchmarks.pointing_sheet import make_sheet
from benchmarks.study import Study, open_study
from irmsia.bundles.store import STARTER
from irmsia.imaging.geometry import Grid
from irmsia.imaging.phantoms import qa_set
from irmsia.training.prepare import disc_mask


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Return the packaged starter beside an empty data folder."""
    return open_study(tmp_path_factory.mktemp("data"), STARTER)


def test_the_largest_cell_points_at_its_centre_in_stored_pixels() -> None:
    """Cell (1, 2) of a grid of 10 x 20 pixels a cell."""
    cells = np.zeros((3, 4), np.float32)
    cells[1, 2] = 1
    assert largest_place(cells, Grid(4.5, 9.5, 10.0, 20.0)) == (14.5, 49.5)


def test_a_point_outside_the_picture_is_no_hit() -> None:
    """The map's padding may be largest; that is a miss, not a wrapped index."""
    mask = np.ones((4, 5), bool)
    assert holds(mask, (3.4, 4.4))
    assert not any(holds(mask, place) for place in ((-1.0, 0.0), (4.0, 0.0), (0.0, 5.0), (0.0, -0.6)))


def test_dilation_is_one_cell_to_every_side_and_no_more() -> None:
    """A pixel grows to 2 x 3 + 1 rows and 2 x 5 + 1 columns on a grid of 3 x 5 pixels a cell."""
    mask = np.zeros((21, 31), bool)
    mask[10, 15] = True
    grown = dilate(mask, Grid(0.0, 0.0, 3.0, -5.0))
    rows, columns = np.nonzero(grown)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 13, 10, 20)


def test_the_size_of_a_lesion_is_counted_in_cells() -> None:
    """A disc of 20 pixels across on cells of 10 pixels is two cells wide."""
    disc = cv2.circle(np.zeros((60, 60), np.uint8), (30, 30), 10, 1, -1) > 0
    assert diameter_in_cells(disc, Grid(0, 0, 10.0, 10.0)) == pytest.approx(2.0, abs=0.1)


def test_the_most_frequent_place_is_where_lesions_overlap() -> None:
    """Two lesions share the upper left quarter, whatever the size of their pictures."""
    one, other = np.zeros((40, 80), bool), np.zeros((100, 50), bool)
    one[5:15, 10:30] = other[12:37, 6:18] = True
    row, column = prior_place([one, other])
    assert 0.1 < row < 0.4
    assert 0.1 < column < 0.4


def test_the_starter_points_into_the_lesion_of_every_phantom(study: Study) -> None:
    """The rule on known truth: all maxima lie in the disc grown by one cell, turned half round few do."""
    hits, turned = [], []
    for phantom in qa_set():
        truth, judgement = phantom.truth, study.judge.judge(phantom.data)
        if truth.lesion is None:
            continue
        index = study.judge.rules.group("phantom").terms.index(truth.expected_term)
        outputs = study.judge.infer(judgement.prepared.tensor[None])
        cells, grid = judgement.prepared.locate(np.asarray(outputs["maps_phantom"][0, index]))
        grown = dilate(disc_mask(truth) > 0, grid)
        hits.append(holds(grown, largest_place(cells, grid)))
        turned.append(holds(grown, largest_place(cells[::-1, ::-1], grid)))
    assert len(hits) == 8
    assert all(hits)
    assert sum(turned) <= 3


def test_the_picture_shows_every_phantom_with_a_lesion_and_stays_small(study: Study) -> None:
    """A page's picture: RGB, four tiles across, below 300 kB."""
    content = make_sheet(study.judge)
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (300, 600, 3)
    assert len(content) < 300_000


def _pointed(number: int, hit: bool, cells: float) -> Pointed:
    ways = {MAP: float(hit), CENTRE: 0.0, RANDOM: 0.1}
    return Pointed("test", f"g{number}", "breast_benign_lesion", number == 0, cells, ways, ways, 0.0)


def test_tables_count_hits_their_goal_and_what_the_map_adds() -> None:
    """Eight of ten is met; a random point's chance is the lesion's share; sizes part the images."""
    answers = [_pointed(number, number < 8, 1.0 if number < 4 else 3.0) for number in range(10)]
    rows = {row[0]: row for row in game_table(answers, "test").rows}
    assert rows[MAP][3].value == 0.8
    assert rows[MAP][4] == "met"
    assert rows[CENTRE][6].value == pytest.approx(0.8)
    assert rows[RANDOM][3].value == pytest.approx(0.1)
    assert rows[f"{MAP}, images not refused"][1] == 9
    sizes = {row[0]: row[1] for row in detail_table(answers, "test").rows}
    assert sizes == {
        "breast_benign_lesion": 10,
        "0 to 1.5 cells": 4,
        "1.5 to 2.5 cells": 0,
        "2.5 to 4 cells": 6,
        "from 4 cells": 0,
    }


def test_grad_cam_weighs_channels_by_their_mean_slope_and_keeps_what_is_positive() -> None:
    """Two channels, one for and one against."""
    features = np.array([[[1, 0], [0, 2]], [[0, 3], [1, 0]]], np.float32)
    slope = np.stack([np.full((2, 2), 0.5), np.full((2, 2), -1.0)]).astype(np.float32)
    assert weigh(features, slope).tolist() == [[0.5, 0.0], [0.0, 1.0]]
