"""Patients from names: the public sets that are known, and patterns of a user's, however bad."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.datasets.naming import MOST_NAME, MOST_PATTERN, Named, find_patients, name_of
from irmsia.errors import InvalidRequestError
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    """Children that may take a second."""
    with DecoderPool(1, ReadLimits(frame_seconds=1.0)) as pool:
        yield pool


@pytest.mark.parametrize(
    ("path", "patient", "study"),
    [
        ("train/PNEUMONIA/person123_bacteria_4.jpeg", "person123", None),
        ("PNEUMONIA/person123_virus_9.jpeg", "person123", None),
        ("PNEUMONIA/person447_virus_921_1.jpeg", "person447", None),
        ("NORMAL/IM-0115-0001.jpeg", "IM-0115", None),
        ("NORMAL/NORMAL2-IM-0501-0001-0002.jpeg", "IM-0501", None),
        ("TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1.tif", "TCGA-CS-4941", None),
        ("TCGA-CS-4941-01A-01-TS1.png", "TCGA-CS-4941", None),
        ("images_001/images/00000001_000.png", "00000001", None),
        ("files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg", "p10000032", "p10000032/s50414267"),
        ("train/patient00001/study1/view1_frontal.jpg", "patient00001", "patient00001/study1"),
        ("XR_WRIST/patient00011/study1_negative/image1.png", "patient00011", "patient00011/study1"),
        ("sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz", "sub-01", "sub-01/ses-02"),
        ("sub-OAS30001_T1w.nii.gz", "sub-OAS30001", None),
        ("BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1c.nii.gz", "BraTS-GLI-00000", "BraTS-GLI-00000/000"),
        ("BraTS2021_00002_flair.nii.gz", "BraTS2021_00002", None),
        ("BraTS20_Training_001/BraTS20_Training_001_flair.nii", "BraTS20_Training_001", None),
        ("HGG/Brats18_CBICA_AAB_1/Brats18_CBICA_AAB_1_seg.nii.gz", "Brats18_CBICA_AAB_1", None),
        ("OAS1_0001_MR1/OAS1_0001_MR1_mpr-1_anon.img", "OAS1_0001", "OAS1_0001/MR1"),
        ("ADNI_002_S_0295_MR_MP-RAGE.nii", "002_S_0295", None),
        ("IXI002-Guys-0828-T1.nii.gz", "IXI002", None),
        ("LIDC-IDRI-0001/01-01-2000/1-001.dcm", "LIDC-IDRI-0001", None),
        ("Calc-Test_P_00038_LEFT_CC/1-1.dcm", "P_00038", None),
        ("20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm", "6c613a14b80a8591", None),
        ("CHNCXR_0001_0.png", "CHNCXR_0001", None),
        ("SOB_B_A-14-22549AB-40-001.png", "14-22549AB", None),
        ("case_00000/imaging.nii.gz", "case_00000", None),
    ],
)
def test_names_of_public_sets(path: str, patient: str, study: str | None) -> None:
    """Each published way of naming files gives its patient, and the study where it has one."""
    assert name_of(path) == Named(patient, study)


@pytest.mark.parametrize(
    "path",
    ["ISIC_0000000.jpg", "benign (1).png", "Te-glTr_0000.jpg", "scan_1.jpeg", "1.png", "patient.png", "myIM-0115.png"],
)
def test_names_that_tell_no_patient(path: str) -> None:
    """A number of an image is no patient: a wrong one would let a patient stand on both sides of a split."""
    assert name_of(path) is None


@given(st.text(max_size=300))
def test_any_name_is_looked_at(path: str) -> None:
    """No name is too odd for the rules."""
    named = name_of(path)
    assert named is None or named.patient


def test_the_rules_take_no_longer_for_hostile_names() -> None:
    """Names that almost fit every rule, as long as names may be, cost no more than milliseconds."""
    pieces = ("person", "IM-0", "TCGA_CS_", "sub-a", "patient1/", "0_S_", "BraTS20_", "_MG_", "1", "_", "/")
    began = time.process_time()
    for piece in pieces:
        name_of((piece * 2000)[:2000])
    assert time.process_time() - began < 2.0


def test_a_users_pattern_names_patients(pool: DecoderPool) -> None:
    """The group named patient counts, else the first; it is searched in the path below the root."""
    paths = ["a/P01_1.png", "a/P01_2.png", "b/P7/x.png", "b/none.png"]
    for pattern in (r"(P\d+)", r"(a|b)/(?P<patient>P\d+)"):
        assert find_patients(pool.run, pattern, paths) == {
            "a/P01_1.png": "P01",
            "a/P01_2.png": "P01",
            "b/P7/x.png": "P7",
        }


def test_a_group_that_took_no_part_names_nobody(pool: DecoderPool) -> None:
    """Neither does an empty one, nor one too long to be a name."""
    assert find_patients(pool.run, r"x(P\d+)?", ["x.png", "xP1.png"]) == {"xP1.png": "P1"}
    assert find_patients(pool.run, r"(q*)", ["x.png"]) == {}
    assert find_patients(pool.run, r"(q+)", ["q" * (MOST_NAME + 1)]) == {}


@pytest.mark.parametrize("pattern", ["(", "[z-a](x)", "(?P<patient>", "no group", "", "(x)" * MOST_PATTERN, "(\ud800)"])
def test_a_pattern_that_is_none_is_refused(pool: DecoderPool, pattern: str) -> None:
    """With a typed error, before any file is looked at."""
    with pytest.raises(InvalidRequestError):
        find_patients(pool.run, pattern, [])


@pytest.mark.parametrize("pattern", [r"((a+)+)+$", r"(([a-z0-9_-]+)*)+!", r"(.*a){25}z"])
def test_a_catastrophic_pattern_ends_in_time(pool: DecoderPool, pattern: str) -> None:
    """The child that runs it is ended; the pool goes on."""
    began = time.monotonic()
    with pytest.raises(InvalidRequestError, match="too long"):
        find_patients(pool.run, pattern, ["a" * 60 + "b"])
    assert time.monotonic() - began < 20
    assert find_patients(pool.run, "(a)", ["a"]) == {"a": "a"}
