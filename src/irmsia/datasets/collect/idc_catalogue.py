"""The catalogue of NCI Imaging Data Commons, which comes with the package idc-index-data and is read without a network.

Two parquet files, read by duckdb as they lie: a row for each of a million series, and a row for each collection. The
columns are described in ``idc_index_schema.json`` of that package.
"""

from __future__ import annotations

import html
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irmsia.datasets.collect.series import Series
from irmsia.errors import NotConfiguredError

if TYPE_CHECKING:
    import duckdb

OTHERWISE = "the catalogue of IDC is not installed: pip install 'irmsia[data]'"

_TAG = re.compile(r"<[^<>]*>")
_COLLECTIONS = """
    SELECT collection_id, count(DISTINCT PatientID), sum(instanceCount)::BIGINT,
        sum(round(series_size_MB * 1e6)::BIGINT)::BIGINT, list(DISTINCT Modality), list(DISTINCT BodyPartExamined),
        list(DISTINCT license_short_name), list(DISTINCT lower(source_DOI))
    FROM read_parquet($index) GROUP BY collection_id ORDER BY collection_id
"""
_ABOUT = """
    SELECT collection_id, collection_name, cancer_types, tumor_locations, description, sources
    FROM read_parquet($about)
"""
_SERIES = """
    SELECT SeriesInstanceUID, StudyInstanceUID, PatientID, collection_id, Modality, BodyPartExamined,
        license_short_name, lower(source_DOI), instanceCount, round(series_size_MB * 1e6)::BIGINT, SeriesDescription,
        aws_bucket, crdc_series_uuid
    FROM read_parquet($index) WHERE
"""


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication whose data a collection holds: the images, or an analysis of them."""

    doi: str
    citation: str
    licence: str
    is_original: bool


@dataclass(frozen=True, slots=True)
class Collection:
    """One collection as the catalogue sums it up. ``publications``: the images' own first."""

    id: str
    name: str
    patients: int
    images: int
    bytes: int
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    licences: tuple[str, ...]
    publications: tuple[Publication, ...]
    about: str
    words: str
    """All that a search looks at, in lower case."""


def is_available() -> bool:
    """Whether the catalogue and its reader are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("duckdb", "idc_index_data"))


def installed() -> IdcCatalogue:
    """The catalogue of the installed package.

    Raises:
        NotConfiguredError: it is not installed.
    """
    if not is_available():
        raise NotConfiguredError(OTHERWISE)
    import idc_index_data

    index = Path(idc_index_data.__file__).with_name("idc_index.parquet")
    version = str(idc_index_data.__version__).split(".", 1)[0]
    return IdcCatalogue(index, index.with_name("collections_index.parquet"), f"IDC v{version}")


@dataclass(frozen=True, slots=True)
class IdcCatalogue:
    """Both files and their release. Every question opens them anew: nothing is held in memory between two."""

    index: Path
    about: Path
    version: str

    def collections(self) -> list[Collection]:
        """All collections, by their ids."""
        with _opened() as connection:
            sums = connection.execute(_COLLECTIONS, {"index": str(self.index)}).fetchall()
            rows = connection.execute(_ABOUT, {"about": str(self.about)}).fetchall()
        said = {row[0]: row for row in rows}
        return [_collection(row, said.get(row[0])) for row in sums]

    def find(self, name: str) -> Collection | None:
        """The collection of that id, or of that name at TCIA; capitals, blanks and hyphens do not count."""
        wanted = folded(name)
        found = [one for one in self.collections() if wanted in (folded(one.id), folded(one.name))]
        return found[0] if found else None

    def series_of(self, collection: str) -> list[Series]:
        """All series of the collection of that id."""
        return self._series("collection_id = $value", collection)

    def series_by_uid(self, uids: Sequence[str]) -> list[Series]:
        """Those of the series that the catalogue holds."""
        return self._series("SeriesInstanceUID IN (SELECT unnest($value))", list(uids)) if uids else []

    def _series(self, condition: str, value: object) -> list[Series]:
        with _opened() as connection:
            rows = connection.execute(_SERIES + condition, {"index": str(self.index), "value": value}).fetchall()
        return [_series(row) for row in rows]


def plain_text(text: str | None) -> str:
    """Without markup, on one line."""
    return " ".join(html.unescape(_TAG.sub("", text or "")).split())


@contextmanager
def _opened() -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    with duckdb.connect(config={"threads": 2, "autoinstall_known_extensions": False}) as connection:
        yield connection


def _collection(sums: Sequence[Any], said: Sequence[Any] | None) -> Collection:
    identity, patients, images, size, modalities, parts, licences, dois = sums
    _, name, cancers, places, about, sources = said or (identity, identity, "", "", "", [])
    about = plain_text(about)
    words = (identity, name, cancers, places, about, *_sorted(modalities), *_sorted(parts), *_sorted(licences))
    return Collection(
        id=identity,
        name=name or identity,
        patients=patients,
        images=images or 0,
        bytes=size or 0,
        modalities=_sorted(modalities),
        body_parts=_sorted(parts),
        licences=_sorted(licences),
        publications=_publications(sources or [], _sorted(dois)),
        about=about,
        words=" ".join(word or "" for word in words).casefold(),
    )


def _publications(sources: Iterable[Mapping[str, Any]], dois: Iterable[str]) -> tuple[Publication, ...]:
    """Those that are there, and one without citation for each DOI that the table does not know."""
    known = {}
    for source in sources:
        doi = str(source.get("source_doi") or "").lower()
        licence = str((source.get("license") or {}).get("license_short_name") or "")
        kind = str(source.get("source_type") or "")
        known[doi] = Publication(doi, plain_text(source.get("citation")), licence, kind == "original_data")
    found = [known.get(doi) or Publication(doi, f"https://doi.org/{doi}", "", False) for doi in dois]
    return tuple(sorted(found, key=lambda one: (not one.is_original, one.doi)))


def _series(row: Sequence[Any]) -> Series:
    uid, study, patient, collection, modality, part, licence, doi, images, size, description, bucket, folder = row
    return Series(
        uid=uid or "",
        study=study or "",
        patient=patient or "",
        collection=collection,
        modality=modality or "",
        body_part=part or "",
        licence=licence or "",
        doi=doi or "",
        images=images,
        bytes=size,
        description=description or "",
        bucket=bucket or "",
        folder_key=folder or "",
    )


def _sorted(values: Iterable[str | None] | None) -> tuple[str, ...]:
    return tuple(sorted({value for value in values or () if value}))


def folded(name: str) -> str:
    """What a name at TCIA (``LIDC-IDRI``) and an id of IDC (``lidc_idri``) have in common."""
    return re.sub(r"[-\s]+", "_", name.strip().casefold())
