"""The packaged starter through the commands: phantoms, its golden records, real images of each set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from irmsia.app.same import first_inequivalence
from irmsia.findings.types import Diagnosis
from irmsia.wire.json import diagnosis_from_json
from tests.e2e.conftest import Platform

SETS = {
    "chest": "chest_xray_pneumonia/PNEUMONIA",
    "brain": "brain_mri_tumor/glioma",
    "breast": "breast_ultrasound_busi/malignant",
}


def _first(data: Path, folder: str) -> Path:
    return next(path for path in sorted((data / folder).iterdir()) if "_mask" not in path.name)


def _answers(platform: Platform, *arguments: str | Path) -> list[Diagnosis]:
    result = platform.run("diagnose", "--json", *arguments)
    assert result.returncode == 0, result.stderr + result.stdout
    return [diagnosis_from_json(json.loads(line)) for line in result.stdout.splitlines()]


def test_qa_passes_through_every_door(starter: Platform) -> None:
    """`irmsia qa` beside a running server: every phantom, both doors, every check."""
    starter.serve()
    result = starter.run("qa", "--json")
    reports: list[dict[str, Any]] = [json.loads(line) for line in result.stdout.splitlines()]
    assert [report["faults"] for report in reports if not report["ok"]] == []
    assert all(
        set(report["decisions"]) == {"process", "grpc", "grpc-stream", "grpc-batch", "rest"} for report in reports
    )
    assert result.returncode == 0


def test_the_starter_answers_here_as_it_was_trained(starter: Platform) -> None:
    """Its golden phantoms are made, read and inferred again; real images that are not at hand fail nothing."""
    result = starter.run("models", "verify", "--json")
    reports = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0, reports
    assert reports and all(report["pass"] >= 64 for report in reports)


@pytest.mark.data
@pytest.mark.slow
def test_the_starter_answers_real_images_as_it_was_trained(starter: Platform, data_dir: Path) -> None:
    """With the data folder at hand nothing is left unchecked."""
    result = starter.run("models", "verify", "--json", "--data", data_dir)
    reports = [json.loads(line) for line in result.stdout.splitlines()]
    assert {(report["ok"], report["not_checked"]) for report in reports} == {(True, 0)}


@pytest.mark.data
def test_a_real_image_of_each_set_is_answered_through_grpc(starter: Platform, data_dir: Path) -> None:
    """No set is foreign to the model: its region is found and it is not refused."""
    _, target = starter.serve()
    files = [_first(data_dir, folder) for folder in SETS.values()]
    answers = _answers(starter, *files, "--server", target)
    assert [answer.region for answer in answers] == list(SETS)
    assert all(answer.findings and answer.decision != "REFUSE" for answer in answers)


@pytest.mark.data
def test_a_ct_head_series_is_refused(starter: Platform, data_dir: Path) -> None:
    """Outside the intended use: every slice, by rule 4."""
    answers = _answers(starter, data_dir / "dicom" / "ct_head_gantry_tilt")
    assert len(answers) == 28
    assert {(answer.decision, answer.reason, answer.rule) for answer in answers} == {("REFUSE", "WRONG_MODALITY", 4)}


@pytest.mark.data
def test_encodings_of_one_picture_get_equivalent_answers(starter: Platform, data_dir: Path, tmp_path: Path) -> None:
    """A chest JPEG and the PNG made of it: equivalent answers, one frame digest."""
    jpeg = _first(data_dir, SETS["chest"])
    png = tmp_path / "chest.png"
    cv2.imwrite(str(png), _decode(starter, jpeg, tmp_path))
    first, second = _answers(starter, jpeg, png)
    assert first_inequivalence(first, second) is None
    assert first.evidence is not None
    assert second.evidence is not None
    assert first.evidence.frame_sha256 == second.evidence.frame_sha256


@pytest.mark.data
def test_a_monochrome1_twin_gets_an_equivalent_answer(starter: Platform, data_dir: Path, tmp_path: Path) -> None:
    """Stored values turned round under MONOCHROME1 are the same picture."""
    pixels = _decode(starter, _first(data_dir, SETS["chest"]), tmp_path)
    plain, turned = tmp_path / "plain.dcm", tmp_path / "turned.dcm"
    _write_dicom(plain, pixels, "MONOCHROME2")
    _write_dicom(turned, 255 - pixels, "MONOCHROME1")
    first, second = _answers(starter, plain, turned)
    assert first.decision is not None
    assert first_inequivalence(first, second) is None


def _decode(platform: Platform, file: Path, folder: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The grey picture of a file as the platform itself decodes it: decoders differ by a grey level or two."""
    out = folder / "decoded.png"
    assert platform.run("image", "show", file, "--out", out).returncode == 0
    pixels: np.ndarray[Any, np.dtype[np.uint8]] = cv2.imread(str(out), cv2.IMREAD_UNCHANGED).astype(np.uint8)
    return pixels


def _write_dicom(path: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]], photometric: str) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", generate_uid(entropy_srcs=["twin"])
    dataset.Modality, dataset.BodyPartExamined, dataset.PatientAge = "DX", "CHEST", "004Y"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.WindowCenter, dataset.WindowWidth = "128", "256"
    dataset.add_new(0x7FE00010, "OB", pixels.tobytes() + b"\0" * (pixels.size % 2))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
