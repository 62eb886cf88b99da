"""Which contrast an MR image shows, guessed: no attribute of older objects states it (PS3.3 C.8.3.1, C.8.13.3).

What the object states comes first, then the b-value, then words of the descriptions, then the timing. Descriptions are
free text that may hold a patient's name: words are looked for in them, and nothing of them is ever given back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from functools import lru_cache

from irmsia.imaging.formats.functional_groups import first_group
from irmsia.imaging.formats.header import DicomDataset, value_of, values_of
from irmsia.imaging.types import SequenceGuess

LABELS = (
    "T1", "T2", "FLAIR", "DWI", "ADC", "PD", "STIR", "T2_STAR", "ANGIO", "PERFUSION", "BOLD", "LOCALIZER",
)  # fmt: skip
"""Every label a guess may have."""

_STATED = {
    "T1": "T1", "T2": "T2", "T2_STAR": "T2_STAR", "PROTON_DENSITY": "PD", "DIFFUSION": "DWI", "ADC": "ADC",
    "FLUID_ATTENUATED": "FLAIR", "STIR": "STIR", "TOF": "ANGIO", "ANGIO": "ANGIO", "PERFUSION": "PERFUSION",
    "ASL": "PERFUSION", "FMRI": "BOLD", "LOCALIZER": "LOCALIZER",
}  # fmt: skip
"""Image flavours and acquisition contrasts of PS3.3 C.8.13.3.1.1 and C.8.13.4."""

_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (label, re.compile(pattern))
    for label, pattern in (
        ("LOCALIZER", r"^(LOC|LOCALI[SZ]ER|SCOUT|SURVEY)$"),
        ("ADC", r"^E?ADC$"),
        ("DWI", r"^(DWI|DTI|DIFF|DIFFUSION|TRACEW?|EPDIFF|B[1-9]\d{2,3})"),
        ("PERFUSION", r"^(PWI|PERFUSION|PERF|ASL|DSC|PCASL|PASL)$"),
        ("BOLD", r"^(BOLD|FMRI|RSFMRI)$"),
        ("ANGIO", r"^(TOF|MRA|ANGIO)"),
        ("T2_STAR", r"^(SWI|SWAN|T2STAR|T2FFE|T2\*)"),
        ("STIR", r"STIR"),
        ("FLAIR", r"FLAIR|DARKFLUID"),
        ("T1", r"^(T1([A-Z]|$)|MPRAGE|BRAVO|F?SPGR|VIBE|LAVA)"),
        ("PD", r"^(PD|PDW|PROTON|PROTONDENSITY)$"),
        ("T2", r"^T2([A-Z]|$)"),
    )
)
_TEXTS = ("SeriesDescription", "ProtocolName")
_MOST_TEXT = 256


def guess_sequence(
    dataset: DicomDataset, *, tr: float | None, te: float | None, ti: float | None
) -> SequenceGuess | None:
    """The likely contrast of an MR image, and the attributes that it was guessed from; null where nothing tells.

    Args:
        dataset: the header.
        tr: repetition time, te: echo time, ti: inversion time; milliseconds.
    """
    for guess in _guesses(dataset, tr, te, ti):
        return guess
    return None


def _guesses(dataset: DicomDataset, tr: float | None, te: float | None, ti: float | None) -> Iterator[SequenceGuess]:
    frame_type = first_group(dataset, "MRImageFrameTypeSequence")
    for place, keyword in (
        (dataset, "AcquisitionContrast"),
        (frame_type, "AcquisitionContrast"),
        (dataset, "ImageType"),
    ):
        stated = [_STATED[kind] for kind in _kinds(place, keyword) if kind in _STATED]
        if stated:
            yield SequenceGuess(stated[0], (keyword,))
    b_value = _b_value(dataset)
    if b_value is not None and b_value > 0:
        yield SequenceGuess("DWI", ("DiffusionBValue",))
    for keyword in _TEXTS:
        label = label_of_text(str(value_of(dataset, keyword) or ""))
        if label is not None:
            yield SequenceGuess(label, (keyword,))
    label = label_of_timing(_scanning(dataset), tr=tr, te=te, ti=ti)
    if label is not None:
        known = {"RepetitionTime": tr, "EchoTime": te, "InversionTime": ti}
        yield SequenceGuess(label, ("ScanningSequence", *(name for name, value in known.items() if value is not None)))


@lru_cache(maxsize=64)  # the images of a series share it
def label_of_text(text: str) -> str | None:
    """The first label of the table whose word stands in a description; T1 FLAIR is T1, and T2 FLAIR is FLAIR."""
    words = [
        word for word in re.split(r"[^A-Z0-9*]+", text[:_MOST_TEXT].upper().replace("DARK FLUID", "DARKFLUID")) if word
    ]
    found = [label for label, pattern in _WORDS if any(pattern.search(word) for word in words)]
    if "FLAIR" in found and "T1" in found:
        return "T1"
    return found[0] if found else None


def label_of_timing(scanning: Set[str], *, tr: float | None, te: float | None, ti: float | None) -> str | None:
    """The contrast that usual timings give: ``scanning`` holds SE, IR, GR, EP; times in milliseconds.

    Long TE weighs by T2 (by T2* without a refocusing pulse), short TR and TE by T1, long TR with short TE by protons;
    an inversion nulls fluid (long TI, long TE) or fat (short TI).
    """
    if tr is None or te is None or tr <= 0 or te <= 0:
        return None
    if "IR" in scanning or (ti is not None and ti > 0):
        return _inverted(te, ti)
    if "GR" in scanning and "SE" not in scanning:
        return "T2_STAR" if te >= 15 else "T1" if tr <= 1000 else None
    if "SE" not in scanning:
        return None
    if te >= 60 and tr >= 1500:
        return "T2"
    if te <= 45 and tr >= 1500:
        return "PD"
    return "T1" if te <= 40 and tr <= 1000 else None


def _inverted(te: float, ti: float | None) -> str | None:
    if ti is None:
        return None
    if ti >= 1500:
        return "FLAIR" if te >= 60 else None
    return "STIR" if ti <= 300 else "T1"


def _kinds(place: DicomDataset | None, keyword: str) -> Iterator[str]:
    for value in values_of(place, keyword) if place is not None else ():
        yield str(value).strip().upper()


def _scanning(dataset: DicomDataset) -> set[str]:
    """ScanningSequence, or what enhanced objects say in its place."""
    kinds = set(_kinds(dataset, "ScanningSequence"))
    enhanced = {"SPIN": {"SE"}, "GRADIENT": {"GR"}, "BOTH": {"SE", "GR"}}
    for kind in _kinds(dataset, "EchoPulseSequence"):
        kinds |= enhanced.get(kind, set())
    return kinds | ({"IR"} if "YES" in _kinds(dataset, "InversionRecovery") else set())


def _b_value(dataset: DicomDataset) -> float | None:
    for place in (dataset, first_group(dataset, "MRDiffusionSequence")):
        try:
            return float(values_of(place, "DiffusionBValue")[0]) if place is not None else None
        except (IndexError, TypeError, ValueError, OverflowError):
            continue
    return None
