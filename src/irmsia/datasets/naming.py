"""Patients (and studies) that file names tell: the names of public sets, or a pattern of the user's.

The rules below are anchored, without repetition inside repetition, and paths have an end (`irmsia.datasets.walk`):
their time grows with the length of a path and no faster. A user's pattern may be catastrophic, and no inspection of a
pattern tells for sure: it is compiled and run in a decoder child, which its time limit ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from irmsia.errors import InternalError, InvalidRequestError, QuarantinedError, TimedOutError, WorkerDiedError
from irmsia.imaging.limits import ReadLimits

MOST_PATTERN = 1_000
"""Characters of a user's pattern."""

MOST_NAME = 128
"""Characters of a patient's name; a longer one is none."""

PATTERN_SECONDS = 2.0
"""A user's pattern may take so long for `NAMES_A_TICK` paths; it takes well under a hundredth of it."""

NAMES_A_TICK = 200
_NAMES_A_TASK = 20_000
_NO_NAME = ""


@dataclass(frozen=True, slots=True)
class Named:
    """What a path tells. ``study`` is unique among the studies of all patients; null where only a patient is told."""

    patient: str
    study: str | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    """``literal`` stands in every path that ``pattern`` finds something in; groups ``patient``, and maybe ``study``.

    ``shape`` makes one spelling of several.
    """

    literal: str
    pattern: re.Pattern[str]
    shape: Callable[[str], str] = str


def _rule(literal: str, pattern: str, shape: Callable[[str], str] = str) -> _Rule:
    return _Rule(literal, re.compile(pattern), shape)


def _with_dashes(name: str) -> str:
    return name.replace("_", "-")


_RULES = (
    # Kermany 2018, paediatric chest: one number may stand before bacteria and virus: one patient, joined is safe.
    _rule("person", r"(?:^|/)(?P<patient>person\d+)_(?:bacteria|virus)_\d+(?:_\d+)?\.\w+$"),
    _rule("IM-", r"(?:^|/)(?:NORMAL2-)?(?P<patient>IM-\d+)-\d+(?:-\d+)?\.\w+$"),
    # TCGA: the barcode's first three parts are the patient (tissue source site, participant).
    _rule("TCGA", r"(?:^|/)(?P<patient>TCGA[_-][A-Z0-9]{2}[_-][A-Z0-9]{4})(?=[_\-./]|$)", _with_dashes),
    # ChestX-ray14: patient, number of the follow-up.
    _rule(".png", r"(?:^|/)(?P<patient>\d{8})_\d{3}\.png$"),
    # MIMIC-CXR: p10/p10000032/s50414267/...
    _rule("/s", r"(?:^|/)p\d{2}/(?P<patient>p\d{8})/(?P<study>s\d{8})(?=[/.])"),
    # CheXpert and MURA: patient00001/study1/view1_frontal.jpg, patient00011/study1_negative/image1.png
    _rule("patient", r"(?:^|/)(?P<patient>patient\d+)/(?P<study>study\d+)(?:_\w+)?/"),
    # BIDS: sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz
    _rule("sub-", r"(?:^|/)(?P<patient>sub-[A-Za-z0-9]+)(?:[_/](?P<study>ses-[A-Za-z0-9]+))?(?=[_/])"),
    # BraTS 2023 on (the last part counts visits), 2021, 2017 to 2020.
    _rule("BraTS-", r"(?:^|/)(?P<patient>BraTS-[A-Z]{2,4}-\d{5})-(?P<study>\d{3})(?=[-/.])"),
    _rule("BraTS2021_", r"(?:^|/)(?P<patient>BraTS2021_\d{5})(?=[_/.])"),
    _rule("BraTS", r"(?:^|/)(?P<patient>BraTS(?:17|18|19|20)_[A-Za-z0-9]+(?:_[A-Z]{3})?_\d+)(?=[_/.])"),
    _rule("Brats", r"(?:^|/)(?P<patient>Brats(?:17|18)_[A-Za-z0-9]+_[A-Z0-9]{3}_\d+)(?=[_/.])"),
    # OASIS 1 and 2: OAS1_0001_MR1_mpr_n4_anon_111_t88_gfc.img
    _rule("OAS", r"(?:^|/)(?P<patient>OAS[12]_\d{4})_(?P<study>MR\d+)(?=[_/.])"),
    # ADNI: ADNI_002_S_0295_MR_...
    _rule("_S_", r"(?:^|[/_])(?P<patient>\d{3}_S_\d{4})(?=[_/.])"),
    # IXI: IXI002-Guys-0828-T1.nii.gz
    _rule("IXI", r"(?:^|/)(?P<patient>IXI\d{3})-[A-Za-z]+-\d+(?=[-/.])"),
    # LIDC-IDRI and PROSTATEx, folders as the archive writes them.
    _rule("LIDC-IDRI-", r"(?:^|/)(?P<patient>LIDC-IDRI-\d{4})(?=[_/.-])"),
    _rule("ProstateX-", r"(?:^|/)(?P<patient>ProstateX-\d{4})(?=[_/.-])"),
    # CBIS-DDSM: Mass-Training_P_00001_LEFT_CC_1
    _rule("_P_", r"(?:^|/)(?:Mass|Calc)-(?:Training|Test)_(?P<patient>P_\d{5})_(?:LEFT|RIGHT)_(?:CC|MLO)"),
    # INbreast: image number, patient's digest, MG, side, view.
    _rule("_MG_", r"(?:^|/)\d+_(?P<patient>[0-9a-f]{16})_MG_[LR]_(?:CC|ML|MLO|FB)_"),
    # Shenzhen and Montgomery: one image a patient.
    _rule("CXR_", r"(?:^|/)(?P<patient>(?:CHN|MCU)CXR_\d{4})_[01](?=[_.])"),
    # BreakHis: the slide, taken from one patient each, whatever the magnification.
    _rule("SOB_", r"(?:^|/)SOB_[BM]_[A-Z]+-(?P<patient>\d{2}-\d+[A-Z]*)-\d+-\d+\.png$"),
    # KiTS: case_00000/imaging.nii.gz
    _rule("case_", r"(?:^|/)(?P<patient>case_\d{5})/"),
)
"""Names that public sets are known to use. Names of images that tell no patient (ISIC_0000000, a UUID) are none."""


