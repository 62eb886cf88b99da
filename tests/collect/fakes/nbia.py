"""A stand-in of NBIA v4: the behaviour of its server source, held by series of our own."""

from __future__ import annotations

import csv
import datetime
import html
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.collect.fakes.contents import Instance, Series
from tests.collect.fakes.faults import Faulty

Row = Mapping[str, Any]


def _names(text: str) -> list[str]:
    return text.split(", ")


_SERIES = _names(
    "SeriesInstanceUID, StudyInstanceUID, Modality, ProtocolName, SeriesDate, SeriesDescription, BodyPartExamined,"
    " SeriesNumber, AnnotationsFlag, Collection, Site, PatientID, PatientSex, PatientAge,"
    " AdmittingDiagnosisDescription, Manufacturer, ManufacturerModelName, SoftwareVersions, ImageCount,"
    " MaxSubmissionTimestamp, LicenseName, LicenseURI, DataDescriptionURI, FileSize, ReleasedStatus, DateReleased,"
    " StudyDesc, StudyDate, ThirdPartyAnalysis, Authorized"
)
_METADATA = _names(
    "PatientID, PatientName, PatientSex, EthnicGroup, Phantom, SpeciesCode, SpeciesDescription, StudyInstanceUID,"
    " StudyDate, StudyDesc, AdmittingDiagnosisDescription, StudyID, PatientAge, LongitudinalTemporalEventType,"
    " LongitudinalTemporalOffsetFromEvent, SeriesInstanceUID, Collection, Site, Modality, ProtocolName, SeriesDate,"
    " SeriesDescription, BodyPartExamined, SeriesNumber, AnnotationsFlag, Manufacturer, ManufacturerModelName,"
    " PixelSpacing(mm)-Row, SliceThickness(mm), SoftwareVersions, ImageCount, MaxSubmissionTimestamp, LicenseName,"
    " LicenseURI, DataDescriptionURI, FileSize, ReleasedStatus, DateReleased, ThirdPartyAnalysis, Authorized"
)
_PATIENT = _names(
    "PatientId, PatientName, PatientSex, EthnicGroup, Collection, Phantom, SpeciesCode, SpeciesDescription, Authorized"
)
_STUDY = _names(
    "StudyInstanceUID, StudyDate, StudyDescription, AdmittingDiagnosesDescription, StudyID, PatientAge, PatientID,"
    " PatientName, PatientSex, EthnicGroup, Collection, SeriesCount, LongitudinalTemporalEventType,"
    " LongitudinalTemporalOffsetFromEvent, Authorized"
)
_RELEASED = datetime.date(2026, 1, 15)


