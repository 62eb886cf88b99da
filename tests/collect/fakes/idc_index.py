"""A small parquet with the columns of the index of idc-index-data, and one of its collections."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

from tests.collect.fakes.contents import Series

_COLUMNS = (
    "collection_id VARCHAR, analysis_result_id VARCHAR, PatientID VARCHAR, SeriesInstanceUID VARCHAR,"
    " StudyInstanceUID VARCHAR, source_DOI VARCHAR, PatientAge VARCHAR, PatientSex VARCHAR, StudyDate VARCHAR,"
    " StudyDescription VARCHAR, BodyPartExamined VARCHAR, Modality VARCHAR, SOPClassUID VARCHAR,"
    " sop_class_name VARCHAR, TransferSyntaxUID VARCHAR, transfer_syntax_name VARCHAR,"
    " PhotometricInterpretation VARCHAR, PixelRepresentation VARCHAR, Manufacturer VARCHAR,"
    " ManufacturerModelName VARCHAR, SeriesDate VARCHAR, SeriesDescription VARCHAR, SeriesNumber VARCHAR,"
    " instanceCount BIGINT, license_short_name VARCHAR, series_init_idc_version BIGINT,"
    " series_revised_idc_version BIGINT, aws_bucket VARCHAR, crdc_series_uuid VARCHAR, series_aws_url VARCHAR,"
    " series_size_MB DOUBLE"
)
NAMES = tuple(column.strip().split()[0] for column in _COLUMNS.split(","))
_SOURCE = (
    "STRUCT(source_id VARCHAR, source_title VARCHAR, source_type VARCHAR, source_doi VARCHAR, source_url VARCHAR,"
    " modalities VARCHAR, license STRUCT(license_url VARCHAR, license_long_name VARCHAR, license_short_name VARCHAR),"
    " citation VARCHAR)[]"
)
_COLLECTION_COLUMNS = (
    "collection_name VARCHAR, collection_id VARCHAR, cancer_types VARCHAR, tumor_locations VARCHAR, subjects BIGINT,"
    f" species VARCHAR, sources {_SOURCE}, supporting_data VARCHAR, program_id VARCHAR, status VARCHAR,"
    " updated VARCHAR, description VARCHAR"
)


def write_index(folder: Path, series: Iterable[Series]) -> tuple[Path, Path]:
    """Write ``idc_index.parquet`` and ``collections_index.parquet``; series that IDC does not hold are left out."""
    held = [one for one in series if one.bucket is not None]
    index, collections = folder / "idc_index.parquet", folder / "collections_index.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE series ({_COLUMNS})")
        connection.executemany(f"INSERT INTO series VALUES ({','.join('?' * len(NAMES))})", [_row(one) for one in held])
        connection.execute("COPY series TO $path (FORMAT parquet)", {"path": str(index)})
        connection.execute(f"CREATE TABLE collections ({_COLLECTION_COLUMNS})")
        for name, one in sorted({one.collection: one for one in held}.items()):
            connection.execute(f"INSERT INTO collections VALUES ({','.join('?' * 12)})", _collection(name, one, held))
        connection.execute("COPY collections TO $path (FORMAT parquet)", {"path": str(collections)})
    return index, collections


def _row(one: Series) -> list[object]:
    values: dict[str, object] = dict.fromkeys(NAMES) | {
        "collection_id": one.idc_collection,
        "PatientID": one.patient,
        "SeriesInstanceUID": one.uid,
        "StudyInstanceUID": one.study,
        "source_DOI": one.doi,
        "BodyPartExamined": one.body_part,
        "Modality": one.modality,
        "Manufacturer": "IRMSIA",
        "SeriesDescription": one.description,
        "SeriesNumber": "1",
        "instanceCount": len(one.instances),
        "license_short_name": one.licence.name,
        "series_init_idc_version": 20,
        "series_revised_idc_version": 20,
        "aws_bucket": one.bucket,
        "crdc_series_uuid": one.uuid,
        "series_aws_url": f"s3://{one.bucket}/{one.uuid}/*",
        "series_size_MB": round(one.size / 1e6, 6),
    }
    return list(values.values())


def _collection(name: str, one: Series, held: list[Series]) -> list[object]:
    mine = [other for other in held if other.collection == name]
    sources = [
        {
            "source_id": one.idc_collection,
            "source_title": name,
            "source_type": "original_data",
            "source_doi": one.doi,
            "source_url": f"https://doi.org/{one.doi}",
            "modalities": ", ".join(sorted({other.modality for other in mine})),
            "license": {
                "license_url": one.licence.url,
                "license_long_name": one.licence.name,
                "license_short_name": one.licence.name,
            },
            "citation": f"IRMSIA contributors. <i>{name}</i> (Version 1) [Data set].\nhttps://doi.org/{one.doi}",
        }
    ]
    patients = len({other.patient for other in mine})
    return [
        *(name, one.idc_collection, "Phantom Cancer", (one.body_part or "").title(), patients, "Human", sources),
        *(None, None, "Complete", "2026-01-15", f"Phantoms of {name}."),
    ]
