"""The study of foreign images: families, the refusal score, its figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.foreign import Answered, refusal_score, separation, tables_of
from benchmarks.foreign_families import (
    ABDOMEN,
    CT_HEAD,
    EPI,
    FOREIGN,
    MADE,
    OTHER,
    OTHER_CT,
    OWN_ELSEWHERE,
    SEGMENTATION,
    ULTRASOUND,
    dicom_images,
    family_of,
    group_of,
    noise_images,
    photographs,
    text_pages,
)
from benchmarks.study import read
from irmsia.findings.decision import CaseFacts, decide
from irmsia.findings.types import Decision
from irmsia.imaging.types import Identity, ImageInfo
from tests.findings.cases import TERMS, make_outputs, make_rules, make_scorer

RULES, SCORER = make_rules(), make_scorer()


@pytest.mark.parametrize(
    ("path", "modality", "family"),
    [
        ("dicom/ct_head_gantry_tilt/01.dcm", "CT", CT_HEAD),
        ("dicom/more_dcm_qa_nih/mr_0004_epi/x.dcm", "MR", EPI),
        ("dicom/wg04_compression/MR1_J2KI.dcm", "MR", OWN_ELSEWHERE),
        ("dicom/misc_pydicom/explicit_VR-UN.dcm", "CT", ABDOMEN),
        ("dicom/misc_pydicom/CT_small.dcm", "CT", OTHER_CT),
        ("dicom/wg04_compression/US1_REF.dcm", "US", ULTRASOUND),
        ("dicom/misc_pydicom/liver.dcm", "SEG", SEGMENTATION),
        ("dicom/wg04_compression/NM1_REF.dcm", "NM", OTHER),
        ("dicom/misc_pydicom/JLSL_RGB_ILV0.dcm", None, OTHER),
    ],
)
def test_family_follows_folder_then_picture_then_modality(path: str, modality: str | None, family: str) -> None:
    """Each DICOM file stands in one family."""
    assert family_of(Path(path), ImageInfo(modality=modality)) == family


def test_slices_of_a_series_and_encodings_of_a_picture_are_one_group() -> None:
    """A series of 28 slices, or one picture in eight encodings, is one draw."""
    series = ImageInfo(identity=Identity(series_instance_uid="1.2.3"))
    assert group_of(Path("ct_head_gantry_tilt/01.dcm"), series) == group_of(Path("ct_head_gantry_tilt/28.dcm"), series)
    first, second = (Path(f"wg04_compression/CT1_{ending}.dcm") for ending in ("JLSL", "RLE"))
    assert group_of(first, series) == group_of(second, ImageInfo()) == "CT1"


@pytest.mark.parametrize("certainty", [0.7, 0.79, 0.81, 0.99])
@pytest.mark.parametrize("statistic", [0.5, 1.9, 2.1, 40.0])
@pytest.mark.parametrize("region", ["chest", "brain", "breast", "phantom"])
def test_score_above_one_is_what_rules_5_and_6_refuse(region: str, certainty: float, statistic: float) -> None:
    """The score's 1 is the frozen threshold: score and decision never differ."""
    even = (1 / len(TERMS[region]),) * len(TERMS[region])
    outputs = make_outputs(region, even, certainty=certainty, statistics=(0.5, 0.5, statistic))
    refused = decide(RULES, SCORER, CaseFacts(), outputs).decision is Decision.REFUSE
    assert (refusal_score(RULES, SCORER, outputs) > 1) == refused


def test_a_blank_picture_scores_infinitely() -> None:
    """Rule 2 refuses before the network is asked."""
    outputs = make_outputs("chest", (0.9, 0.1))
    assert refusal_score(RULES, SCORER, outputs, blank=True) == float("inf")


def _answers(family: str, scores: list[float], groups: int) -> list[Answered]:
    return [
        Answered(family, f"{family}{number % groups}", "BLANK" if score > 1 else None, score, name=f"file {number}")
        for number, score in enumerate(scores)
    ]


def test_separation_counts_pairs_and_its_interval_counts_groups() -> None:
    """Half of the pairs in order is .5; a perfect order is bounded by the fewer groups; one series has no interval."""
    own = _answers("chest", [0.2, 0.4, 0.6, 0.8], 4)
    assert separation(_answers(CT_HEAD, [0.5, 0.5], 2), own).value == 0.5
    perfect = separation(_answers(CT_HEAD, [2.0, 3.0, 4.0], 3), own)
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.025 ** (1 / 3))
    assert separation(_answers(CT_HEAD, [2.0, 3.0], 1), own).low is None


def test_tables_print_missed_goals_and_the_files_that_passed() -> None:
    """A family below its goal says MISSED and names what was let through."""
    own = _answers("chest", [0.1, 0.3], 2)
    pixels, _, passed, false, _ = tables_of(_answers(CT_HEAD, [0.2, 3.0, 4.0], 1), own, [])
    row = next(row for row in pixels.rows if row[0] == CT_HEAD)
    assert row[1:3] == (3, 1)
    assert row[4] == "MISSED"
    assert passed.rows == [(CT_HEAD, 1, 3, "file 0")]
    assert false.rows[0][3].value == 0.0


def test_made_pictures_are_the_same_each_time_and_readable() -> None:
    """Text, noise and photographs need no file of the data folder; two photographs are two groups."""
    made = [*text_pages(3), *noise_images(1), *photographs()]
    again = [*text_pages(3), *noise_images(1), *photographs()]
    assert [one.png for one in made] == [one.png for one in again]
    assert len({one.png for one in made}) == len(made)
    groups = Counter(one.family for one in {image.group: image for image in made}.values())
    assert groups == dict(zip(MADE, (2, 3, 10), strict=True))
    assert all(read(one.png).info.format == "PNG" for one in made)


@pytest.mark.data
def test_every_family_of_the_data_folder_is_there(data_dir: Path) -> None:
    """Each family that goals speak of holds pictures; equal pixels are asked once."""
    images = list(dicom_images(data_dir / "dicom" / "wg04_compression", read))
    assert {one.group for one in images} == {"CT1", "MR1", "MR2", "NM1", "RG1", "SC1", "US1", "VL1"}
    assert len(images) < 45
    assert {one.family for one in images} & set(FOREIGN) == {OTHER_CT, "other MR", ULTRASOUND, OTHER}
