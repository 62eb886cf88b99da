"""The study of adults' chests: the files it makes, its counts, what it recommends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.adult_chests import JPEG, AdultAnswer, as_dicom, by_patient, decision_table, list_radiographs, recommend
from benchmarks.study import read
from irmsia.errors import InvalidRequestError


def _answer(patient: str, decision: str, *, present: bool = False, way: str = JPEG) -> AdultAnswer:
    reason = "OUT_OF_DISTRIBUTION" if decision == "REFUSE" else None
    return AdultAnswer(way, patient, "ap", decision, reason, present, above=True)


@pytest.mark.parametrize(("age", "years"), [(None, None), ("060Y", 60.0)])
def test_the_made_file_is_a_radiograph_of_a_chest_with_those_pixels(age: str | None, years: float | None) -> None:
    """What is asked as DICOM holds the JPEG's own pixels and says CR, CHEST and the age or none."""
    pixels = np.random.default_rng(3).integers(0, 256, (21, 15), dtype=np.uint8)
    image = read(as_dicom(pixels, age))
    assert (image.info.modality, image.info.region, image.info.age_years) == ("CR", "chest", years)
    assert np.array_equal(image.frame(0)[..., 0], pixels)


def test_a_patient_is_found_by_any_image() -> None:
    """One image that is found is enough; none is not."""
    answers = [_answer("a", "ACCEPT"), _answer("a", "ACCEPT"), _answer("b", "ACCEPT")]
    assert by_patient(answers, [False, True, False]) == {"a": True, "b": False}


def test_decisions_are_counted_by_way_and_patient() -> None:
    """Shares of one way add up to one."""
    answers = [_answer("a", "REFUSE"), _answer("a", "REFUSE"), _answer("b", "ACCEPT"), _answer("c", "REFER")]
    way, images, patients, *shares, reasons = decision_table(answers).rows[0]
    assert (way, images, patients) == (JPEG, 4, 3)
    assert [share.value for share in shares] == [0.25, 0.25, 0.5]
    assert reasons == "OUT_OF_DISTRIBUTION 2"


def test_the_ages_stay_whatever_the_figures_because_no_normal_adult_is_there() -> None:
    """Specificity in adults is not measurable on this set: even a perfect sensitivity widens nothing."""
    perfect = [_answer(f"patient {number}", "ACCEPT", present=True) for number in range(100)]
    refused = [_answer(f"patient {number}", "REFUSE") for number in range(100)]
    for answers in (perfect, refused):
        assert "keep 0 to 17 years" in recommend(answers)[0]
    assert "100.0% [96.4%, 100.0%] are refused" in recommend(refused)[1]


def test_a_folder_without_the_set_is_an_error_with_a_code(tmp_path: Path) -> None:
    """No figure of nothing."""
    with pytest.raises(InvalidRequestError):
        list_radiographs(tmp_path)


@pytest.mark.data
def test_the_set_holds_the_patients_it_states(data_dir: Path) -> None:
    """194 images of 56 patients."""
    found = list_radiographs(data_dir / "chest_xray_covid_hannover")
    assert (len(found), len({one.patient for one in found})) == (194, 56)
