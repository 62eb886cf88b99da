"""Cases: the bundle's preprocessing, the lesion on the same grid, phantoms with their analytic truth."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from irmsia.datasets.samples import Sample
from irmsia.imaging.phantoms import make_phantom
from irmsia.imaging.preprocess import PreprocessSpec, ResizeSpec
from irmsia.imaging.read import read_image
from irmsia.settings.limits import ReadLimits
from irmsia.training.cases import Cases, write_cases
from irmsia.training.prepare import make_case, make_phantom_case, read_mask

SPEC = PreprocessSpec(resize=ResizeSpec(size=64))
READ = partial(read_image, limits=ReadLimits())


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """Return a wide picture, 64 x 128, with a bright lesion in its right half and a mask in two files."""
    picture = np.full((64, 128), 40, np.uint8)
    picture[16:48, 80:112] = 220
    first, second = np.zeros_like(picture), np.zeros_like(picture)
    first[16:48, 80:96] = 255
    second[16:48, 96:112] = 255
    _write(tmp_path / "set/benign/a (1).png", picture)
    _write(tmp_path / "set/benign/a (1)_mask.png", first)
    _write(tmp_path / "set/benign/a (1)_mask_1.png", second)
    return Sample("set", "set/benign/a (1).png", "breast", "breast_benign_lesion", "g1")


def test_lesion_lies_where_the_tensor_shows_it(sample: Sample, tmp_path: Path) -> None:
    """Cells of lesion are the bright ones of the padded tensor, and no others."""
    case = make_case(sample, "train", data=tmp_path, spec=SPEC, read=READ)
    bright = case.tensor[0].reshape(8, 8, 8, 8).mean(axis=(1, 3)) > 1.0
    assert case.row.has_lesion
    assert case.row.group == "set|g1"
    assert bright.any()
    assert np.array_equal(bright, case.lesion > 0.5)


def test_image_without_mask_has_no_known_lesion(sample: Sample, tmp_path: Path) -> None:
    """Without mask files the lesion map says nothing, rather than: no lesion."""
    for mask in (tmp_path / "set/benign").glob("*_mask*"):
        mask.unlink()
    case = make_case(sample, "train", data=tmp_path, spec=SPEC, read=READ)
    assert not case.row.has_lesion
    assert not case.lesion.any()
    assert read_mask([], (4, 4)) is None


@pytest.mark.parametrize("seed", range(1000, 1012))
def test_phantom_case_points_at_its_lesion(seed: int) -> None:
    """A phantom's lesion cells differ from its surroundings as its term says; without one there are none."""
    phantom = make_phantom(seed)
    case = make_phantom_case(phantom, "train", spec=SPEC, read=READ)
    assert case.row.term == phantom.truth.expected_term
    assert bool(case.lesion.any()) == (phantom.truth.lesion is not None)
    if phantom.truth.lesion is None:
        return
    plain = make_phantom(seed, phantom.truth.kind, "none")
    without = make_phantom_case(plain, "train", spec=SPEC, read=READ)
    change = (case.tensor - without.tensor)[0].reshape(8, 8, 8, 8).mean(axis=(1, 3))
    row, column = np.unravel_index(np.argmax(np.abs(change)), change.shape)
    assert case.lesion[row, column] > 0
    assert (change[row, column] > 0) == (phantom.truth.lesion_kind == "bright")


def test_cases_survive_writing(sample: Sample, tmp_path: Path) -> None:
    """Rows and pixels read back as written; a folder whose table is missing is not opened."""
    case = make_case(sample, "validation", data=tmp_path, spec=SPEC, read=READ)
    write_cases(tmp_path / "cases", [case], count=1, size=64)
    loaded = Cases.load(tmp_path / "cases")
    assert loaded.rows == (case.row,)
    np.testing.assert_allclose(loaded.tensors[0], case.tensor[0], atol=2e-3)
    assert loaded.indices("validation", "breast").tolist() == [0]
    assert loaded.indices("train").tolist() == []
    (tmp_path / "cases" / "table.json").unlink()
    with pytest.raises(FileNotFoundError):
        Cases.load(tmp_path / "cases")
