"""Records as tests need them: of files that are nowhere, and of real pictures."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from irmsia.datasets.duplicates import difference_hash, perceptual_hash
from irmsia.datasets.record import Intensities, LabelSource, PatientSource, Record, Told

_number = itertools.count()


def make_record(path: str | None = None, **changes: Any) -> Record:
    """A valid record unlike any other; ``changes`` are its fields."""
    number = next(_number)
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    plain = Record(
        path=path or f"{number}.png",
        size=1000 + number % 7,
        modified_ns=number,
        sha256=digest,
        pixels_sha256=digest,
        perceptual_hash=digest[:16],
        difference_hash=digest[::-1],
        format="PNG",
        modality=Told("X-RAY", "folder name", 0.9),
        region=Told("chest", "folder name", 0.9),
        frames=1,
        rows=100,
        columns=80,
        samples=1,
        dtype="uint8",
        intensities=Intensities(0.0, 255.0, 100.0, 30.0),
        label="normal",
        label_source=LabelSource.FOLDER,
        source="one",
    )
    return replace(plain, **changes)


SETS = {
    "breast_ultrasound_busi": ("ULTRASOUND", "breast"),
    "chest_xray_pneumonia": ("X-RAY", "chest"),
    "brain_mri_tumor": ("MRI", "brain"),
}


def read_records(data: Path, name: str, *, each: int | None = None) -> list[Record]:
    """Records of one of the real sets, of its first ``each`` images a class."""
    found = []
    for folder in sorted(path for path in (data / name).iterdir() if path.is_dir()):
        images = sorted(path for path in folder.iterdir() if "_mask" not in path.stem)
        found += [_read(path, data / name, name) for path in images[:each]]
    return found


def _read(path: Path, root: Path, name: str) -> Record:
    content = path.read_bytes()
    grey = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    pixels = np.asarray(grey, np.uint8)
    person = re.search(r"person\d+|IM-\d+", path.name) if "chest" in name else None
    modality, region = SETS[name]
    return Record(
        path=path.relative_to(root).as_posix(),
        size=len(content),
        modified_ns=0,
        sha256=hashlib.sha256(content).hexdigest(),
        pixels_sha256=hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest(),
        perceptual_hash=f"{perceptual_hash(pixels):016x}",
        difference_hash=f"{difference_hash(pixels):064x}",
        format="PNG" if path.suffix == ".png" else "JPEG",
        modality=Told(modality, "folder name", 0.9),
        region=Told(region, "folder name", 0.9),
        frames=1,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples=1,
        dtype="uint8",
        intensities=Intensities(*(float(value) for value in (pixels.min(), pixels.max(), pixels.mean(), pixels.std()))),
        patient=person[0] if person else None,
        patient_source=PatientSource.NAME if person else None,
        label=path.parent.name,
        label_source=LabelSource.FOLDER,
        source=name,
    )
