"""Whose data a dataset is: references, licences, and which licences do not go together.

What is known comes from what the catalogue keeps of a dataset (``about``) and from the receipts of its downloads; for a
merged dataset, from those of every set in it. Unknown says unknown. No legal advice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from irmsia.datasets.licences import Licence, find_licences

_DOI = re.compile(r"\b10\.\d{4,9}/[^\s\"<>{}\\^`|]+")
_YEAR = re.compile(r"\b((?:19|20)\d{2})\b")
_BRACED_YEAR = re.compile(r"\(((?:19|20)\d{2})[a-z]?\)")
_ADDRESS = re.compile(r"https?://\S+|\b10\.\d{4,9}/\S+")
_LONGEST = 4000
MOST_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Reference:
    """One source of a dataset. Empty or null where nobody said it.

    Attributes:
        source: what the records call it.
        title: of the set.
        citation: how its owners want to be cited, as they write it.
        doi, year: found in ``citation`` or ``url``.
        url: the page for people.
        licences: all that it comes under.
        files: files that were downloaded from it; 0 where none is on record.
        got: the days of the first and the last download, or null.
    """

    source: str
    title: str = ""
    citation: str = ""
    doi: str | None = None
    year: int | None = None
    url: str = ""
    licences: tuple[Licence, ...] = ()
    files: int = 0
    got: tuple[str, str] | None = None


class ConditionCode(StrEnum):
    """What has to be minded, the gravest first."""

    SHARE_ALIKE_CLASH = "SHARE_ALIKE_CLASH"
    UNKNOWN_LICENCE = "UNKNOWN_LICENCE"
    RESTRICTED = "RESTRICTED"
    NO_DERIVATIVES = "NO_DERIVATIVES"
    NON_COMMERCIAL = "NON_COMMERCIAL"
    SHARE_ALIKE = "SHARE_ALIKE"
    NO_CITATION = "NO_CITATION"


CONFLICTS = frozenset(
    {
        ConditionCode.SHARE_ALIKE_CLASH,
        ConditionCode.UNKNOWN_LICENCE,
        ConditionCode.RESTRICTED,
        ConditionCode.NO_DERIVATIVES,
        ConditionCode.NON_COMMERCIAL,
    }
)
"""What stands against a use: passing the set on, changing it, or earning with it. The others are duties."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``code``, the sources that bring it, and the licences in question."""

    code: ConditionCode
    sources: tuple[str, ...]
    licences: tuple[str, ...] = ()

    @property
    def is_conflict(self) -> bool:
        """Whether it stands against a use."""
        return self.code in CONFLICTS


@dataclass(frozen=True, slots=True)
class Citations:
    """References in order of their sources, and what has to be minded."""

    references: tuple[Reference, ...]
    conditions: tuple[Condition, ...]


def cite(
    name: str,
    about: Mapping[str, Any],
    *,
    receipts: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    sources: Iterable[str] = (),
) -> Citations:
    """Collect references and conditions of the dataset ``name``.

    Args:
        name: of the dataset; the source of what ``about`` says where its records name none.
        about: what the catalogue keeps: ``title, licence, citation, url``, ``receipts``, and ``merged_from`` for a
            merged dataset. Anything else in it is left alone, and so is what is no text.
        receipts: by dataset name (``name`` itself, or one it was merged from): lines of its ``receipts.jsonl``.
        sources: what the records of the dataset name; each gets a reference, if only to say that nothing is known.
    """
    found = [
        ref
        for part, facts in _parts(name, about, 0)
        for ref in _references(part, facts, (receipts or {}).get(part, ()))
    ]
    named = {reference.source for reference in found}
    found += [Reference(source) for source in sorted(set(sources) - named)]
    unique = tuple(dict.fromkeys(sorted(found, key=lambda row: (row.source, row.title))))
    return Citations(unique, tuple(_conditions(unique)))


def to_json(citations: Citations) -> dict[str, Any]:
    """As a JSON object."""
    return {
        "references": [asdict(reference) for reference in citations.references],
        "conditions": [asdict(row) | {"is_conflict": row.is_conflict} for row in citations.conditions],
    }


def to_bibtex(citations: Citations) -> str:
    """BibTeX, one ``@misc`` a reference; what is unknown is left out. Authors are not guessed out of a citation."""
    return "\n".join(_entry(number, row) for number, row in enumerate(citations.references, 1))


