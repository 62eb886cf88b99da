"""Licences as people write them, and what they are: SPDX identifiers and terms from one small table.

A name that the table does not know stays as it is told and has no identifier and no terms: unknown says unknown.
Nothing here is legal advice; the text of a licence decides.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

_UNTOLD = frozenset(
    {"", "unknown", "none", "other", "notspecified", "unspecified", "otherspecifiedindescription", "na"}
)
_FILLING = re.compile(r"\b(licen[cs]e|licen[cs]ed|international|unported|generic|the|under|v(?=\d))\b")
_PARTS = (
    ("BY", re.compile(r"\bby\b|attribution")),
    ("NC", re.compile(r"\bnc\b|non.?commercial")),
    ("ND", re.compile(r"\bnd\b|no.?deriv")),
    ("SA", re.compile(r"\bsa\b|share.?alike")),
)
_CREATIVE_COMMONS = re.compile(r"\bcc\b|creative ?commons|\bcc.?by")
_VERSION = re.compile(r"\b([1-4])(?:\.(\d))?\b")
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Licence:
    """What is known of one licence. A term is null where it is not known.

    Attributes:
        told: as the source writes it, "" where it writes nothing.
        spdx: its SPDX identifier, or ``LicenseRef-...`` for one that has none there; null where unknown.
        name: in full.
        commercial: whether commercial use is allowed.
        derivatives: whether changed works may be passed on.
        share_alike: whether they must stay under the same licence.
        attribution: whether authors must be named.
        restricted: whether one has to sign or to register first.
        url: of its text.
    """

    told: str
    spdx: str | None = None
    name: str | None = None
    commercial: bool | None = None
    derivatives: bool | None = None
    share_alike: bool | None = None
    attribution: bool | None = None
    restricted: bool | None = None
    url: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether the table knows it."""
        return self.spdx is not None


def find_licences(told: str) -> tuple[Licence, ...]:
    """The licences that a source names, several parted by ``;`` or line breaks; none where it says nothing."""
    parts = [part.strip() for part in re.split(r"[;\n]", told[:_LONGEST])]
    return tuple(dict.fromkeys(find_licence(part) for part in parts if _compact(part) not in _UNTOLD))


def find_licence(told: str) -> Licence:
    """The licence that ``told`` names: an SPDX identifier, a common name, or an address of Creative Commons."""
    known = _by_name().get(_compact(told)) or _creative_commons(told)
    if known is None:
        return Licence(told)
    row = _rows()[known]
    return Licence(
        told,
        spdx=known,
        name=row["name"],
        **{term: _yes(row[term]) for term in ("commercial", "derivatives", "share_alike", "attribution", "restricted")},
        url=row["url"] or None,
    )


def _creative_commons(told: str) -> str | None:
    """The identifier of a Creative Commons licence, by its parts and its version; null without a version."""
    text = re.sub(r"[-_/()]", " ", told.casefold())
    if not _CREATIVE_COMMONS.search(text):
        return None
    if re.search(r"\bcc ?0\b|\bzero\b", text):
        return "CC0-1.0"
    text = re.sub(r"\bccby", "cc by ", text)
    parts = [part for part, pattern in _PARTS if pattern.search(text)]
    version = _VERSION.search(text)
    if not parts or version is None:
        return None
    spdx = f"CC-{'-'.join(parts)}-{version[1]}.{version[2] or '0'}"
    return spdx if spdx in _rows() else None


def _compact(text: str) -> str:
    """A name as names are compared: without case, signs, and words that every licence has."""
    return re.sub(r"[^a-z0-9]", "", _FILLING.sub(" ", text.casefold()))


def _yes(cell: str) -> bool | None:
    return {"yes": True, "no": False}.get(cell)


@cache
def _rows() -> Mapping[str, Mapping[str, str]]:
    text = resources.files(__package__).joinpath("licences.csv").read_text("utf-8")
    return {row["spdx"]: row for row in csv.DictReader(text.splitlines())}


@cache
def _by_name() -> Mapping[str, str]:
    return {
        _compact(name): spdx
        for spdx, row in _rows().items()
        for name in (spdx, row["name"], *row["other_names"].split("|"))
        if name
    }
