"""Listing the collected sets: patients from names, masks are no samples."""

from pathlib import Path

import pytest

from irmsia.datasets.grouping import group_samples
from irmsia.datasets.samples import STARTER_SOURCES, Sample, SourceLayout, list_samples, mask_paths, patient_of
from irmsia.errors import InvalidRequestError

LAYOUT = SourceLayout("busi", "breast", {"benign": "breast_benign_lesion", "normal": "normal"})


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person123_bacteria_456.jpeg", "person123"),
        ("person123_virus_9.jpeg", "person123"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("NORMAL2-IM-0501-0001.jpeg", "IM-0501"),
        ("NORMAL2-IM-0501-0001-0002.jpeg", "IM-0501"),
    ],
)
def test_patient_from_name(name: str, patient: str) -> None:
    """The published naming patterns give the patient."""
    assert patient_of(name) == patient


def test_unknown_name_is_an_error() -> None:
    """A name that tells no patient must not become a patient of its own silently."""
    with pytest.raises(InvalidRequestError):
        patient_of("scan_1.jpeg")


def test_masks_belong_to_samples_but_are_none(tmp_path: Path) -> None:
    """Masks are left out of the listing and found beside their image, all of them."""
    for name in ("benign/benign (1).png", "benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png"):
        (tmp_path / "busi" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "busi" / name).touch()
    (tmp_path / "busi/normal").mkdir()
    (tmp_path / "busi/normal/normal (1).png").touch()
    samples = list_samples(tmp_path, LAYOUT)
    assert [(sample.path, sample.term) for sample in samples] == [
        ("busi/benign/benign (1).png", "breast_benign_lesion"),
        ("busi/normal/normal (1).png", "normal"),
    ]
    masks = mask_paths(tmp_path / "busi/benign/benign (1).png")
    assert [path.name for path in masks] == ["benign (1)_mask.png", "benign (1)_mask_1.png"]


def test_missing_class_is_an_error(tmp_path: Path) -> None:
    """A set without one of its classes would train a network that never says it."""
    with pytest.raises(InvalidRequestError, match="benign"):
        list_samples(tmp_path, LAYOUT)


def test_patients_are_kept_and_others_clustered() -> None:
    """Grouping reads no pixels of samples whose patient is known."""
    import numpy as np

    picture = np.random.default_rng(1).integers(0, 255, (64, 64)).astype(np.uint8)
    samples = [
        Sample("a", "a/1", "chest", "normal", "p1"),
        Sample("b", "b/1", "brain", "normal"),
        Sample("b", "b/2", "brain", "glioma"),
    ]
    grouped = group_samples(samples, lambda sample: {"b": picture}[sample.source])
    assert [sample.group for sample in grouped] == ["p1", "b/1", "b/1"]


def test_real_sets_have_the_published_counts(data_dir: Path) -> None:
    """The three sets as the data folder's README counts them."""
    counts = {layout.name: len(list_samples(data_dir, layout)) for layout in STARTER_SOURCES}
    assert counts == {"chest_xray_pneumonia": 3000, "brain_mri_tumor": 3001, "breast_ultrasound_busi": 623}