@dataclass
class Archive:
    """What one NBIA holds, and how it lies when told.

    Attributes:
        series: all of them.
        lying: UIDs of series whose ``md5hashes.csv`` names another digest.
        closed_early: UID -> files after which a read error ends the ZIP, as whole and with 200 as ever.
    """

    series: tuple[Series, ...]
    lying: set[str] = field(default_factory=set)
    closed_early: dict[str, int] = field(default_factory=dict)

    def app(self) -> Faulty:
        """The server; its base address is ``/nbia-api/services``."""
        routes = [
            _get("getCollectionValues", ("format",), self._values("Collection", lambda one: one.collection)),
            _get(
                "getModalityValues",
                ("Collection", "format", "BodyPartExamined"),
                self._values("Modality", lambda one: one.modality),
            ),
            _get(
                "getBodyPartValues",
                ("Collection", "format", "Modality"),
                self._values("BodyPartExamined", lambda one: one.body_part),
            ),
            _get("getPatient", ("Collection", "PatientId", "format"), self._patients),
            _get("getPatientStudy", ("Collection", "PatientID", "StudyInstanceUID", "format"), self._studies),
            _get(
                "getSeries",
                (
                    *("Collection", "format", "PatientID", "StudyInstanceUID", "Modality", "BodyPartExamined"),
                    *("ManufacturerModelName", "Manufacturer", "SeriesInstanceUID"),
                ),
                self._series,
            ),
            _get("getUpdatedSeries", ("fromDate", "format"), self._updated),
            _get("getSeriesSize", ("SeriesInstanceUID", "format"), self._size),
            _get("getSOPInstanceUIDs", ("SeriesInstanceUID", "format"), self._instances),
            _get("getCollectionDescriptions", ("collectionName",), self._descriptions),
            _get("getImage", ("SeriesInstanceUID", "NewFileNames", "IncludeMD5"), self._image),
            _get("getImageWithMD5Hash", ("SeriesInstanceUID",), self._image_with_md5),
            Route("/nbia-api/services/v4/getSeriesMetadata", self._metadata, methods=["POST"]),
        ]
        return Faulty(Starlette(routes=routes))

    def _matching(self, asked: Mapping[str, str]) -> list[Series]:
        read: dict[str, Callable[[Series], str | None]] = {
            "Collection": lambda one: one.collection,
            "PatientID": lambda one: one.patient,
            "PatientId": lambda one: one.patient,
            "StudyInstanceUID": lambda one: one.study,
            "SeriesInstanceUID": lambda one: one.uid,
            "Modality": lambda one: one.modality,
            "BodyPartExamined": lambda one: one.body_part,
            "Manufacturer": lambda one: "IRMSIA",
            "ManufacturerModelName": lambda one: "IRMSIA phantom",
        }
        wanted = {name: value for name, value in asked.items() if name in read}
        return [one for one in self.series if all(read[name](one) == value for name, value in wanted.items())]

    def _values(self, column: str, read: Callable[[Series], str | None]) -> Callable[[Mapping[str, str]], Response]:
        def answer(asked: Mapping[str, str]) -> Response:
            found = sorted({value for one in self._matching(asked) if (value := read(one)) is not None})
            return _table([column], [{column: value} for value in found], asked.get("format"))

        return answer

    def _patients(self, asked: Mapping[str, str]) -> Response:
        seen = {(one.collection, one.patient): one for one in self._matching(asked)}
        rows = [
            {"PatientId": patient, "PatientName": patient, "Collection": collection, "Phantom": "YES", "Authorized": 1}
            for collection, patient in seen
        ]
        return _table(_PATIENT, rows, asked.get("format"))

    def _studies(self, asked: Mapping[str, str]) -> Response:
        studies: dict[str, list[Series]] = {}
        for one in self._matching(asked):
            studies.setdefault(one.study, []).append(one)
        rows = [
            {
                "StudyInstanceUID": study,
                "StudyDate": "2000-01-01 00:00:00.0",
                "PatientID": held[0].patient,
                "PatientName": held[0].patient,
                "Collection": held[0].collection,
                "SeriesCount": len(held),
                "Authorized": 1,
            }
            for study, held in studies.items()
        ]
        return _table(_STUDY, rows, asked.get("format"))

    def _series(self, asked: Mapping[str, str]) -> Response:
        return _table(_SERIES, [_series_row(one) for one in self._matching(asked)], asked.get("format"))

    def _updated(self, asked: Mapping[str, str]) -> Response:
        try:
            since = datetime.datetime.strptime(asked.get("fromDate", "").replace("-", "/"), "%m/%d/%Y").date()
        except ValueError:
            return Response("The fromDate is not of the form MM/DD/YYYY", 400)
        rows = [_series_row(one) for one in self.series] if since <= _RELEASED else []
        return _table(_SERIES, rows, asked.get("format"))

    def _size(self, asked: Mapping[str, str]) -> Response:
        rows = [{"TotalSizeInBytes": one.size, "ObjectCount": len(one.instances)} for one in self._of_uid(asked)]
        return _table(["TotalSizeInBytes", "ObjectCount"], rows, asked.get("format"))

    def _instances(self, asked: Mapping[str, str]) -> Response:
        rows = [{"SOPInstanceUID": instance.uid} for one in self._of_uid(asked) for instance in one.instances]
        return _table(["SOPInstanceUID"], rows, asked.get("format"))

    def _descriptions(self, asked: Mapping[str, str]) -> Response:
        """Here alone nothing found is ``[]``, and nothing is left out: another writer of JSON."""
        held = {one.collection: one for one in self.series}
        name = asked.get("collectionName")
        rows = [
            {
                "id": number,
                "collectionName": collection,
                "description": f"<p>Phantoms &amp; truth: {collection}</p>",
                "descriptionURI": f"https://doi.org/{one.doi}",
            }
            for number, (collection, one) in enumerate(sorted(held.items()), 1)
            if not name or collection == name
        ]
        return _json(rows)

    async def _metadata(self, request: Request) -> Response:
        form = {str(name): str(value) for name, value in (await request.form()).items()}
        uids = [uid for uid in form.get("list", "").split(",") if uid]
        held = {one.uid: one for one in self.series}
        rows = [_metadata_row(held[uid]) for uid in uids if uid in held]
        return _table(_METADATA, rows, "csv")

    def _of_uid(self, asked: Mapping[str, str]) -> list[Series]:
        return [one for one in self.series if one.uid == asked.get("SeriesInstanceUID")]

    def _image(self, asked: Mapping[str, str]) -> Response:
        return self._zip(
            asked,
            licence=True,
            hashes=asked.get("IncludeMD5", "").lower() == "yes",
            renamed=asked.get("NewFileNames", "").lower() == "yes",
        )

    def _image_with_md5(self, asked: Mapping[str, str]) -> Response:
        return self._zip(asked, licence=False, hashes=True, renamed=False)

    def _zip(self, asked: Mapping[str, str], *, licence: bool, hashes: bool, renamed: bool) -> Response:
        uid = asked.get("SeriesInstanceUID")
        if uid is None:
            return _refused("A parameter, SeriesInstanceUID, is required for this API call.")
        found = self._of_uid(asked)
        if not found:
            return _refused(
                f"The user has not been granted the access to image with given SeriesInstanceUID,{uid}."
                " Please contact System Admin to resolve this issue."
            )
        return StreamingResponse(
            _zip_pieces(self._members(found[0], licence=licence, hashes=hashes, renamed=renamed)),
            media_type="application/octet-stream",
            headers={"content-disposition": f'attachment; filename="{uid}.zip"'},
        )

    def _members(self, series: Series, *, licence: bool, hashes: bool, renamed: bool) -> Iterator[tuple[str, bytes]]:
        if licence:
            yield "LICENSE", f"{series.licence.name}\n{series.licence.url}\n".encode()
        listed = []
        for number, instance in enumerate(series.instances, 1):
            if number > self.closed_early.get(series.uid, number):
                return
            name = f"1-{number:02d}.dcm" if renamed else f"{number:08d}.dcm"
            listed.append((name, self._digest(series, instance)))
            yield name, instance.data
        if hashes:  # in no order: the server keeps them in a hash map
            lines = ["Filename,MD5Hash", *(f"{name},{digest}" for name, digest in reversed(listed))]
            yield "md5hashes.csv", "\n".join([*lines, ""]).encode()

    def _digest(self, series: Series, instance: Instance) -> str:
        return "0" * 32 if series.uid in self.lying else instance.md5


