"""Make the rows of the Imaging Data Commons in the catalogue of public sets again, from the catalogue of IDC.

    python -m benchmarks.public_sets [--check]

Rows of other sets stay as they are; of IDC's rows the columns that people write (`recommended`, `labels`, `use`, and
what follows in `source_of_facts`) stay. ``--check`` writes nothing and exits 1 where the file would change.
"""

from __future__ import annotations

import argparse
import csv
import html
import io
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import irmsia
from irmsia import durable
from irmsia.datasets.public_sets import COLUMNS, MODALITIES, REGIONS

TABLE = Path(irmsia.__file__).parent / "datasets" / "public_sets.csv"
WRITTEN = ("recommended", "labels", "use")
_SOURCE = f"IDC v{version('idc-index-data').split('.')[0]} catalogue"
_MODALITIES = {
    "CR": "X-RAY", "DX": "X-RAY", "CT": "CT", "MR": "MRI", "US": "ULTRASOUND", "MG": "MAMMOGRAPHY", "PT": "PET",
    "NM": "NUCLEAR", "XA": "FLUOROSCOPY", "RF": "FLUOROSCOPY", "SM": "PATHOLOGY", "OT": "OTHER", "XC": "OTHER",
}  # fmt: skip
# A word in the catalogue's tumour location, and the region of ours; "Various" and unknown places are "other".
_PLACES = {
    "brain": "brain", "head-neck": "head-neck", "head": "head-neck", "thyroid": "head-neck", "intraocular": "eye",
    "lung": "chest", "chest": "chest", "mediastinum": "chest", "thymus": "chest", "mesothelium": "chest",
    "esophagus": "chest", "breast": "breast", "liver": "abdomen", "kidney": "abdomen", "pancreas": "abdomen",
    "adrenal": "abdomen", "abdomen": "abdomen", "colon": "abdomen", "stomach": "abdomen", "bile": "abdomen",
    "prostate": "pelvis", "cervix": "pelvis", "uterus": "pelvis", "ovary": "pelvis", "bladder": "pelvis",
    "pelvis": "pelvis", "rectum": "pelvis", "testicles": "pelvis", "anus": "pelvis", "spine": "spine",
    "tspine": "spine", "lspine": "spine", "bone": "bone", "extremities": "bone", "marrow": "bone", "skin": "skin",
    "whole": "whole-body",
}  # fmt: skip
_COLLECTIONS = """
select c.*, s.* exclude (collection_id) from '{0}/collections_index.parquet' c join (
    select collection_id,
        list(distinct Modality) filter (analysis_result_id is null) as modalities,
        list(distinct license_short_name) as licences,
        count(distinct PatientID) as patients,
        sum(instanceCount) filter (analysis_result_id is null and list_contains({1}, Modality)) as images,
        sum(series_size_MB) / 1000 as size_gb,
        count(*) filter (Modality = 'SEG') as SEG,
        count(*) filter (Modality = 'RTSTRUCT') as RTSTRUCT,
        count(*) filter (Modality = 'ANN') as ANN,
        list(distinct analysis_result_id) filter (analysis_result_id is not null) as results
    from '{0}/idc_index.parquet' group by collection_id
) s using (collection_id) order by collection_id"""


def read_collections() -> list[dict[str, Any]]:
    """What the installed catalogue says of each collection, from its two tables."""
    import duckdb

    spec = find_spec("idc_index_data")
    assert spec is not None
    assert spec.origin is not None
    found = duckdb.sql(_COLLECTIONS.format(Path(spec.origin).parent, list(_MODALITIES)))
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def make_row(collection: Mapping[str, Any]) -> dict[str, str]:
    """The row of one collection, as text; columns that people write are empty."""
    origin = min(collection["sources"], key=lambda source: source["source_type"] != "original_data")
    doi = str(origin["source_doi"] or "")
    segmented = collection["SEG"] or collection["RTSTRUCT"]
    return dict.fromkeys(COLUMNS, "") | {
        "id": collection["collection_id"].replace("_", "-"),
        "name": collection["collection_name"],
        "modality": "|".join(_modalities(collection["modalities"])),
        "region": "|".join(_regions(collection["tumor_locations"] or "")),
        "task": "segmentation" if segmented else "",
        "format": "DICOM",
        "images": str(int(collection["images"] or 0) or ""),
        "unit": "DICOM files",
        "patients": str(collection["patients"]),
        "size_gb": f"{collection['size_gb']:.3g}" if collection["size_gb"] < 1000 else f"{collection['size_gb']:.0f}",
        "licence": "|".join(sorted({_licence(name) for name in collection["licences"]})),
        "access": "open",
        "source": "idc",
        "get": collection["collection_id"],
        "page": str(origin["source_url"] or f"https://doi.org/{doi}"),
        "notes": "; ".join(_notes(collection)),
        "reference": _reference(str(origin["citation"] or ""), doi),
        "source_of_facts": _SOURCE,
    }


