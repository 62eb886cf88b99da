"""Phantoms: the same bytes everywhere, marked, readable, and true."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from io import BytesIO

import numpy as np
import pydicom
import pytest

from irmsia.errors import InvalidRequestError
from irmsia.imaging.geometry import apply_orientation
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.phantoms import (
    GOLDEN_SEEDS,
    KINDS,
    LESIONS,
    PHANTOM_VERSION,
    QA_SEEDS,
    Phantom,
    make_phantom,
    phantom_training_stream,
    qa_set,
)
from irmsia.imaging.phantoms.hashing import Draws, mix, mix_array, smooth_noise, white_noise
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.imaging.read import read_image
from irmsia.imaging.voi import grey
from irmsia.imaging.window import VoiSpec
from tests.imaging.made import image_of_phantom

# SHA-256 over the files of seeds 100 to 111. It changes only with PHANTOM_VERSION, or golden records name other pixels.
QA_DIGEST = "d63862ae82b50048d996b98cfc8d2a02bf9619738be9f44a3b131c0ccc83d97c"


@pytest.fixture(scope="module")
def phantoms() -> tuple[Phantom, ...]:
    """Return the set of `irmsia qa`."""
    return qa_set()


def open_dataset(phantom: Phantom) -> pydicom.Dataset:
    """Return the file as pydicom reads it."""
    return pydicom.dcmread(BytesIO(phantom.data))


def seen(phantom: Phantom) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the picture 0..1."""
    return grey(image_of_phantom(phantom), 0, VoiSpec()).values


def test_qa_set_holds_every_kind_with_every_lesion(phantoms: tuple[Phantom, ...]) -> None:
    """Four modalities times none, bright, dark; and so do any 12 seeds in a row."""
    pairs = {(phantom.truth.kind, phantom.truth.lesion_kind) for phantom in phantoms}
    assert pairs == {(kind, lesion) for kind in KINDS for lesion in LESIONS}
    assert len(GOLDEN_SEEDS) >= 64 and not set(GOLDEN_SEEDS) & set(QA_SEEDS)
    assert max(*GOLDEN_SEEDS, *QA_SEEDS) < 1000


def test_bytes_are_those_of_this_version(phantoms: tuple[Phantom, ...]) -> None:
    """Any machine, any numpy, any run: changed bytes are a new PHANTOM_VERSION."""
    assert PHANTOM_VERSION == "1"
    assert hashlib.sha256(b"".join(phantom.data for phantom in phantoms)).hexdigest() == QA_DIGEST


