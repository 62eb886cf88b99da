"""What a DICOM header says of its pixels, proved by arithmetic before anything is allocated (PS3.3 C.7.6.3)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from irmsia.errors import InconsistentHeaderError, LimitExceededError, UnsupportedError
from irmsia.imaging.formats.elements import DOUBLE_PIXEL_DATA, FLOAT_PIXEL_DATA, Layout
from irmsia.imaging.formats.source import Draft, check_pixels
from irmsia.imaging.limits import ReadLimits
from irmsia.telemetry import silence_identifying_loggers

DicomDataset = Dataset
_PRIVATE_CREATORS = range(0x00190010, 0x00190020)
_PRIVATE_VERSIONS = range(0x00191001, 0x00192001, 0x100)
_KEYWORDS = """
SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID StudyDate SeriesDate AcquisitionDate ContentDate Modality
LossyImageCompression PatientID IssuerOfPatientID PatientBirthDate PatientAge QualityControlSubject ContrastBolusAgent
BodyPartExamined ScanningSequence SequenceVariant SequenceName PulseSequenceName ProtocolName SliceThickness KVP
RepetitionTime EchoTime InversionTime EffectiveEchoTime FlipAngle MagneticFieldStrength SpacingBetweenSlices
ImagerPixelSpacing ViewPosition SequenceOfUltrasoundRegions StudyInstanceUID SeriesInstanceUID ImagePositionPatient
ImageOrientationPatient Laterality ImageLaterality SamplesPerPixel PhotometricInterpretation PlanarConfiguration
NumberOfFrames Rows Columns PixelSpacing PixelSpacingCalibrationType BitsAllocated BitsStored HighBit
PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit WindowCenter WindowWidth RescaleIntercept RescaleSlope
RescaleType VOILUTFunction ModalityLUTSequence VOILUTSequence RedPaletteColorLookupTableDescriptor
GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData
GreenPaletteColorLookupTableData BluePaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData
SegmentedGreenPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData PixelDataProviderURL
PresentationLUTShape GridFrameOffsetVector SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence
ExtendedOffsetTable
"""
_INTEGER_WIDTHS = (1, 8, 16, 32)
_SAMPLES = (1, 3, 4)
_MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})


def wanted_tags() -> Container[int]:
    """Top-level elements that the reader looks at; no other one is ever interpreted."""
    from pydicom.datadict import tag_for_keyword

    known = {tag for keyword in _KEYWORDS.split() if (tag := tag_for_keyword(keyword)) is not None}
    return frozenset(known | set(_PRIVATE_CREATORS) | set(_PRIVATE_VERSIONS))


WANTED = wanted_tags()
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
silence_identifying_loggers()


def parse_header(layout: Layout, draft: Draft) -> DicomDataset:
    """The wanted elements as a pydicom data set. Values stay raw until they are asked for.

    An element that pydicom cannot take, such as a character set that does not exist, is left out with a warning.
    """
    with quiet():
        try:
            return _parse(layout, b"".join(layout.header))
        except Exception:  # noqa: BLE001 - pydicom raises whatever the conversion of a broken value raises
            return _parse_one_by_one(layout, draft)


def _parse(layout: Layout, elements: bytes) -> DicomDataset:
    return read_dataset(io.BytesIO(elements), layout.encoding.implicit, layout.encoding.little)


def _parse_one_by_one(layout: Layout, draft: Draft) -> DicomDataset:
    dataset = _parse(layout, b"")
    for element in layout.header:
        try:
            dataset.update(_parse(layout, element))
        except Exception:  # noqa: BLE001 - as above
            draft.warn("HEADER_MISMATCH", "a header element cannot be interpreted; it is left out")
    return dataset


@contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings of pydicom: they quote element values, which may be a patient's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def value_of(dataset: DicomDataset, keyword: str) -> Any:
    """An element's value, or None where it is absent, empty or cannot be interpreted."""
    try:
        value = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom raises whatever the conversion of a broken value raises
        return None
    return None if value is None or (isinstance(value, str) and not value.strip()) else value


def values_of(dataset: DicomDataset, keyword: str) -> tuple[Any, ...]:
    """All values of an element, () where there is none."""
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    return (value,) if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else tuple(value)