def _parts(name: str, about: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The datasets that a dataset was merged from, to the last; itself where it was not merged."""
    merged = about.get("merged_from")
    if not isinstance(merged, list) or depth > MOST_DEPTH:
        yield name, about
        return
    for part in merged:
        if isinstance(part, Mapping):
            facts = part.get("about")
            yield from _parts(_text(part.get("name")), facts if isinstance(facts, Mapping) else {}, depth + 1)


def _references(name: str, about: Mapping[str, Any], receipts: Sequence[Mapping[str, Any]]) -> Iterator[Reference]:
    """One for what is said of the whole set, or one for each offer that it was downloaded from."""
    kept = about.get("receipts")
    lines = [*receipts, *(kept if isinstance(kept, list) else [])]
    offers: defaultdict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        if isinstance(line, Mapping):
            offers[_text(line.get("source")), _text(line.get("offer"))].append(line)
    citation, licence = _text(about.get("citation")), _text(about.get("licence"))
    if not offers or citation or licence:
        days = sorted(day for rows in offers.values() for row in rows if (day := _text(row.get("got_at"))[:10]))
        yield _reference(
            name,
            title=_text(about.get("title")),
            citation=citation or _joined(row.get("citation") for rows in offers.values() for row in rows),
            url=_text(about.get("url")),
            licence=licence or _joined(row.get("licence") for rows in offers.values() for row in rows),
            files=sum(map(len, offers.values())),
            days=days,
        )
        return
    for (source, offer), rows in sorted(offers.items()):
        yield _reference(
            name,
            title=f"{offer} ({source})" if offer else source,
            citation=_joined(row.get("citation") for row in rows),
            url=_text(about.get("url")) if len(offers) == 1 else "",
            licence=_joined(row.get("licence") for row in rows),
            files=len(rows),
            days=sorted(day for row in rows if (day := _text(row.get("got_at"))[:10])),
        )


def _reference(
    source: str, *, title: str, citation: str, url: str, licence: str, files: int, days: Sequence[str]
) -> Reference:
    doi = _DOI.search(citation) or _DOI.search(url)
    bare = _ADDRESS.sub(" ", citation)
    year = _BRACED_YEAR.search(bare) or _YEAR.search(bare)
    return Reference(
        source=source,
        title=title,
        citation=citation,
        doi=doi[0].rstrip(".,;)") if doi else None,
        year=int(year[1]) if year else None,
        url=url,
        licences=find_licences(licence),
        files=files,
        got=(days[0], days[-1]) if days else None,
    )


_TERMS = (
    (ConditionCode.RESTRICTED, "restricted", True),
    (ConditionCode.NO_DERIVATIVES, "derivatives", False),
    (ConditionCode.NON_COMMERCIAL, "commercial", False),
    (ConditionCode.SHARE_ALIKE, "share_alike", True),
)


def _conditions(references: Sequence[Reference]) -> list[Condition]:
    """In the order of `ConditionCode`."""
    order = list(ConditionCode)
    found = [*_clashes(references), *_terms(references), *_gaps(references)]
    return sorted(found, key=lambda row: order.index(row.code))


def _terms(references: Sequence[Reference]) -> Iterator[Condition]:
    """What single licences ask for."""
    for code, term, value in _TERMS:
        rows = [(row.source, it.spdx) for row in references for it in row.licences if getattr(it, term) is value]
        if rows:
            yield Condition(code, _distinct(source for source, _ in rows), _distinct(spdx for _, spdx in rows))


def _gaps(references: Sequence[Reference]) -> Iterator[Condition]:
    """What nobody said."""
    unknown = [row for row in references if not row.licences or not all(it.is_known for it in row.licences)]
    if unknown:
        told = _distinct(it.told for row in unknown for it in row.licences if not it.is_known)
        yield Condition(ConditionCode.UNKNOWN_LICENCE, _distinct(row.source for row in unknown), told)
    owed = [row for row in references if not row.citation and any(it.attribution is not False for it in row.licences)]
    if owed:
        yield Condition(ConditionCode.NO_CITATION, _distinct(row.source for row in owed))


def _clashes(references: Sequence[Reference]) -> Iterator[Condition]:
    """A share-alike licence asks that the whole be under it, which another one may not allow."""
    rows = [(row.source, licence) for row in references for licence in row.licences if licence.is_known]
    alike = [(source, licence) for source, licence in rows if licence.share_alike]
    for source, licence in alike:
        against = [(other, it) for other, it in rows if it.spdx != licence.spdx and not _fits_under(it, licence)]
        if against:
            sources = _distinct([source, *(other for other, _ in against)])
            licences = _distinct([licence.spdx, *(it.spdx for _, it in against)])
            yield Condition(ConditionCode.SHARE_ALIKE_CLASH, sources, licences)
            return


def _fits_under(licence: Licence, whole: Licence) -> bool:
    """Whether what is under ``licence`` may become part of something under ``whole``.

    It may not ask for more: no share-alike of its own, no ban on changes, none on commerce that ``whole`` lacks.
    """
    if licence.share_alike or licence.derivatives is not True or licence.restricted:
        return False
    return licence.commercial is True or whole.commercial is False


def _entry(number: int, row: Reference) -> str:
    key = re.sub(r"[^A-Za-z0-9]+", "_", row.source).strip("_") or "dataset"
    licences = "; ".join(licence.spdx or licence.told for licence in row.licences)
    fields = {
        "title": row.title or row.source,
        "year": str(row.year) if row.year else "",
        "doi": row.doi or "",
        "url": row.url,
        "howpublished": row.citation,
        "note": f"Licence: {licences or 'unknown'}",
    }
    lines = [
        f"  {name} = {{{_verbatim(value) if name in _VERBATIM else _tex(value)}}}"
        for name, value in fields.items()
        if value
    ]
    return f"@misc{{{key}_{number},\n" + ",\n".join(lines) + "\n}\n"


_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


_VERBATIM = frozenset({"doi", "url"})


def _verbatim(text: str) -> str:
    """An address, which LaTeX does not interpret; without what would end the field."""
    return re.sub(r"[\s{}\\]", "", text)


def _tex(text: str) -> str:
    """Text that steers neither BibTeX nor LaTeX, on one line."""
    return "".join(_TEX.get(character, character) for character in " ".join(text.split()))


def _text(value: object) -> str:
    """A text of reasonable length, or ""."""
    return value[:_LONGEST].strip() if isinstance(value, str) else ""


def _joined(values: Iterable[object]) -> str:
    return "; ".join(_distinct(text for value in values if (text := _text(value))))


def _distinct(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value is not None))
