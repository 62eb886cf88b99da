"""What is checked of an answer, each check by itself; pure functions of the answer and of what was seen here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from irmsia.app.answers import GivenAnswer
from irmsia.findings.types import Diagnosis, Evidence
from irmsia.inference.verify import Status
from irmsia.wire.json import diagnosis_to_json

CHECKS = ("form", "file", "pixels", "bundle", "answer", "software", "pseudonyms", "name, times")
_BINARY = {"explanation.map", "explanation.overlay_png", "segmentation.mask"}
_ENGINE = re.compile(r"^[^,]*, (\w+) .*\bat (f32|bf16|int8)$")
_LONGEST_LINE = 200
_SHOWN = 5
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a report: ``name`` of `CHECKS`, and what was ``found`` in a few words."""

    name: str
    status: Status
    found: str


@dataclass(frozen=True, slots=True)
class Made:
    """By what an answer was computed: the runtime's name, null where it is not told, and the precision."""

    runtime: str | None
    precision: str


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """What became of one answer. ``place``: its line; ``file``: the file it was held against, null for none."""

    place: str
    input: str | None
    file: str | None
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether the answer is proven: nothing failed, and it was given again."""
        failed = any(check.status is Status.FAIL for check in self.checks)
        return not failed and any(check.name == "answer" and check.status is Status.PASS for check in self.checks)


def check_form(given: GivenAnswer) -> Check:
    """Whether the JSON is an answer, and nothing else."""
    answer = given.answer
    if given.strange:
        return Check("form", Status.FAIL, f"no answer holds this: {_listed(list(given.strange))}")
    if (answer.error is None) == (answer.decision is None):
        return Check("form", Status.FAIL, "an answer holds either a decision or an error")
    if answer.error is None and answer.rule is None:
        return Check("form", Status.FAIL, "a decision names its rule")
    return Check("form", Status.PASS, "an answer of this version")


def check_file(answer: Diagnosis, here: Evidence) -> Check:
    """Whether the file is the one whose digest the answer names."""
    named = answer.evidence.input_sha256 if answer.evidence is not None else None
    if named is None and answer.error is not None:
        return Check("file", Status.NOT_CHECKED, "a failure names no digest")
    if named is None:
        return Check("file", Status.FAIL, "the answer names no digest of its file")
    if here.input_sha256 is None:
        return Check("file", Status.FAIL, "the file is not there or cannot be read")
    if named != here.input_sha256:
        return Check("file", Status.FAIL, f"another file: SHA-256 {_short(here.input_sha256)}, not {_short(named)}")
    return Check("file", Status.PASS, f"SHA-256 {_short(named)}")


def check_pixels(answer: Diagnosis, here: Evidence) -> Check:
    """Whether the pixels read are those whose digests the answer names."""
    named = answer.evidence.frame_sha256 if answer.evidence is not None else ()
    if not named and answer.error is not None:
        return Check("pixels", Status.NOT_CHECKED, "a failure names no digest")
    if len(named) != len(here.frame_sha256):
        return Check("pixels", Status.FAIL, f"{len(here.frame_sha256)} frames are read, the answer names {len(named)}")
    other = [str(index) for index, pair in enumerate(zip(named, here.frame_sha256, strict=True)) if len(set(pair)) > 1]
    if other or not named:
        return Check("pixels", Status.FAIL, f"other pixels in frame {_listed(other)}")
    return Check("pixels", Status.PASS, f"SHA-256 of {len(named)} frame{'s' if len(named) > 1 else ''}")


def made_by(answer: Diagnosis) -> Made:
    """What ``evidence.software`` says behind its comma; f32 where it says nothing."""
    software = (answer.evidence and answer.evidence.software) or ""
    found = _ENGINE.search(software[:_LONGEST_LINE])
    return Made(found[1], found[2]) if found else Made(None, "f32")


def check_software(named: Evidence, here: Evidence) -> Check:
    """Whether the answer names the software and the decoder that are here; another engine may compute the same."""
    (version, _, engine), (version_here, _, engine_here) = (_parts(one.software) for one in (named, here))
    pairs = {"software": (version, version_here), "decoder": (named.decoder or "none", here.decoder or "none")}
    other = [f"{key} {b[:_LONGEST]}, not {a[:_LONGEST]}" for key, (a, b) in pairs.items() if a != b]
    if other:
        return Check("software", Status.FAIL, f"here {'; '.join(other)}")
    if engine != engine_here:
        there, here_by = (part[:_LONGEST].strip() or "an engine not told" for part in (engine, engine_here))
        return Check("software", Status.NOT_CHECKED, f"computed by {there}, here by {here_by}")
    return Check("software", Status.PASS, ", ".join(str(part) for part in (named.software, named.decoder) if part))


def _parts(software: str | None) -> tuple[str, str, str]:
    return (software or "").partition(",")


def check_pseudonyms(answer: Diagnosis, again: Diagnosis) -> Check:
    """They are keyed by the machine that answered: where none of them is ours, nothing can be said."""
    pairs = list(zip(_pseudonyms(answer), _pseudonyms(again), strict=True))
    if any((a is None) != (b is None) for a, b in pairs):
        return Check("pseudonyms", Status.FAIL, "one is there and should not be, or is missing")
    known = [a == b for a, b in pairs if a is not None]
    if all(known):
        return Check("pseudonyms", Status.PASS, "those of this machine" if known else "none, and none is due")
    if any(known):
        return Check("pseudonyms", Status.FAIL, "one is of this machine's key, the other is not")
    return Check("pseudonyms", Status.NOT_CHECKED, "made with the key of another machine")


def _pseudonyms(answer: Diagnosis) -> tuple[str | None, str | None]:
    source = answer.source
    return (source.patient_pseudonym, source.study_pseudonym) if source is not None else (None, None)


def spell_differences(keys: list[str], answer: Diagnosis, again: Diagnosis) -> str:
    """Each key with what the answer says and what is true here; at most five, and how many more."""
    there, here = diagnosis_to_json(answer), diagnosis_to_json(again)
    told = [_tell(key, there, here) for key in keys[:_SHOWN]]
    return "; ".join([*told, *([f"and {len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else [])])


def _tell(key: str, there: Any, here: Any) -> str:
    if key in _BINARY:
        return f"{key} differs"
    return f"{key} is {_value(there, key)}, here {_value(here, key)}"


def _value(data: Any, key: str) -> str:
    for name in key.split("."):
        if isinstance(data, list):
            data = data[int(name)] if name.isdecimal() and int(name) < len(data) else None
        else:
            data = data.get(name) if isinstance(data, dict) else None
    text = f"{len(data)} items" if isinstance(data, list | dict) else str(data)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _listed(names: list[str]) -> str:
    shown = ", ".join(name[:_LONGEST] for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _short(digest: str | None) -> str:
    return digest[:16] if digest is not None else "none"
