"""What the stand-ins hold: three small collections of phantoms, the same bytes on every machine."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset

from irmsia.imaging.phantoms import PhantomKind, make_phantom

_EVERY = 6
"""One pixel of so many, each way: an instance of some 10 kB."""


@dataclass(frozen=True, slots=True)
class Licence:
    """As the sources name one."""

    name: str
    url: str


CC_BY_3 = Licence("CC BY 3.0", "https://creativecommons.org/licenses/by/3.0/")
CC_BY_4 = Licence("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/")
CC_BY_NC_4 = Licence("CC BY-NC 4.0", "https://creativecommons.org/licenses/by-nc/4.0/")


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM file.

    Attributes:
        uid: its SOPInstanceUID.
        uuid: its name in IDC.
        data: the file.
    """

    uid: str
    uuid: str
    data: bytes

    @property
    def md5(self) -> str:
        """Of the file, hex."""
        return hashlib.md5(self.data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Series:
    """One series with what the catalogues say of it. ``bucket`` is where IDC keeps it, null where it does not."""

    uid: str
    uuid: str
    study: str
    patient: str
    collection: str
    modality: str
    body_part: str | None
    description: str
    licence: Licence
    doi: str
    bucket: str | None
    instances: tuple[Instance, ...]

    @property
    def size(self) -> int:
        """Bytes of all instances."""
        return sum(len(instance.data) for instance in self.instances)

    @property
    def idc_collection(self) -> str:
        """The collection's name in IDC."""
        return self.collection.lower().replace("-", "_").replace(" ", "_")


@dataclass(frozen=True, slots=True)
class Plan:
    """A series to make."""

    collection: str
    patient: str
    study: int
    kind: PhantomKind
    body_part: str | None
    licence: Licence
    doi: str
    bucket: str | None
    count: int = 3


LUNG, BRAIN, BREAST = "Phantom-Lung", "Phantom-Brain", "Phantom-Breast"
_LUNG, _BRAIN, _BREAST = "10.5072/phantom.lung", "10.5072/phantom.brain", "10.5072/phantom.breast"
_PLANS = (
    Plan(LUNG, "PL-001", 1, "CT", "CHEST", CC_BY_4, _LUNG, "idc-open-data", 5),
    Plan(LUNG, "PL-001", 2, "CT", "CHEST", CC_BY_4, _LUNG, "idc-open-data"),
    Plan(LUNG, "PL-001", 2, "DX", "CHEST", CC_BY_NC_4, _LUNG, "idc-open-data-two", 1),
    Plan(LUNG, "PL-002", 1, "CT", "CHEST", CC_BY_4, _LUNG, "idc-open-data"),
    Plan(LUNG, "PL-003", 1, "CT", "ABDOMEN", CC_BY_4, _LUNG, "idc-open-data", 2),
    Plan(LUNG, "PL-003", 2, "MR", None, CC_BY_4, _LUNG, "idc-open-data", 2),
    Plan(BRAIN, "PB 001", 1, "MR", "BRAIN", CC_BY_3, _BRAIN, "idc-open-data", 4),
    Plan(BRAIN, "PB 002", 1, "MR", "BRAIN", CC_BY_3, _BRAIN, "idc-open-data-two", 2),
    Plan(BREAST, "PX=1", 1, "US", "BREAST", CC_BY_NC_4, _BREAST, "idc-open-data", 2),
    Plan(BREAST, "PX=2", 1, "US", "BREAST", CC_BY_NC_4, _BREAST, "idc-open-data-cr", 2),
    Plan("Phantom-Only-TCIA", "PT-001", 1, "CT", "CHEST", CC_BY_4, "10.5072/phantom.tcia", None, 4),
)


@cache
def collections() -> tuple[Series, ...]:
    """All series, made once a process."""
    return tuple(_make_series(number, plan) for number, plan in enumerate(_PLANS, 1))


def of_collection(name: str, series: Iterable[Series] | None = None) -> tuple[Series, ...]:
    """The series of one collection, by its name at TCIA."""
    return tuple(one for one in (collections() if series is None else series) if one.collection == name)


def _make_series(number: int, plan: Plan) -> Series:
    study = _uid("study", plan.collection, plan.patient, plan.study)
    uid = _uid("series", number)
    instances = tuple(_make_instance(plan, number, index, study, uid) for index in range(1, plan.count + 1))
    return Series(
        uid=uid,
        uuid=_uuid("series", number),
        study=study,
        patient=plan.patient,
        collection=plan.collection,
        modality=plan.kind,
        body_part=plan.body_part,
        description=f"phantom {number}",
        licence=plan.licence,
        doi=plan.doi,
        bucket=plan.bucket,
        instances=instances,
    )


def _make_instance(plan: Plan, number: int, index: int, study: str, series: str) -> Instance:
    dataset = pydicom.dcmread(BytesIO(_phantom(plan.kind)))
    _thin(dataset, seed=number * 100 + index)
    uid = _uid("instance", number, index)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientID, dataset.InstanceNumber = plan.patient, str(index)
    dataset.BodyPartExamined = plan.body_part or ""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return Instance(uid, _uuid("instance", number, index), buffer.getvalue())


@cache
def _phantom(kind: PhantomKind) -> bytes:
    return make_phantom(1, kind, "bright").data


def _thin(dataset: Dataset, seed: int) -> None:
    """Every sixth pixel, and one whose value makes each instance another."""
    stored = dataset.pixel_array[::_EVERY, ::_EVERY].copy()
    stored.flat[seed % stored.size] += 1
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)


def _uid(*parts: object) -> str:
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _uuid(*parts: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "|".join(map(str, parts))))