def manifest_of(series: Iterable[Series]) -> str:
    """A ``.tcia`` manifest."""
    header = (
        "downloadServerUrl=https://nbia.cancerimagingarchive.net/nbia-download/servlet/DownloadServlet",
        "includeAnnotation=true",
        "noOfrRetry=4",
        "databasketId=manifest-1700000000000.tcia",
        "manifestVersion=3.0",
        "ListOfSeriesToDownload=",
    )
    return "\n".join([*header, *(one.uid for one in series)]) + "\n"


def _get(name: str, allowed: tuple[str, ...], answer: Callable[[Mapping[str, str]], Response]) -> Route:
    async def endpoint(request: Request) -> Response:
        for asked in request.query_params:
            if asked not in allowed:
                return _refused(f"Invalid query parameter: '{asked}'. Allowed parameters are: [{', '.join(allowed)}]")
        return answer(request.query_params)

    return Route(f"/nbia-api/services/v4/{name}", endpoint, methods=["GET"])


def _series_row(one: Series) -> Row:
    return {
        "SeriesInstanceUID": one.uid,
        "StudyInstanceUID": one.study,
        "Modality": one.modality,
        "SeriesDescription": one.description,
        "BodyPartExamined": one.body_part,
        "SeriesNumber": 1,
        "AnnotationsFlag": "false",
        "Collection": one.collection,
        "PatientID": one.patient,
        "Manufacturer": "IRMSIA",
        "ManufacturerModelName": "IRMSIA phantom",
        "ImageCount": len(one.instances),
        "MaxSubmissionTimestamp": "2026-01-14 00:00:00.0",
        "LicenseName": one.licence.name,
        "LicenseURI": one.licence.url,
        "DataDescriptionURI": f"https://doi.org/{one.doi}",
        "FileSize": one.size,
        "ReleasedStatus": "Yes",
        "DateReleased": f"{_RELEASED.isoformat()} 00:00:00.0",
        "ThirdPartyAnalysis": "NO",
        "Authorized": 1,
    }


def _metadata_row(one: Series) -> Row:
    return {name: value for name, value in _series_row(one).items() if name in _METADATA} | {"Phantom": "YES"}


def _table(columns: list[str], rows: list[Row], wanted: str | None) -> Response:
    """Nothing found is an empty body; a null is left out."""
    kind = (wanted or "json").lower()
    if not rows:
        return Response(b"", 200)
    if kind == "json":
        ordered = [{name: row[name] for name in columns if row.get(name) is not None} for row in rows]
        return _json(ordered)
    if kind == "csv":
        buffer = io.StringIO()
        writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([["" if row.get(name) is None else row[name] for name in columns] for row in rows])
        return Response(buffer.getvalue(), media_type="text/csv")
    if kind in ("xml", "html"):
        cells = [[html.escape(str(row.get(name, ""))) for name in columns] for row in rows]
        lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in cells)
        return Response(f"<table>{lines}</table>", media_type="application/xml" if kind == "xml" else "text/html")
    return Response("Server was not able to process your request", 500)


def _json(rows: list[Any]) -> Response:
    return Response(json.dumps(rows), media_type="application/json")


def _refused(text: str) -> Response:
    return Response(text, 400, media_type="application/json")


class _Pieces(io.RawIOBase):
    """A sink that cannot seek, as a socket cannot: the ZIP then carries its sizes behind the data."""

    def __init__(self) -> None:
        super().__init__()
        self.held = bytearray()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Keep."""
        self.held += data
        return len(data)

    def take(self) -> bytes:
        """What was written since."""
        taken = bytes(self.held)
        self.held.clear()
        return taken


def _zip_pieces(members: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    sink = _Pieces()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            with archive.open(_entry(name), "w") as entry:
                for start in range(0, len(data), 4096):
                    entry.write(data[start : start + 4096])
                    yield sink.take()
            yield sink.take()
    yield sink.take()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (2026, 1, 15, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