def name_of(path: str) -> Named | None:
    """The patient that a path below the dataset's root tells by the names of public sets; null where none does.

    ``person123_bacteria_4.jpeg`` -> ``person123``, ``TCGA_CS_4941_19960909_1.tif`` -> ``TCGA-CS-4941``.
    """
    for rule in _RULES:
        if rule.literal in path and (found := rule.pattern.search(path)) is not None:
            patient = rule.shape(found["patient"])
            study = found.groupdict().get("study")
            return Named(patient, f"{patient}/{study}" if study else None)
    return None


@dataclass(frozen=True, slots=True)
class PatternTask:
    """Run in a child: search a user's pattern in paths, parted by zero bytes; a patient a path, empty for none."""

    pattern: str

    def run(
        self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Callable[[int, int], None]
    ) -> list[str]:
        """The patients. Raises `InvalidRequestError` where the pattern is none or has no group."""
        del limits, key
        compiled = _compiled(self.pattern)
        group: str | int = "patient" if "patient" in compiled.groupindex else 1
        paths = bytes(data).decode().split("\0")
        patients = []
        for at, path in enumerate(paths):
            if at % NAMES_A_TICK == 0:
                tick(0, 1)
            found = compiled.search(path)
            patients.append(_fitting(found[group]) if found is not None else _NO_NAME)
        return patients


@lru_cache(maxsize=8)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError, MemoryError):
        raise InvalidRequestError("the patient pattern is no regular expression") from None
    if not compiled.groups:
        raise InvalidRequestError(
            "the patient pattern has no group: put (?P<patient>...) around what names the patient"
        )
    return compiled


def _fitting(name: str | None) -> str:
    return name if name and len(name) <= MOST_NAME and name.isprintable() else _NO_NAME


def check_pattern(pattern: str) -> None:
    """Raises `InvalidRequestError` where a pattern is too long to be looked at; the child judges the rest."""
    if not 0 < len(pattern) <= MOST_PATTERN:
        raise InvalidRequestError(f"a patient pattern has 1 to {MOST_PATTERN} characters")
    try:
        pattern.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError("the patient pattern is no text") from None


def find_patients(run: Callable[[PatternTask, bytes], Any], pattern: str, paths: list[str]) -> dict[str, str]:
    """The patients that a user's pattern finds, by path; searched in the path below the root.

    Args:
        run: has a child of `irmsia.imaging.guard.DecoderPool` run a task; its time limit a frame is how long
            `NAMES_A_TICK` paths may take.
        pattern: the group named ``patient`` counts, else the first.
        paths: below the root.

    Raises:
        InvalidRequestError: the pattern is none, has no group, or takes too long.
    """
    check_pattern(pattern)
    task = PatternTask(pattern)
    patients: dict[str, str] = {}
    for some in _parts(paths or [""]):
        patients |= {path: name for path, name in zip(some, _run(run, task, some), strict=True) if name}
    return patients


def _parts(paths: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(paths), _NAMES_A_TASK):
        yield paths[at : at + _NAMES_A_TASK]


def _run(run: Callable[[PatternTask, bytes], Any], task: PatternTask, paths: list[str]) -> list[str]:
    try:
        found = run(task, "\0".join(paths).encode())
    except (TimedOutError, WorkerDiedError, QuarantinedError):
        raise InvalidRequestError(
            "the patient pattern takes too long on a path; write it without repetition inside repetition"
        ) from None
    if not isinstance(found, list) or len(found) != len(paths) or not all(isinstance(name, str) for name in found):
        raise InternalError("a child answered something else")
    return found
