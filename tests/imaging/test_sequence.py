"""The contrast of an MR image is guessed, marked as a guess, and nothing of a description is given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from irmsia.imaging.read import inspect
from irmsia.imaging.sequence import LABELS, label_of_text, label_of_timing
from irmsia.imaging.types import ImageInfo, SequenceGuess
from tests.imaging.samples import LIMITS, make_dataset, write

_EMPTY = np.zeros((1, 4, 5, 1), np.int16)


def guess(**elements: Any) -> SequenceGuess | None:
    """The guess of an MR file with these elements."""
    dataset = make_dataset(_EMPTY, **{"Modality": "MR", **elements})
    return inspect(write(dataset), LIMITS).acquisition.sequence_guess


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("t1_mprage_sag_p2_iso", "T1"), ("AX T1 FSE +C", "T1"), ("T1W/SE/1024", "T1"), ("3D BRAVO", "T1"),
        ("SAG T1 FLAIR", "T1"), ("Ax T2 FLAIR", "FLAIR"), ("t2_tirm_tra_dark-fluid FLAIR", "FLAIR"),
        ("T2W_TSE", "T2"), ("AX T2 PROPELLER", "T2"), ("ep2d_diff_3scan_trace_ADC", "ADC"), ("ep2d_diff_b1000", "DWI"),
        ("DWI b0 b1000", "DWI"), ("Ax DTI 32 dir", "DWI"), ("STIR cor", "STIR"), ("SWI_Images", "T2_STAR"),
        ("3D TOF", "ANGIO"), ("Survey_MST", "LOCALIZER"), ("3-PLANE LOC", "LOCALIZER"), ("PD fs sag", "PD"),
        ("Axial EPI-FMRI", "BOLD"), ("T12 spine", None), ("T10-L2", None), ("", None), ("Dr. Platt, Lodz", None),
    ],
)  # fmt: skip
def test_words_of_descriptions(text: str, label: str | None) -> None:
    """Usual names of protocols; vertebrae and people are no contrasts."""
    assert label_of_text(text) == label


@pytest.mark.parametrize(
    ("scanning", "tr", "te", "ti", "label"),
    [
        ({"SE"}, 500, 12, None, "T1"), ({"SE"}, 4000, 100, None, "T2"), ({"SE"}, 3000, 20, None, "PD"),
        ({"SE", "IR"}, 9000, 120, 2500, "FLAIR"), ({"SE", "IR"}, 5000, 40, 160, "STIR"),
        ({"GR", "IR"}, 2300, 3, 900, "T1"), ({"GR"}, 30, 4, None, "T1"), ({"GR"}, 700, 25, None, "T2_STAR"),
        ({"EP", "GR"}, 3000, 30, None, "T2_STAR"), ({"EP", "SE"}, 6000, 90, None, "T2"), ({"SE"}, 1200, 50, None, None),
        (set(), 500, 12, None, None), ({"SE"}, None, 12, None, None), ({"SE"}, 500, None, None, None),
        ({"SE", "IR"}, 9000, 120, None, None),
    ],
)  # fmt: skip
def test_timings(scanning: set[str], tr: float | None, te: float | None, ti: float | None, label: str | None) -> None:
    """The weightings of text books; what lies between them is not guessed."""
    assert label_of_timing(scanning, tr=tr, te=te, ti=ti) == label


def test_what_is_stated_comes_before_words_and_words_before_timing() -> None:
    """Each source by itself and in its order, with the names of the attributes it rests on."""
    timing = {"ScanningSequence": "SE", "RepetitionTime": "500", "EchoTime": "12"}
    assert guess(**timing) == SequenceGuess("T1", ("ScanningSequence", "RepetitionTime", "EchoTime"))
    assert guess(**timing, ProtocolName="t2_tse") == SequenceGuess("T2", ("ProtocolName",))
    assert guess(**timing, SeriesDescription="flair", ProtocolName="t2") == SequenceGuess(
        "FLAIR", ("SeriesDescription",)
    )
    assert guess(**timing, SeriesDescription="t2", DiffusionBValue=800.0) == SequenceGuess("DWI", ("DiffusionBValue",))
    assert guess(DiffusionBValue=0.0, SeriesDescription="t2") == SequenceGuess("T2", ("SeriesDescription",))
    enhanced = {"AcquisitionContrast": "FLUID_ATTENUATED", "DiffusionBValue": 800.0}
    assert guess(**enhanced) == SequenceGuess("FLAIR", ("AcquisitionContrast",))
    assert guess(ImageType=["DERIVED", "PRIMARY", "ADC"]) == SequenceGuess("ADC", ("ImageType",))
    assert guess() is None
    assert guess(Modality="CT", SeriesDescription="t2") is None


def test_functional_groups_tell_as_well() -> None:
    """b-value, echo time, inversion time and contrast of enhanced objects stand in groups."""
    diffusion, echo, timing, group = Dataset(), Dataset(), Dataset(), Dataset()
    diffusion.DiffusionBValue = 1000.0
    echo.EffectiveEchoTime = 100.0
    timing.RepetitionTime = "4000"
    group.MREchoSequence, group.MRTimingAndRelatedParametersSequence = [echo], [timing]
    assert guess(SharedFunctionalGroupsSequence=[group], EchoPulseSequence="SPIN") == SequenceGuess(
        "T2", ("ScanningSequence", "RepetitionTime", "EchoTime")
    )
    group.MRDiffusionSequence = [diffusion]
    assert guess(SharedFunctionalGroupsSequence=[group]) == SequenceGuess("DWI", ("DiffusionBValue",))


@given(st.text(max_size=80))
def test_no_description_is_given_back(text: str) -> None:
    """Whatever stands in it, a label of the table comes out or nothing."""
    assert label_of_text(text) in {None, *LABELS}


def test_names_in_descriptions_stay_there() -> None:
    """A patient's name in both descriptions is nowhere in what is known of the image."""
    dataset = make_dataset(_EMPTY, Modality="MR", SeriesDescription="CANARY T1", ProtocolName="CANARY")
    info = inspect(write(dataset), LIMITS)
    assert info.acquisition.sequence_guess is not None
    assert "CANARY" not in repr(info)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("misc_pydicom/MR_small_RLE.dcm", "T2"),
        ("misc_pydicom/MR-SIEMENS-DICOM-WithOverlays.dcm", "T1"),
        ("misc_pydicom/emri_small.dcm", "T1"),
        ("misc_fodicom/GH064.dcm", "LOCALIZER"),
        ("misc_fodicom/mr.dcm", "LOCALIZER"),
        ("wg04_compression/MR2_REF.dcm", "T1"),
    ],
)
def test_real_files(data_dir: Path, name: str, label: str) -> None:
    """What their makers called them, or what their timing says."""
    info: ImageInfo = inspect((data_dir / "dicom" / name).read_bytes(), LIMITS)
    assert info.acquisition.sequence_guess is not None
    assert info.acquisition.sequence_guess.label == label
