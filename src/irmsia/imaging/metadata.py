"""What a DICOM header tells of the study, as far as an answer may know it; and `ImageInfo` as a JSON line."""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Any

from irmsia.imaging.formats.functional_groups import first_group
from irmsia.imaging.formats.header import DicomDataset, DicomHeader, values_of
from irmsia.imaging.formats.part10 import is_uid
from irmsia.imaging.formats.source import Draft
from irmsia.imaging.sequence import guess_sequence
from irmsia.imaging.spacing import read_orientation, read_spacing
from irmsia.imaging.types import Acquisition, Identity, ImageInfo, SequenceGuess

REGIONS = {
    "CHEST": "chest", "THORAX": "chest", "LUNG": "chest",
    "BRAIN": "brain", "HEAD": "brain", "SKULL": "brain",
    "BREAST": "breast",
}  # fmt: skip
"""BodyPartExamined to region, contract section 1; other values are known but foreign."""

_PRIVATE_CREATOR = "IRMSIA"
_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "PatientBirthDate")
_STUDY_DATES = _DATES[:-1]
_DATE = re.compile(r"(\d{4})[.]?(\d{2})[.]?(\d{2})")
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_YEARS_IN = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_OLDEST = 150.0
_TIMING = "MRTimingAndRelatedParametersSequence"
_LONGEST_TEXT = 64  # every VR used here holds at most 64 characters


def read_metadata(dataset: DicomHeader, draft: Draft, pseudonym_key: bytes | None) -> None:
    """Fill ``draft`` with all that is known of the study; broken values are left out, impossible dates warned of."""
    body_part = _text(dataset, "BodyPartExamined")
    lossy = _text(dataset, "LossyImageCompression") == "01"
    draft.learn(
        modality=_text(dataset, "Modality"),
        body_part=body_part,
        region=region_of(body_part),
        laterality=_text(dataset, "ImageLaterality") or _text(dataset, "Laterality"),
        spacing=read_spacing(dataset),
        slice_thickness_mm=_number(dataset, "SliceThickness", "PixelMeasuresSequence"),
        orientation=read_orientation(dataset),
        identity=_read_identity(dataset, pseudonym_key),
        acquisition=_read_acquisition(dataset),
        age_years=_read_age(dataset, draft),
        qc_subject=_text(dataset, "QualityControlSubject") == "YES",
        phantom_version=_read_phantom_version(dataset),
        **({"lossless": False} if lossy else {}),
    )


def read_catalogue_metadata(dataset: DicomHeader, draft: Draft, pseudonym_key: bytes | None) -> None:
    """Of what `read_metadata` fills in only what a catalogue of files takes; a third of the work."""
    modality, body_part = _text(dataset, "Modality"), _text(dataset, "BodyPartExamined")
    guess = _guess_sequence(dataset, _read_times(dataset)) if modality == "MR" else None
    draft.learn(
        modality=modality,
        body_part=body_part,
        region=region_of(body_part),
        spacing=read_spacing(dataset),
        identity=_read_identity(dataset, pseudonym_key),
        **({"acquisition": Acquisition(sequence_guess=guess)} if guess is not None else {}),
    )


def region_of(body_part: str | None) -> str | None:
    """The region a BodyPartExamined names, by the table of contract section 1."""
    if not body_part or not body_part.strip():
        return None
    name = body_part.strip().upper()
    return REGIONS.get(name, name.lower())


def _text(dataset: DicomDataset | None, keyword: str) -> str | None:
    if dataset is None:
        return None
    values = values_of(dataset, keyword)
    text = str(values[0]) if values else ""
    if not text.isprintable():
        text = "".join(char for char in text if char.isprintable())
    return text.strip()[:_LONGEST_TEXT] or None


def _number(dataset: DicomDataset, keyword: str, *groups: str) -> float | None:
    """A finite number from the data set, else from the first functional group that holds it."""
    number = _finite(dataset, keyword)
    for group in groups if number is None else ():
        place = first_group(dataset, group)
        number = _finite(place, keyword) if place is not None and number is None else number
    return number


def _finite(place: DicomDataset, keyword: str) -> float | None:
    values = values_of(place, keyword)
    try:
        number = float(values[0]) if values else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _read_identity(dataset: DicomDataset, key: bytes | None) -> Identity:
    study = _text(dataset, "StudyInstanceUID")
    patient = _text(dataset, "PatientID")
    issuer = _text(dataset, "IssuerOfPatientID")
    return Identity(
        sop_class_uid=_uid(dataset, "SOPClassUID"),
        sop_instance_uid=_uid(dataset, "SOPInstanceUID"),
        series_instance_uid=_uid(dataset, "SeriesInstanceUID"),
        study_instance_uid=_uid(dataset, "StudyInstanceUID"),
        patient_pseudonym=_pseudonym(key, "patient", f"{patient}\0{issuer}" if patient and issuer else patient),
        study_pseudonym=_pseudonym(key, "study", study),
    )


