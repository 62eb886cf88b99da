"""Samples of the collected sets: which files there are, what each is labelled, which patient it belongs to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from irmsia.errors import InvalidRequestError

_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_PATIENT = re.compile(r"(person\d+|IM-\d+)")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image.

    Attributes:
        source: the set's folder name; groups never cross sources.
        path: below the data folder, with forward slashes.
        region: the label group that learns from it.
        term: its label, a term of that group.
        group: patient or near-duplicate cluster within the source; empty until known.
    """

    source: str
    path: str
    region: str
    term: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """How a collected set lies on disk: one folder a class.

    Attributes:
        name: the set's folder.
        region: region of every image of it.
        terms: class folder -> term.
        has_patients: file names tell the patient; else near-duplicates have to be clustered.
    """

    name: str
    region: str
    terms: dict[str, str]
    has_patients: bool = False


STARTER_SOURCES: tuple[SourceLayout, ...] = (
    SourceLayout("chest_xray_pneumonia", "chest", {"NORMAL": "normal", "PNEUMONIA": "pneumonia"}, has_patients=True),
    SourceLayout(
        "brain_mri_tumor",
        "brain",
        {"notumor": "normal", "glioma": "glioma", "meningioma": "meningioma", "pituitary": "pituitary_tumor"},
    ),
    SourceLayout(
        "breast_ultrasound_busi",
        "breast",
        {"normal": "normal", "benign": "breast_benign_lesion", "malignant": "breast_malignant_lesion"},
    ),
)


def list_samples(data: Path, layout: SourceLayout) -> list[Sample]:
    """Return the images of one set, sorted by path; lesion masks (``*_mask*``) are no samples.

    Raises:
        InvalidRequestError: a class folder is missing or holds no image.
    """
    samples = []
    for folder, term in layout.terms.items():
        found = [_sample(layout, path.relative_to(data), term) for path in _images(data / layout.name / folder)]
        if not found:
            raise InvalidRequestError(f"no images of class {folder} in set {layout.name}")
        samples.extend(found)
    return sorted(samples, key=lambda sample: sample.path)


def patient_of(name: str) -> str:
    """Return the patient that a file name of the paediatric chest set tells.

    ``person123_bacteria_456.jpeg`` -> ``person123``; ``NORMAL2-IM-0501-0001.jpeg`` -> ``IM-0501``. The same person
    number with ``bacteria`` and with ``virus`` counts as one patient: wrongly joined is safe, wrongly parted leaks.

    Raises:
        InvalidRequestError: the name follows neither pattern.
    """
    found = _PATIENT.search(name)
    if found is None:
        raise InvalidRequestError("a file name of the chest set tells no patient")
    return found.group(1)


def mask_paths(image: Path) -> list[Path]:
    """Return the lesion masks beside an image: ``benign (1).png`` -> ``benign (1)_mask.png``, ``_mask_1`` ..."""
    return sorted(path for path in image.parent.glob(f"{_escape(image.stem)}_mask*") if path.is_file())


def _images(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.suffix.lower() in _IMAGE_SUFFIXES and "_mask" not in path.stem:
            yield path


def _sample(layout: SourceLayout, path: Path, term: str) -> Sample:
    group = patient_of(path.name) if layout.has_patients else ""
    return Sample(source=layout.name, path=path.as_posix(), region=layout.region, term=term, group=group)


def _escape(stem: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", stem)
