"""Asks NBIA, the archive of TCIA, version 4: no login, nothing found is an empty answer, null is left out.

Behaviour as in the server's source (CBIIT/NBIA-TCIA, ``software/nbia-api/.../restAPI/v4``), which differs from its
OpenAPI page in places.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from irmsia.datasets.collect.series import Series, is_uid
from irmsia.datasets.collect.web import Web
from irmsia.errors import SourceFailedError

_NLST = "nlst"
_TOGETHER = 1000
"""Series whose metadata are asked for in one go."""
_LONGEST_TEXT = 1000
_DOI = "doi.org/"


@dataclass(frozen=True, slots=True)
class Description:
    """What NBIA says of a collection: HTML, and the page of its publication."""

    about: str
    url: str


class Nbia:
    """The questions that the collector asks.

    Args:
        web: asks.
        base: address of the services, without the version.
    """

    def __init__(self, web: Web, base: str) -> None:
        self._web = web
        self._base = base.rstrip("/")

    def collections(self) -> list[str]:
        """The names of all collections.

        Raises:
            SourceFailedError: NBIA answers something else. So do all methods.
        """
        return sorted({_text(row, "Collection") for row in self._rows("getCollectionValues", {})} - {""})

    def description(self, collection: str) -> Description | None:
        """What NBIA says of it; null where it says nothing."""
        rows = self._rows("getCollectionDescriptions", {"collectionName": collection}, collection)
        found = [row for row in rows if _text(row, "collectionName").casefold() == collection.casefold()]
        return (
            Description(_text(found[0], "description", 100_000), _text(found[0], "descriptionURI")) if found else None
        )

    def series_of(self, collection: str) -> list[Series]:
        """All series of a collection; none where there is no such collection."""
        rows = self._rows("getSeries", {"Collection": collection}, collection)
        return [self._whole(_series(row)) for row in rows]

    def series_by_uid(self, uids: Sequence[str]) -> list[Series]:
        """Those of the series that NBIA shows to everybody."""
        found = []
        for start in range(0, len(uids), _TOGETHER):
            form = {"list": ",".join(uids[start : start + _TOGETHER])}
            text = self._web.ask(self._url("getSeriesMetadata", ""), form=form).text()
            found += [_series(row) for row in _csv_rows(text)]
        asked = set(uids)
        return [self._whole(one) for one in found if one.uid in asked]

    def image_url(self, series: Series) -> str:
        """Where the ZIP of a series is: its files and ``md5hashes.csv``."""
        query = urlencode({"SeriesInstanceUID": series.uid})
        return f"{self._url('getImageWithMD5Hash', series.collection)}?{query}"

    def _whole(self, series: Series) -> Series:
        """With the size, which some rows lack and a slower question tells."""
        if series.images is not None and series.bytes is not None:
            return series
        rows = self._rows("getSeriesSize", {"SeriesInstanceUID": series.uid}, series.collection)
        if not rows:
            return series
        size, images = _number(rows[0], "TotalSizeInBytes"), _number(rows[0], "ObjectCount")
        return _with_size(series, images, size)

    def _rows(self, question: str, params: Mapping[str, str], collection: str = "") -> list[Mapping[str, Any]]:
        answer = self._web.ask(self._url(question, collection), params=params).json()
        rows = [] if answer is None else answer
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise SourceFailedError("NBIA's answer is no list of rows")
        return rows

    def _url(self, question: str, collection: str) -> str:
        """NLST alone lies at a host of its own."""
        base = self._base
        if collection.casefold() == _NLST:
            base = base.replace("https://nbia.", "https://nlst.", 1)
        return f"{base}/v4/{question}"


def _series(row: Mapping[str, Any]) -> Series:
    uid, study = _text(row, "SeriesInstanceUID"), _text(row, "StudyInstanceUID")
    if not is_uid(uid) or not is_uid(study):
        raise SourceFailedError("NBIA names a series without a UID")
    return Series(
        uid=uid,
        study=study,
        patient=_text(row, "PatientID"),
        collection=_text(row, "Collection"),
        modality=_text(row, "Modality"),
        body_part=_text(row, "BodyPartExamined"),
        licence=_text(row, "LicenseName"),
        doi=_text(row, "DataDescriptionURI").rpartition(_DOI)[2].lower(),
        images=_number(row, "ImageCount"),
        bytes=_number(row, "FileSize"),
        description=_text(row, "SeriesDescription"),
    )


def _with_size(series: Series, images: int | None, size: int | None) -> Series:
    return replace(
        series,
        images=series.images if images is None else images,
        bytes=series.bytes if size is None else size,
    )


def _csv_rows(text: str) -> Iterable[Mapping[str, str]]:
    if not text.strip():
        return []
    reader = csv.DictReader(io.StringIO(text))
    if "SeriesInstanceUID" not in (reader.fieldnames or ()):
        raise SourceFailedError("NBIA's answer is no table of series")
    try:
        return [{name: value for name, value in row.items() if isinstance(value, str)} for row in reader]
    except csv.Error:
        raise SourceFailedError("NBIA's answer is no table of series") from None


def _text(row: Mapping[str, Any], name: str, longest: int = _LONGEST_TEXT) -> str:
    value = row.get(name)
    return value.strip()[:longest] if isinstance(value, str) else ""


def _number(row: Mapping[str, Any], name: str) -> int | None:
    """A count or a size, as a number or as text; null where it is missing or none."""
    value = row.get(name)
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 16:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15 else None
