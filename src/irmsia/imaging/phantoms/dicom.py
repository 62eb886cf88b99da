"""Phantoms as DICOM files: the same bytes on every machine, marked as test objects, with no patient."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from irmsia.imaging.phantoms.truth import PHANTOM_VERSION, Geometry, LesionKind, PhantomKind

PRIVATE_GROUP = 0x0019
PRIVATE_CREATOR = "IRMSIA"
VERSION_ELEMENT = 0x01

_SOP_CLASSES: dict[PhantomKind, str] = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How display values become stored values: stored = round(low + display * (high - low)), kept within the bits.

    ``low`` and ``high`` are modality values at the ends of the file's LINEAR window; ``intercept``: stored to modality.
    ``inverted``: MONOCHROME1, stored from its largest value downwards. ``padding``: stored value of corners, or null.
    """

    low: float
    high: float
    bits: int
    allocated: int = 16
    signed: bool = False
    intercept: int = 0
    inverted: bool = False
    padding: int | None = None

    @property
    def window(self) -> tuple[float, float]:
        """Center and width by which ``low`` is black and ``high`` is white (DICOM PS3.3 C.11.2.1.2.1)."""
        low, high = self.low, self.high
        if self.inverted:
            low, high = 2**self.bits - 1 - high, 2**self.bits - 1 - low
        return (low + high) / 2.0 + 0.5, high - low + 1.0

    def store(self, display: NDArray[np.float64]) -> NDArray[Any]:
        """Display values (rows, columns) -> stored values, little-endian."""
        half = 1 << (self.bits - 1)
        least, most = (-half, half - 1) if self.signed else (0, 2 * half - 1)
        values = np.rint(self.low + display * (self.high - self.low) - self.intercept)
        stored = np.clip(values, least, most)
        if self.inverted:
            stored = most - stored
        return stored.astype(f"<{'i' if self.signed else 'u'}{self.allocated // 8}")


def write_dicom(
    stored: NDArray[Any], geometry: Geometry, encoding: Encoding, *, seed: int, kind: PhantomKind, lesion: LesionKind
) -> bytes:
    """The whole file."""
    dataset = Dataset()
    _describe_object(dataset, seed, kind, lesion)
    _describe_pixels(dataset, stored, encoding)
    _describe_place(dataset, geometry, kind)
    _MODULES[kind](dataset, seed)
    _mark(dataset)
    dataset.file_meta = _file_meta(dataset)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def make_uid(*parts: object) -> str:
    """A UID under 2.25 that depends on the generator's version and ``parts`` alone (DICOM PS3.5 B.2)."""
    text = "|".join(str(part) for part in ("irmsia-phantom", PHANTOM_VERSION, *parts))
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}"


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(make_uid("implementation"))
    meta.ImplementationVersionName = f"IRMSIA_PHANTOM_{PHANTOM_VERSION}"
    return meta


def _describe_object(dataset: Dataset, seed: int, kind: PhantomKind, lesion: LesionKind) -> None:
    dataset.SOPClassUID = UID(_SOP_CLASSES[kind])
    dataset.SOPInstanceUID = UID(make_uid("instance", seed, kind, lesion))
    dataset.StudyInstanceUID = UID(make_uid("study", seed))
    dataset.SeriesInstanceUID = UID(make_uid("series", seed, kind, lesion))
    if kind in ("CT", "MR"):
        dataset.FrameOfReferenceUID = UID(make_uid("frame of reference", seed, kind))
        dataset.PositionReferenceIndicator = ""
    dataset.Modality = kind
    dataset.PatientName = "IRMSIA^PHANTOM"
    dataset.PatientID = f"PHANTOM-{seed}"
    dataset.PatientBirthDate, dataset.PatientSex = "", ""
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.StudyID = "", "", "", ""
    dataset.ReferringPhysicianName, dataset.Manufacturer = "", "IRMSIA"
    dataset.ManufacturerModelName, dataset.SoftwareVersions = "IRMSIA phantom", PHANTOM_VERSION
    dataset.SeriesNumber, dataset.InstanceNumber = "1", "1"
    dataset.BodyPartExamined, dataset.BurnedInAnnotation = "PHANTOM", "NO"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if kind == "CT" else ["ORIGINAL", "PRIMARY"]