def _modalities(codes: list[str]) -> list[str]:
    """In the order of the catalogue; OTHER (secondary captures and the like) only where there is nothing else."""
    found = {_MODALITIES[code] for code in codes if code in _MODALITIES}
    return [word for word in MODALITIES if word in found and (word != "OTHER" or found == {word})]


def _regions(places: str) -> list[str]:
    words = re.split(r"[^a-z-]+", places.lower().replace("chest-abdomen-pelvis", "chest abdomen pelvis"))
    found = {_PLACES[word] for word in words if word in _PLACES}
    return [region for region in REGIONS if region in found] or ["other"]


def _licence(name: str) -> str:
    return name if name.startswith("CC ") else "own terms"


def _notes(collection: Mapping[str, Any]) -> Iterator[str]:
    """Facts only: what it is about, on whom, which annotations lie beside the images, who else added some."""
    yield str(collection["cancer_types"]).replace(", ", " / ")[:90]
    if collection["species"] != "Human":
        yield f"species: {collection['species']}"
    if collection["status"] != "Complete":
        yield f"still growing ({collection['status'].lower()})"
    kinds = [f"{collection[kind]} {kind}" for kind in ("SEG", "RTSTRUCT", "ANN") if collection[kind]]
    if kinds:
        yield f"annotation series: {', '.join(kinds)}"
    results = sorted(collection["results"] or ())
    if results:
        yield f"with results of others: {', '.join(results[:3])}{' ...' if len(results) > 3 else ''}"


def _reference(citation: str, doi: str) -> str:
    plain = html.unescape(re.sub(r"<[^>]+>|\s+", " ", citation)).strip()
    first, year = re.match(r"[^,.(]{2,60}", plain), re.search(r"\((\d{4})\)", plain)
    who = " ".join(part for part in (first and first[0].strip(), year and year[1]) if part)
    return ", ".join(part for part in (who, f"doi:{doi}" if doi else "") if part)


def merge(rows: list[dict[str, str]], made: list[dict[str, str]]) -> list[dict[str, str]]:
    """The table with the made rows in place of its own of the same source; recommended ones first, then by id."""
    kept = {row["id"]: row for row in rows if not row["source_of_facts"].startswith("IDC ")}
    before = {row["id"]: row for row in rows if row["source_of_facts"].startswith("IDC ")}
    for row in made:
        kept.setdefault(row["id"], row | _written(before.get(row["id"], row)))
    return sorted(kept.values(), key=lambda row: (int(row["recommended"] or 99), row["id"]))


def _written(before: Mapping[str, str]) -> dict[str, str]:
    """What people wrote in a row of IDC; further sources stand behind the first semicolon."""
    more = before["source_of_facts"].partition(";")[2]
    return {column: before[column] for column in WRITTEN} | {
        "source_of_facts": f"{_SOURCE};{more}" if more else _SOURCE
    }


def to_text(rows: list[dict[str, str]]) -> str:
    """The file."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def main() -> int:
    """Write the table, or say whether it would change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the file would change")
    check = parser.parse_args().check
    old = TABLE.read_text("utf-8") if TABLE.exists() else ""
    rows = list(csv.DictReader(old.splitlines()))
    new = to_text(merge(rows, [make_row(collection) for collection in read_collections()]))
    if not check:
        durable.write_text(TABLE, new)
    count = len(list(csv.DictReader(new.splitlines())))
    print(f"{count} sets, {len(new.encode()) / 1000:.0f} kB, {'as' if new == old else 'other than'} before")
    return int(check and new != old)


if __name__ == "__main__":
    sys.exit(main())
