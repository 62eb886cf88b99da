"""The stand-ins keep to what is known of their sources; the sources' own clients prove the rest in the slow tier."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator

import httpx2
import pytest

from tests.collect.fakes import faults
from tests.collect.fakes.contents import LUNG, collections, of_collection
from tests.collect.fakes.open_sources import OpenArchive, OpenStore, open_nbia, open_s3

FIRST = of_collection(LUNG)[0]


@pytest.fixture(scope="module")
def nbia() -> Iterator[OpenArchive]:
    """One NBIA for all that only look."""
    with open_nbia() as opened:
        yield opened


@pytest.fixture(scope="module")
def s3() -> Iterator[OpenStore]:
    """One S3 for all that only look."""
    with open_s3() as opened:
        yield opened


def _get(opened: OpenArchive, question: str, **params: str) -> httpx2.Response:
    return httpx2.get(f"{opened.url}/v4/{question}", params=params)


def test_nothing_found_is_an_empty_body(nbia: OpenArchive) -> None:
    """Status 200 and no byte, not an empty list."""
    answer = _get(nbia, "getSeries", Collection="No-Such")
    assert (answer.status_code, answer.content) == (200, b"")


def test_an_unknown_parameter_is_refused(nbia: OpenArchive) -> None:
    """400 and the sentence that names it."""
    answer = _get(nbia, "getPatient", Collection=LUNG, Sex="F")
    assert answer.status_code == 400
    assert answer.text == "Invalid query parameter: 'Sex'. Allowed parameters are: [Collection, PatientId, format]"


def test_an_unknown_format_is_an_error_of_the_server(nbia: OpenArchive) -> None:
    """500 with its sentence; the four known ones are answered."""
    answer = _get(nbia, "getCollectionValues", format="yaml")
    assert (answer.status_code, answer.text) == (500, "Server was not able to process your request")
    assert _get(nbia, "getCollectionValues", format="csv").text.splitlines()[0] == '"Collection"'
    for known in ("json", "xml", "html"):
        assert _get(nbia, "getCollectionValues", format=known).status_code == 200


@pytest.mark.parametrize("question", ["getImage", "getImageWithMD5Hash"])
def test_images_of_no_series_are_refused(nbia: OpenArchive, question: str) -> None:
    """Both with 400: without a UID, and with one that nobody may see."""
    answer = _get(nbia, question)
    assert answer.text == "A parameter, SeriesInstanceUID, is required for this API call."
    assert answer.status_code == 400
    answer = _get(nbia, question, SeriesInstanceUID="1.2.3")
    assert answer.text.startswith(
        "The user has not been granted the access to image with given SeriesInstanceUID,1.2.3"
    )
    assert answer.status_code == 400


def test_the_archive_streams_with_its_licence_first(nbia: OpenArchive) -> None:
    """No length, no Range; LICENSE, then numbered files, then the digests where they are wanted."""
    answer = _get(nbia, "getImage", SeriesInstanceUID=FIRST.uid, IncludeMD5="Yes")
    assert "content-length" not in answer.headers and answer.headers["content-type"] == "application/octet-stream"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    names = [f"{number:08d}.dcm" for number in range(1, 6)]
    assert archive.namelist() == ["LICENSE", *names, "md5hashes.csv"]
    assert [archive.read(name) for name in names] == [instance.data for instance in FIRST.instances]
    only = _get(nbia, "getImageWithMD5Hash", SeriesInstanceUID=FIRST.uid)
    assert zipfile.ZipFile(io.BytesIO(only.content)).namelist() == [*names, "md5hashes.csv"]
    named = _get(nbia, "getImage", SeriesInstanceUID=FIRST.uid, NewFileNames="Yes")
    assert zipfile.ZipFile(io.BytesIO(named.content)).namelist()[:2] == ["LICENSE", "1-01.dcm"]


def test_a_read_error_ends_the_archive_early_and_says_200() -> None:
    """A whole ZIP with too few files."""
    with open_nbia() as opened:
        opened.archive.closed_early[FIRST.uid] = 2
        answer = _get(opened, "getImageWithMD5Hash", SeriesInstanceUID=FIRST.uid)
    assert answer.status_code == 200
    assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == ["00000001.dcm", "00000002.dcm"]


def test_dates_are_american(nbia: OpenArchive) -> None:
    """MM/DD/YYYY; others are refused."""
    assert len(_get(nbia, "getUpdatedSeries", fromDate="01/15/2026").json()) == len(collections())
    assert _get(nbia, "getUpdatedSeries", fromDate="01/16/2026").content == b""
    assert _get(nbia, "getUpdatedSeries", fromDate="2026-01-15").status_code == 400


def test_metadata_are_asked_by_a_form_and_answered_as_a_table(nbia: OpenArchive) -> None:
    """POST, ``list`` of UIDs, CSV."""
    answer = httpx2.post(f"{nbia.url}/v4/getSeriesMetadata", data={"list": f"{FIRST.uid},1.2.3"})
    assert len(answer.text.splitlines()) == 2 and FIRST.uid in answer.text


def test_the_store_lists_page_by_page() -> None:
    """IsTruncated and a token until all keys are told, in order; folders with a delimiter."""
    with open_s3(page=2) as opened:
        pages, token = [], None
        while True:
            params = {"list-type": "2", "prefix": f"{FIRST.uuid}/"} | ({"continuation-token": token} if token else {})
            text = httpx2.get(f"{opened.url}/idc-open-data", params=params).text
            pages.append(text.count("<Key>"))
            if "<IsTruncated>true" not in text:
                break
            token = text.split("<NextContinuationToken>")[1].split("<")[0]
        folders = httpx2.get(f"{opened.url}/idc-open-data", params={"list-type": "2", "delimiter": "/"}).text
    assert pages == [2, 2, 1]
    assert folders.count("<CommonPrefixes>") == 2 and "<KeyCount>2<" in folders


def test_objects_come_whole_in_ranges_and_not_at_all(s3: OpenStore) -> None:
    """200, 206 with Content-Range, 416, 404 with NoSuchKey; ETag is the MD5."""
    instance = FIRST.instances[0]
    url = f"{s3.url}/idc-open-data/{FIRST.uuid}/{instance.uuid}.dcm"
    whole = httpx2.get(url)
    assert whole.content == instance.data and whole.headers["etag"] == f'"{instance.md5}"'
    assert hashlib.md5(whole.content).hexdigest() == instance.md5
    head = httpx2.head(url)
    assert head.content == b"" and head.headers["content-length"] == str(len(instance.data))
    part = httpx2.get(url, headers={"range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == instance.data[100:200]
    assert part.headers["content-range"] == f"bytes 100-199/{len(instance.data)}"
    assert httpx2.get(url, headers={"range": "bytes=-7"}).content == instance.data[-7:]
    assert httpx2.get(url, headers={"range": f"bytes={len(instance.data)}-"}).status_code == 416
    changed = httpx2.get(url, headers={"range": "bytes=100-", "if-range": '"other"'})
    assert changed.status_code == 200 and changed.content == instance.data
    missing = httpx2.get(f"{s3.url}/idc-open-data/none.dcm")
    assert missing.status_code == 404 and "<Code>NoSuchKey</Code>" in missing.text


def test_faults_come_for_their_path_and_go_again() -> None:
    """A fault answers what its pattern fits, so many times, after so many; each looks as it says."""
    with open_s3() as opened:
        url = f"{opened.url}/idc-open-data/{FIRST.uuid}/{FIRST.instances[0].uuid}.dcm"
        data = FIRST.instances[0].data
        opened.app.on(r"\.dcm", faults.slow_down(3), times=1, skip=1)
        answers = [httpx2.get(url) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 503, 200]
        assert answers[1].headers["retry-after"] == "3" and "SlowDown" in answers[1].text
        opened.app.heal()
        opened.app.on(r"\.dcm", faults.cut(1000), times=1)
        with pytest.raises(httpx2.RemoteProtocolError):
            httpx2.get(url)
        opened.app.on(r"\.dcm", faults.flipped(1000), times=1)
        assert [index for index, (a, b) in enumerate(zip(httpx2.get(url).content, data, strict=True)) if a != b] == [
            1000
        ]
        opened.app.on(r"\.dcm", faults.header("etag", '"x"'), times=1)
        assert httpx2.get(url).headers["etag"] == '"x"'
        opened.app.on(r"\.dcm", faults.slow(0.0, 4096), times=1)
        assert httpx2.get(url).content == data
        opened.app.on(r"\.dcm", faults.stalls(2000), times=1)
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.get(url, timeout=0.3)
        opened.app.on(r"\.dcm", faults.endless(), times=1)
        with httpx2.stream("GET", url) as answer:
            assert sum(len(chunk) for chunk, _ in zip(answer.iter_raw(65536), range(50), strict=False)) > len(data)
        for fault, status in (
            (faults.error_500(), 500),
            (faults.redirect("http://10.0.0.1/"), 302),
            (faults.empty(), 200),
        ):
            opened.app.on(r"\.dcm", fault, times=1)
            assert httpx2.get(url).status_code == status
        opened.app.on(r"\.dcm", faults.html_page(), times=1)
        assert httpx2.get(url).text.startswith("<!DOCTYPE html>")
        assert httpx2.get(url).content == data
        assert len(opened.app.asked_for(FIRST.instances[0].uuid)) == len(opened.app.asked)