def _describe_pixels(dataset: Dataset, stored: NDArray[Any], encoding: Encoding) -> None:
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if encoding.inverted else "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = encoding.allocated, encoding.bits, encoding.bits - 1
    dataset.PixelRepresentation = int(encoding.signed)
    if encoding.padding is not None:
        dataset.add_new(0x00280120, "SS" if encoding.signed else "US", encoding.padding)
    center, width = encoding.window
    dataset.WindowCenter, dataset.WindowWidth = _decimal(center), _decimal(width)
    dataset.add_new(0x7FE00010, "OW" if encoding.allocated == 16 else "OB", stored.tobytes())


def _describe_place(dataset: Dataset, geometry: Geometry, kind: PhantomKind) -> None:
    spacing = [_decimal(value) for value in geometry.spacing_mm]
    if kind == "DX":
        dataset.ImagerPixelSpacing = spacing
    if geometry.position is None or geometry.row_cosine is None or geometry.column_cosine is None:
        return
    dataset.PixelSpacing = spacing
    dataset.ImagePositionPatient = [_decimal(value) for value in geometry.position]
    dataset.ImageOrientationPatient = [_decimal(value) for value in geometry.row_cosine + geometry.column_cosine]
    dataset.SliceThickness = _decimal(geometry.slice_thickness_mm or 0.0)
    if geometry.slice_spacing_mm is not None:
        dataset.SpacingBetweenSlices = _decimal(geometry.slice_spacing_mm)


def _ct_module(dataset: Dataset, seed: int) -> None:
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "-1024", "1", "HU"
    dataset.KVP, dataset.AcquisitionNumber = "120", "1"
    dataset.PatientPosition = "HFS"


def _mr_module(dataset: Dataset, seed: int) -> None:
    dataset.ScanningSequence, dataset.SequenceVariant = "SE", "NONE"
    dataset.ScanOptions, dataset.MRAcquisitionType = "", "2D"
    dataset.RepetitionTime, dataset.EchoTime, dataset.EchoTrainLength = "500", "12", "1"
    dataset.FlipAngle, dataset.MagneticFieldStrength = "90", "1.5"
    dataset.PatientPosition = "HFS"


def _dx_module(dataset: Dataset, seed: int) -> None:
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.PresentationIntentType, dataset.ViewPosition = "FOR PRESENTATION", "AP"
    dataset.PresentationLUTShape = "INVERSE" if dataset.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.PatientOrientation, dataset.ImageLaterality = ["L", "F"], "U"
    dataset.LossyImageCompression = "00"
    dataset.KVP = "90"


def _us_module(dataset: Dataset, seed: int) -> None:
    """One region over the whole picture, centimetres (DICOM PS3.3 C.8.5.5)."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = dataset.Columns - 1, dataset.Rows - 1
    region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection = 3, 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = us_spacing_mm(seed) / 10.0
    dataset.SequenceOfUltrasoundRegions = [region]
    dataset.LossyImageCompression = "00"


def us_spacing_mm(seed: int) -> float:
    """Pixel spacing of ultrasound phantom ``seed``: 0.3 to 0.42 mm."""
    return (300 + 10 * (seed % 13)) / 1000.0


_MODULES = {"CT": _ct_module, "MR": _mr_module, "DX": _dx_module, "US": _us_module}


def _mark(dataset: Dataset) -> None:
    """Rule 3 of contract section 3: a test object, and whose."""
    dataset.QualityControlSubject = "YES"
    block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    block.add_new(VERSION_ELEMENT, "LO", PHANTOM_VERSION)


def _decimal(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