def integer_of(dataset: DicomDataset, keyword: str) -> int | None:
    """The first value of an element as an integer, else None."""
    try:
        return int(values_of(dataset, keyword)[0])
    except (IndexError, TypeError, ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class PixelHeader:
    """Image Pixel module, checked. ``kind``: ``u`` unsigned, ``i`` signed, ``f`` float; ``shift``: of stored bits."""

    rows: int
    columns: int
    samples: int
    frames: int
    planar: bool
    allocated: int
    stored: int
    shift: int
    kind: str
    photometric: str

    @property
    def dtype(self) -> str:
        """Name of the type of the stored values."""
        if self.kind == "f":
            return f"float{self.allocated}"
        return f"{'int' if self.kind == 'i' else 'uint'}{max(8, self.allocated)}"

    @property
    def pixels(self) -> int:
        """Pixels of one frame."""
        return self.rows * self.columns

    @property
    def frame_bits(self) -> int:
        """Bits that one native frame takes; chroma at half rate where 4:2:2 says so."""
        samples = 2 if self.photometric in {"YBR_FULL_422", "YBR_PARTIAL_422"} else self.samples
        return self.pixels * samples * self.allocated


def read_pixel_header(dataset: DicomDataset, tag: int, draft: Draft) -> PixelHeader:
    """Check the Image Pixel module against itself.

    Raises:
        InconsistentHeaderError: an attribute is missing, impossible or contradicts another.
        UnsupportedError: a width that is not read.
    """
    rows, columns = _required(dataset, "Rows"), _required(dataset, "Columns")
    frames = _frame_count(dataset, draft)
    samples, photometric = _colour(dataset, draft)
    allocated, stored, shift, kind = _depth(dataset, tag, draft)
    planar = samples > 1 and integer_of(dataset, "PlanarConfiguration") == 1
    return PixelHeader(rows, columns, samples, frames, planar, allocated, stored, shift, kind, photometric)


def check_limits(header: PixelHeader, limits: ReadLimits) -> None:
    """Refuse more pixels or frames than allowed, before anything is allocated.

    Raises:
        LimitExceededError: a frame or their number is above its limit.
    """
    check_pixels(header.rows, header.columns, limits)
    if header.frames > limits.frames:
        raise LimitExceededError(f"{header.frames} frames; the limit is {limits.frames}")


def _required(dataset: DicomDataset, keyword: str) -> int:
    value = integer_of(dataset, keyword)
    if value is None or value < 1:
        raise InconsistentHeaderError(f"{keyword} is missing or zero")
    return value


def _frame_count(dataset: DicomDataset, draft: Draft) -> int:
    if not values_of(dataset, "NumberOfFrames"):
        return 1
    frames = integer_of(dataset, "NumberOfFrames")
    if frames is None or frames < 0:
        raise InconsistentHeaderError("NumberOfFrames is no count")
    if frames == 0:
        draft.warn("HEADER_MISMATCH", "NumberOfFrames is 0; read as one frame")
    return max(frames, 1)


def _colour(dataset: DicomDataset, draft: Draft) -> tuple[int, str]:
    photometric = str(value_of(dataset, "PhotometricInterpretation") or "").strip().upper()
    samples = integer_of(dataset, "SamplesPerPixel")
    if samples is None:
        if photometric not in _MONOCHROME | {""}:
            raise InconsistentHeaderError("SamplesPerPixel is missing")
        samples = 1
    if samples not in _SAMPLES:
        error = UnsupportedError if samples == 2 else InconsistentHeaderError
        raise error(f"SamplesPerPixel is {samples}")
    fitting = photometric in _MONOCHROME if samples == 1 else photometric not in _MONOCHROME | {""}
    if not fitting:
        draft.warn("HEADER_MISMATCH", f"PhotometricInterpretation does not fit {samples} samples a pixel")
        photometric = "MONOCHROME2" if samples == 1 else "RGB"
    return samples, photometric


def _depth(dataset: DicomDataset, tag: int, draft: Draft) -> tuple[int, int, int, str]:
    if tag in (FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA):
        width = 32 if tag == FLOAT_PIXEL_DATA else 64
        if integer_of(dataset, "BitsAllocated") not in (None, width):
            raise InconsistentHeaderError("BitsAllocated does not fit floating point pixel data")
        return width, width, 0, "f"
    allocated = _required(dataset, "BitsAllocated")
    if allocated not in _INTEGER_WIDTHS:
        error = UnsupportedError if allocated <= 64 else InconsistentHeaderError
        raise error(f"BitsAllocated is {allocated}")
    stored, shift = _stored_bits(dataset, allocated, draft)
    representation = integer_of(dataset, "PixelRepresentation")
    if representation not in (None, 0, 1):
        raise InconsistentHeaderError("PixelRepresentation is neither 0 nor 1")
    return allocated, stored, shift, "i" if representation == 1 and allocated > 1 else "u"


def _stored_bits(dataset: DicomDataset, allocated: int, draft: Draft) -> tuple[int, int]:
    stored = integer_of(dataset, "BitsStored")
    if stored is None:
        draft.warn("HEADER_MISMATCH", "BitsStored is missing; read as BitsAllocated")
        stored = allocated
    if not 1 <= stored <= allocated:
        raise InconsistentHeaderError(f"BitsStored is {stored} of {allocated} allocated")
    high = integer_of(dataset, "HighBit")
    if high is None:
        high = stored - 1
    if not stored - 1 <= high < allocated:
        raise InconsistentHeaderError(f"HighBit is {high} for {stored} stored of {allocated} allocated bits")
    return stored, high - stored + 1
