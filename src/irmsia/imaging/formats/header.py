"""What a DICOM header says of its pixels, proved by arithmetic before anything is allocated (PS3.3 C.7.6.3)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from irmsia.errors import InconsistentHeaderError, UnsupportedError
from irmsia.imaging.formats.elements import DOUBLE_PIXEL_DATA, FLOAT_PIXEL_DATA, Layout
from irmsia.imaging.formats.plain_value import read_plain_value
from irmsia.imaging.formats.source import Draft, check_frames, check_pixels
from irmsia.imaging.limits import ReadLimits
from irmsia.telemetry import silence_identifying_loggers

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
ExtendedOffsetTable SeriesDescription DiffusionBValue AcquisitionContrast EchoPulseSequence InversionRecovery
InstanceNumber AcquisitionNumber TemporalPositionIdentifier EchoNumbers TriggerTime AcquisitionTime ContentTime
GantryDetectorTilt
"""
_INTEGER_WIDTHS = (1, 8, 16, 32)
_SAMPLES = (1, 3, 4)
_SINGLE = frozenset({str, int, float})
_MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})


def _known_tags() -> dict[str, int]:
    from pydicom.datadict import tag_for_keyword

    return {keyword: tag for keyword in _KEYWORDS.split() if (tag := tag_for_keyword(keyword)) is not None}


_TAGS = _known_tags()
_ABSENT = (0, b"", b"", 0)
_CHARACTER_SET = _TAGS["SpecificCharacterSet"]
WANTED = frozenset({*_TAGS.values(), *_PRIVATE_CREATORS, *_PRIVATE_VERSIONS})
"""Top-level elements that the reader looks at; no other one is ever interpreted."""

_CATALOGUED_KEYWORDS = """
SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID Modality PatientID IssuerOfPatientID BodyPartExamined
ScanningSequence ProtocolName RepetitionTime EchoTime InversionTime SpacingBetweenSlices ImagerPixelSpacing
SequenceOfUltrasoundRegions StudyInstanceUID SeriesInstanceUID ImageOrientationPatient SamplesPerPixel
PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns PixelSpacing PixelSpacingCalibrationType
BitsAllocated BitsStored HighBit PixelRepresentation PixelDataProviderURL GridFrameOffsetVector
SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence SeriesDescription DiffusionBValue AcquisitionContrast
EchoPulseSequence InversionRecovery
"""
CATALOGUED = frozenset(_TAGS[keyword] for keyword in _CATALOGUED_KEYWORDS.split())
"""Those of them that a catalogue of files takes."""

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
silence_identifying_loggers()


class DicomDataset(Protocol):
    """What gives the value of a keyword: the header of a file, or an item of one of its sequences."""

    def get(self, key: str, /) -> Any:
        """The value, or None where it is absent."""


class DicomHeader:
    """The wanted elements of a file. Plain values are read here; pydicom reads the others when they are asked for.

    An element that pydicom cannot take, such as a character set that does not exist, is left out with a warning.
    """

    def __init__(self, layout: Layout, draft: Draft) -> None:
        self._layout = layout
        self._draft = draft
        self._elements = {element[0]: element for element in layout.header}
        character_set = self._elements.get(_CHARACTER_SET)
        self._ascii = character_set is None or b"13" not in character_set[2]  # JIS X 0201 has no backslash
        self._parsed: Dataset | None = None

    @property
    def original_encoding(self) -> tuple[bool, bool]:
        """Implicit VR, little endian, as pydicom's data sets say it."""
        return self._layout.encoding.implicit, self._layout.encoding.little

    def get(self, key: str, /) -> Any:
        """The value, or None where it is absent. Raises whatever pydicom raises for a broken one."""
        element = self._elements.get(_TAGS.get(key, 0))
        if element is None:
            return None
        value = read_plain_value(element, self._layout.encoding, is_ascii=self._ascii)
        return self._dataset.get(key) if value is None else value

    def holds_any(self, *keywords: str) -> bool:
        """Whether one of the elements is there, whatever its value."""
        return any(_TAGS[keyword] in self._elements for keyword in keywords)

    @property
    def holds_private(self) -> bool:
        """Whether a private block of group 0019 is reserved."""
        return not self._elements.keys().isdisjoint(_PRIVATE_CREATORS)

    def get_private_text(self, tag: int) -> str | None:
        """The text of a private element, or None where it is absent."""
        _, _, whole, at = self._elements.get(tag, _ABSENT)
        return whole[at:].decode("ascii", "replace") if whole else None

    @property
    def _dataset(self) -> Dataset:
        if self._parsed is None:
            with quiet():
                self._parsed = self._parse_all()
        return self._parsed

    def _parse_all(self) -> Dataset:
        try:
            return self._parse(b"".join(element[2] for element in self._layout.header))
        except Exception:  # noqa: BLE001 - pydicom raises whatever the conversion of a broken value raises
            return self._parse_one_by_one()

    def _parse(self, elements: bytes) -> Dataset:
        return read_dataset(io.BytesIO(elements), self._layout.encoding.implicit, self._layout.encoding.little)

    def _parse_one_by_one(self) -> Dataset:
        dataset = self._parse(b"")
        for element in self._layout.header:
            try:
                dataset.update(self._parse(element[2]))
            except Exception:  # noqa: BLE001 - as above
                self._draft.warn("HEADER_MISMATCH", "a header element cannot be interpreted; it is left out")
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
    kind = type(value)
    if kind in _SINGLE:
        return (value,)
    if kind is list:
        return tuple(value)
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
    check_frames(header.frames, limits)


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