def _uid(dataset: DicomDataset, keyword: str) -> str | None:
    """UIDs go out as they are, so what is none stays inside."""
    text = _text(dataset, keyword)
    return text if text is not None and is_uid(text) else None


def _pseudonym(key: bytes | None, kind: str, value: str | None) -> str | None:
    if key is None or not value:
        return None
    from irmsia.imaging.pseudonym import pseudonym

    return pseudonym(key, kind, value)


def _read_acquisition(dataset: DicomDataset) -> Acquisition:
    names = (_text(dataset, name) for name in ("SequenceName", "PulseSequenceName", "ScanningSequence"))
    agent = _text(dataset, "ContrastBolusAgent")
    tr, te, ti = times = _read_times(dataset)
    is_mr = _text(dataset, "Modality") == "MR"
    return Acquisition(
        kvp=_number(dataset, "KVP"),
        tr=tr,
        te=te,
        ti=ti,
        sequence_guess=_guess_sequence(dataset, times) if is_mr else None,
        flip_angle=_number(dataset, "FlipAngle", _TIMING),
        magnetic_field_t=_number(dataset, "MagneticFieldStrength"),
        sequence=next((name for name in names if name), None),
        contrast=None if agent is None else agent.upper() not in {"NO", "NONE", "N"},
        view_position=_text(dataset, "ViewPosition"),
    )


def _read_times(dataset: DicomDataset) -> tuple[float | None, float | None, float | None]:
    """Repetition, echo and inversion time, milliseconds."""
    return (
        _number(dataset, "RepetitionTime", _TIMING),
        _number(dataset, "EchoTime") or _effective_echo_time(dataset),
        _number(dataset, "InversionTime") or _number_in(first_group(dataset, "MRModifierSequence"), "InversionTimes"),
    )


def _guess_sequence(
    dataset: DicomDataset, times: tuple[float | None, float | None, float | None]
) -> SequenceGuess | None:
    tr, te, ti = times
    return guess_sequence(dataset, tr=tr, te=te, ti=ti)


def _effective_echo_time(dataset: DicomDataset) -> float | None:
    return _number_in(first_group(dataset, "MREchoSequence"), "EffectiveEchoTime")


def _number_in(group: DicomDataset | None, keyword: str) -> float | None:
    return _number(group, keyword) if group is not None else None


def _read_age(dataset: DicomDataset, draft: Draft) -> float | None:
    """PatientAge, else the years from birth to study. 000Y without a birth date means that nobody filled it in."""
    dates = {name: _read_date(dataset, name, draft) for name in _DATES}
    born = dates["PatientBirthDate"]
    studied = next((dates[name] for name in _STUDY_DATES if dates[name]), None)
    between = None if born is None or studied is None else (studied - born).days / 365.25
    if between is not None and not 0 <= between <= _OLDEST:
        draft.warn("BAD_DATE", "the study date does not follow the birth date within a lifetime")
        between = None
    stated = _AGE.fullmatch((_text(dataset, "PatientAge") or "").upper())
    if stated is None:
        return between
    years = int(stated[1]) * _YEARS_IN[stated[2]]
    if stated[2] == "Y" and years == 0:
        return between
    return years if years <= _OLDEST else between


def _read_date(dataset: DicomDataset, keyword: str, draft: Draft) -> date | None:
    text = _text(dataset, keyword)
    if text is None:
        return None
    found = _DATE.fullmatch(text)
    try:
        if found:
            return date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:  # 13th month, 30 February
        pass
    draft.warn("BAD_DATE", f"{keyword} is no date")
    return None


def _read_phantom_version(dataset: DicomHeader) -> str | None:
    """Element 01 of the private block that ``IRMSIA`` reserved in group 0019 (PS3.5 section 7.8.1)."""
    for block in range(0x10, 0x20) if dataset.holds_private else ():
        if _private(dataset, block) == _PRIVATE_CREATOR and (version := _private(dataset, block << 8 | 0x01)):
            return version
    return None


def _private(dataset: DicomHeader, element: int) -> str | None:
    text = dataset.get_private_text(0x0019 << 16 | element)
    return text.strip("\0 ")[:_LONGEST_TEXT] or None if text else None


def info_to_json(path: str, info: ImageInfo) -> dict[str, Any]:
    """The line that ``irmsia image info --json`` prints, contract section 1; every key is there, unknown ones null."""
    spacing = info.spacing
    return {
        "path": path,
        "format": info.format,
        "modality": info.modality,
        "region": info.region,
        "shape": list(info.shape) if info.shape else None,
        "dtype": info.dtype,
        "spacing_mm": [spacing.slice_mm, spacing.row_mm, spacing.column_mm],
        "spacing_source": spacing.source,
        "transfer_syntax": info.transfer_syntax,
        "lossless": info.lossless,
        "frame_sha256": list(info.frame_sha256),
        "warnings": [{"code": notice.code, "text": notice.text} for notice in info.warnings],
        "error": {"code": info.error.code, "message": info.error.message} if info.error else None,
    }
