"""The vocabulary: every code an answer may name, one row of ``vocabulary.csv`` each.

To add a finding, add a row. Labels are English and French; ``gravity`` is 0..1 and feeds the risk table of
`findings.risk`, with its reason where contract section 2 gives none; ``snomed`` is a SNOMED CT concept id with the
public source that confirms it, or empty.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from irmsia.errors import InternalError, InvalidRequestError
from irmsia.findings.types import Urgency

NORMAL = "normal"
PHANTOM_REGION = "phantom"
LANGUAGES = ("en", "fr")


@dataclass(frozen=True, slots=True)
class Term:
    """One code. ``region`` empty: not bound to one; ``parent`` empty: none; ``gravity`` 0..1."""

    code: str
    label_en: str
    label_fr: str
    region: str
    parent: str
    gravity: float
    gravity_reason: str
    urgency: Urgency
    snomed: str
    snomed_source: str


@cache
def _terms() -> dict[str, Term]:
    text = resources.files(__package__).joinpath("vocabulary.csv").read_text(encoding="utf-8")
    return parse_terms(csv.DictReader(text.splitlines()))


def parse_terms(rows: Iterable[Mapping[str, str]]) -> dict[str, Term]:
    """Terms by code, in order; `InternalError` for a double code, an unknown parent or a gravity outside 0..1."""
    terms: dict[str, Term] = {}
    for row in rows:
        if row["code"] in terms:
            raise InternalError(f"the vocabulary names {row['code']!r} twice")
        terms[row["code"]] = _parse_term(row)
    for term in terms.values():
        if term.parent and term.parent not in terms:
            raise InternalError(f"the vocabulary lacks {term.parent!r}, the parent of {term.code!r}")
    return terms


def _parse_term(row: Mapping[str, str]) -> Term:
    fields: dict[str, str] = {**row}
    gravity, urgency = float(fields.pop("gravity")), Urgency(fields.pop("urgency"))
    if not 0 <= gravity <= 1:
        raise InternalError(f"gravity of {row['code']!r} must lie within 0..1, got {gravity}")
    return Term(**fields, gravity=gravity, urgency=urgency)


def list_terms() -> tuple[Term, ...]:
    """All terms in the order of the table."""
    return tuple(_terms().values())


def get_term(code: str) -> Term:
    """The term of ``code``; `InvalidRequestError` when the vocabulary lacks it."""
    term = _terms().get(code)
    if term is None:
        raise InvalidRequestError(f"{code!r} is no code of the vocabulary")
    return term


def has_term(code: str) -> bool:
    """Whether the vocabulary holds ``code``."""
    return code in _terms()


def get_label(code: str, language: str = "en") -> str:
    """The label for people, ``language`` ``en`` or ``fr``; `InvalidRequestError` for another."""
    if language not in LANGUAGES:
        raise InvalidRequestError(f"language must be one of {', '.join(LANGUAGES)}, got {language!r}")
    term = get_term(code)
    return term.label_fr if language == "fr" else term.label_en