def test_another_process_makes_the_same_bytes(phantoms: tuple[Phantom, ...]) -> None:
    """Nothing depends on hash seeds, time or order."""
    code = (
        "import hashlib; from irmsia.imaging.phantoms import make_phantom;"
        "print(hashlib.sha256(make_phantom(101).data).hexdigest())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == hashlib.sha256(phantoms[1].data).hexdigest()


def test_noise_is_a_hash_of_integers() -> None:
    """SplitMix64's published first output for seed 0, scalar and array alike; noise is standardised."""
    assert mix(0) == 0xE220A8397B1DCDAF
    assert [int(value) for value in mix_array(np.arange(5, dtype=np.uint64))] == [mix(value) for value in range(5)]
    noise = white_noise(3, 200, 200)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    smooth = smooth_noise(3, 50, 70, cell=9.5)
    assert smooth.shape == (50, 70) and np.abs(smooth).max() <= 1
    assert all(2 <= Draws(9).uniform(2, 3) < 3 for _ in range(9))


def test_files_are_marked_as_our_test_objects(phantoms: tuple[Phantom, ...]) -> None:
    """Rule 3: QualityControlSubject and the private creator with the version; nobody's name, no dates."""
    for phantom in phantoms:
        dataset = open_dataset(phantom)
        assert dataset[0x0010, 0x0200].value == "YES"
        assert (dataset[0x0019, 0x0010].value, dataset[0x0019, 0x1001].value) == ("IRMSIA", PHANTOM_VERSION)
        assert (dataset.PatientName, dataset.PatientID) == ("IRMSIA^PHANTOM", f"PHANTOM-{phantom.truth.seed}")
        assert not dataset.PatientBirthDate and not dataset.StudyDate
        assert dataset.SOPInstanceUID.startswith("2.25.") and dataset.SOPInstanceUID.is_valid


def test_uids_tell_phantoms_apart() -> None:
    """One instance a file, one study a seed."""
    made = [open_dataset(make_phantom(5, "US", lesion)) for lesion in LESIONS] + [open_dataset(make_phantom(6, "US"))]
    assert len({dataset.SOPInstanceUID for dataset in made}) == 4
    assert len({dataset.StudyInstanceUID for dataset in made}) == 2


def test_files_hold_what_their_modality_holds(phantoms: tuple[Phantom, ...]) -> None:
    """16 bits where the modality has them, CT signed with HU, X-ray 12 to 14 bits and not square, ultrasound 8 bits."""
    for phantom in phantoms:
        dataset, kind = open_dataset(phantom), phantom.truth.kind
        assert dataset.Modality == kind and dataset.pixel_array.shape == (dataset.Rows, dataset.Columns)
        assert 256 <= dataset.Columns <= 512 and 256 <= dataset.Rows <= 512
        assert dataset.BitsAllocated == (8 if kind == "US" else 16)
        if kind == "CT":
            assert dataset.PixelRepresentation == 1 and dataset.RescaleIntercept == -1024
            assert dataset.pixel_array[0, 0] == dataset.PixelPaddingValue == -2000
            assert -1100 < dataset.pixel_array[dataset.Rows // 2, 2] - 1024 < -900  # air
        if kind == "DX":
            assert 12 <= dataset.BitsStored <= 14 and dataset.Rows > dataset.Columns
            assert dataset.pixel_array.max() < 2**dataset.BitsStored


def test_x_ray_comes_in_both_photometric_interpretations() -> None:
    """MONOCHROME1 with its INVERSE shape and MONOCHROME2 are mixed, and both look alike: a dark corner, a bright F."""
    made = [make_phantom(seed, "DX", "none") for seed in range(8)]
    kinds = [(open_dataset(p).PhotometricInterpretation, open_dataset(p).PresentationLUTShape) for p in made]
    assert set(kinds) == {("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")}
    for phantom in made:
        picture = seen(phantom)
        rows, columns = picture.shape
        assert picture[0, 0] < 0.15 and picture[int(0.1 * rows), int(0.055 * columns)] > 0.9


def test_spacing_and_orientation_are_in_the_tags(phantoms: tuple[Phantom, ...]) -> None:
    """Truth and tags agree to the last decimal; the lesion's position follows from them."""
    for phantom in phantoms:
        dataset, geometry = open_dataset(phantom), phantom.truth.geometry
        if phantom.truth.kind == "US":
            region = dataset.SequenceOfUltrasoundRegions[0]
            assert (region.PhysicalDeltaY * 10, region.PhysicalDeltaX * 10) == pytest.approx(geometry.spacing_mm)
            continue
        tag = dataset.ImagerPixelSpacing if phantom.truth.kind == "DX" else dataset.PixelSpacing
        assert tuple(map(float, tag)) == geometry.spacing_mm
        if phantom.truth.kind in ("CT", "MR"):
            cosines = tuple(map(float, dataset.ImageOrientationPatient))
            assert cosines == (*geometry.row_cosine, *geometry.column_cosine)  # type: ignore[misc]
            np.testing.assert_allclose([float(v) for v in dataset.ImagePositionPatient], geometry.position, atol=1e-6)
            _check_position(phantom, dataset)
        if phantom.truth.kind == "MR":
            assert geometry.spacing_mm[0] != geometry.spacing_mm[1], "a swap of the axes would not show"


def _check_position(phantom: Phantom, dataset: pydicom.Dataset) -> None:
    lesion = phantom.truth.lesion
    if lesion is None:
        return
    cosines = np.array([float(v) for v in dataset.ImageOrientationPatient])
    start = np.array([float(v) for v in dataset.ImagePositionPatient])
    expected = start + cosines[:3] * lesion.column_mm + cosines[3:] * lesion.row_mm
    np.testing.assert_allclose(lesion.position_mm, expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(0, 48, 5))
@pytest.mark.parametrize("kind", KINDS)
def test_lesions_are_where_and_what_the_truth_says(seed: int, kind: str) -> None:
    """Against its twin without lesion: changed inside the disc, brighter or darker as seen, untouched outside."""
    bare = seen(make_phantom(seed, kind, "none"))  # type: ignore[arg-type]
    for lesion_kind, sign in (("bright", 1), ("dark", -1)):
        phantom = make_phantom(seed, kind, lesion_kind)  # type: ignore[arg-type]
        lesion = phantom.truth.lesion
        assert lesion is not None and phantom.truth.expected_term == f"phantom_lesion_{lesion_kind}"
        change = sign * (seen(phantom) - bare)
        rows, columns = np.indices(bare.shape)
        distance = np.hypot((rows - lesion.row) / lesion.row_radius, (columns - lesion.column) / lesion.column_radius)
        assert change[distance < 0.8].mean() > 0.2
        assert np.abs(change[distance > 1.2]).max() < 1e-6
        assert lesion.row_radius >= 0.05 * max(bare.shape)
        ring = (distance > 1.3) & (distance < 1.8)
        inside = seen(phantom)[distance < 0.8].mean()
        assert sign * (inside - np.median(seen(phantom)[ring])) > 0.15
        assert lesion.radius_mm == pytest.approx(lesion.column_radius * phantom.truth.geometry.spacing_mm[1], rel=1e-9)
        assert lesion.holds(lesion.row, lesion.column + 0.9 * lesion.column_radius)
        assert not lesion.holds(lesion.row + 1.5 * lesion.row_radius, lesion.column)
        assert lesion.holds(lesion.row + 1.5 * lesion.row_radius, lesion.column, margin_rows=lesion.row_radius)


def test_no_mirror_and_no_turn_goes_unnoticed(phantoms: tuple[Phantom, ...]) -> None:
    """Each of the seven other orientations changes the picture by far more than the noise."""
    for phantom in phantoms:
        picture = PreprocessSpec().apply(image_of_phantom(phantom), 0).tensor[0]
        for orientation in range(2, 9):
            turned = apply_orientation(picture, orientation)
            assert np.abs(turned - picture).mean() > 0.1


def test_phantoms_are_never_blank_and_our_reader_reads_them(phantoms: tuple[Phantom, ...]) -> None:
    """The whole reading path gives the digest, the spacing, the marks and the tensor that the truth promises."""
    for phantom in phantoms:
        image = read_image(phantom.data, ReadLimits())
        truth = phantom.truth
        assert image.info.frame_sha256 == (truth.frame_sha256,)
        assert (image.info.qc_subject, image.info.phantom_version) == (True, PHANTOM_VERSION)
        assert (image.info.spacing.row_mm, image.info.spacing.column_mm) == pytest.approx(truth.geometry.spacing_mm)
        ours, theirs = (PreprocessSpec().apply(found, 0) for found in (image, image_of_phantom(phantom)))
        np.testing.assert_array_equal(ours.tensor, theirs.tensor)
        assert not ours.blank


def test_training_never_sees_the_seeds_of_checks() -> None:
    """Seeds below 1000 are refused for training; the stream holds kinds and lesions in equal shares."""
    with pytest.raises(InvalidRequestError):
        phantom_training_stream(999, 1)
    made = list(phantom_training_stream(1000, 12))
    assert len({(phantom.truth.kind, phantom.truth.lesion_kind) for phantom in made}) == 12
    assert len({phantom.name for phantom in made}) == 12
    with pytest.raises(InvalidRequestError):
        make_phantom(-1)


@pytest.mark.slow
def test_every_seed_finds_room_for_its_lesion() -> None:
    """Hundreds of seeds of every kind."""
    for seed in range(1000, 1200):
        for kind in KINDS:
            make_phantom(seed, kind)
