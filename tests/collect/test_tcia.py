from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from irmsia.datasets.collect.idc_catalogue import IdcCatalogue
from irmsia.datasets.collect.nbia import Nbia
from irmsia.datasets.collect.protocol import Collector, Filters
from irmsia.datasets.collect.series import Series
from irmsia.datasets.collect.tcia import TciaSource
from irmsia.datasets.collect.tcia_manifest import parse_manifest, read_manifest
from irmsia.errors import DatasetNotFoundError, InvalidRequestError, NotFoundError, SourceFailedError
from tests.collect.fakes import faults
from tests.collect.fakes.asking import asking
from tests.collect.fakes.contents import BRAIN, LUNG, collections, of_collection
from tests.collect.fakes.idc_index import write_index
from tests.collect.fakes.nbia import manifest_of
from tests.collect.fakes.open_sources import OpenArchive, OpenStore, open_nbia, open_s3

ONLY = "Phantom-Only-TCIA"
Make = Callable[..., TciaSource]


@pytest.fixture
def nbia() -> Iterator[OpenArchive]:
    """NBIA with everything."""
    with open_nbia() as opened:
        yield opened


@pytest.fixture
def s3() -> Iterator[OpenStore]:
    """The store of IDC."""
    with open_s3() as opened:
        yield opened


@pytest.fixture
def make(nbia: OpenArchive, s3: OpenStore, tmp_path: Path) -> Iterator[Make]:
    """Makes the source, with our small catalogue of IDC."""
    catalogue = IdcCatalogue(*write_index(tmp_path, collections()), "IDC v0")
    with ExitStack() as stack:

        def made(**options: str) -> TciaSource:
            entered = asking(tmp_path, options=options, nbia_url=nbia.url, s3_url=s3.url)
            return TciaSource(stack.enter_context(entered), catalogue)

        yield made


def test_it_lists_what_nbia_names(make: Make) -> None:
    """All names; size and licence of those that IDC holds, nothing guessed of the other."""
    source = make()
    assert isinstance(source, Collector)
    offers = {offer.id: offer for offer in source.list()}
    assert sorted(offers) == sorted({one.collection for one in collections()})
    assert offers[LUNG].patients == 3 and offers[LUNG].licence == "CC BY 4.0; CC BY-NC 4.0"
    assert offers[ONLY].bytes is None and offers[ONLY].licence == ""
    assert [offer.id for offer in source.search("only tcia")] == [ONLY]
    assert [offer.id for offer in source.search("ultrasound us breast")] == []
    assert [offer.id for offer in source.search("us breast")] == ["Phantom-Breast"]


def test_without_nbia_the_list_is_that_of_idc(make: Make, nbia: OpenArchive) -> None:
    """TCIA winds NBIA down: what IDC holds is still listed; asked for itself, NBIA's error is told."""
    nbia.app.on("getCollectionValues", faults.error_500())
    assert sorted(offer.id for offer in make().list()) == ["Phantom-Brain", "Phantom-Breast", "Phantom-Lung"]
    with pytest.raises(SourceFailedError):
        make(**{"from": "nbia"}).list()


def test_a_collection_of_idc_comes_from_idc(make: Make, nbia: OpenArchive) -> None:
    """IDC is the first choice: NBIA is not asked, and the plan says how to ask it."""
    plan = make().plan(LUNG, Filters(modality="CT"))
    assert plan.offer.source == "tcia" and nbia.app.asked == []
    assert all("/idc-open-data" in wanted.url for wanted in plan.files)
    assert any("from=nbia asks TCIA itself" in note for note in plan.notes)


def test_what_idc_lacks_of_a_collection_comes_from_nbia(nbia: OpenArchive, s3: OpenStore, tmp_path: Path) -> None:
    """IDC may hold the slides of a collection, TCIA its scans; where NBIA has nothing either, IDC's kinds are told."""
    held = [one for one in collections() if one.modality != "MR"]
    catalogue = IdcCatalogue(*write_index(tmp_path, held), "IDC v0")
    with asking(tmp_path, nbia_url=nbia.url, s3_url=s3.url) as context:
        source = TciaSource(context, catalogue)
        (wanted,) = source.plan(LUNG, Filters(modality="MR")).files
        assert "getImageWithMD5Hash" in wanted.url
        with pytest.raises(InvalidRequestError, match="modalities CT, DX; body parts"):
            source.plan(LUNG, Filters(modality="NM"))


def test_nbia_is_asked_where_idc_has_nothing_or_is_not_wanted(make: Make, s3: OpenStore) -> None:
    """One ZIP a series, with the number of its files; sizes are known before."""
    plan = make().plan(ONLY)
    (wanted,) = plan.files
    (one,) = of_collection(ONLY)
    assert wanted.url.endswith(f"/v4/getImageWithMD5Hash?SeriesInstanceUID={one.uid}")
    assert wanted.path == f"{ONLY}/PT-001/{one.study}/{one.uid}.zip" and wanted.unpack == wanted.path[:-4]
    assert (wanted.members, wanted.resumable, wanted.bytes) == (5, False, None)
    assert plan.bytes == one.size and wanted.licence == "CC BY 4.0"
    assert plan.offer.citation == "https://doi.org/10.5072/phantom.tcia" and plan.offer.patients == 1
    assert plan.offer.about == f"Phantoms & truth: {ONLY}" and plan.offer.url.endswith("phantom.tcia")
    plan = make(**{"from": "nbia"}).plan(LUNG)
    assert len(plan.files) == len(of_collection(LUNG)) and s3.app.asked == []
    with pytest.raises(InvalidRequestError):
        make(**{"from": "elsewhere"})


@pytest.mark.parametrize(
    ("filters", "series"),
    [
        (Filters(), 6),
        (Filters(modality="CT"), 4),
        (Filters(modality="ct", max_patients=1), 2),
        (Filters(body_part="chest"), 4),
        (Filters(licence="CC BY"), 5),
        (Filters(licence="CC BY-NC 4.0"), 1),
        (Filters(max_patients=2), 4),
    ],
)
def test_filters_mean_the_same_at_nbia_and_at_idc(make: Make, filters: Filters, series: int) -> None:
    """The same series, the same bytes, whichever is asked."""
    streamed = make(**{"from": "nbia"}).plan(LUNG, filters)
    stored = make().plan(LUNG, filters)
    assert len(streamed.files) == series and streamed.bytes == stored.bytes
    assert {wanted.path[:-4].split("/", 1)[1] for wanted in streamed.files} == {
        wanted.path.rsplit("/", 1)[0].split("/", 1)[1] for wanted in stored.files
    }


def test_no_such_collection(make: Make) -> None:
    """NBIA's empty answer is DATASET_NOT_FOUND."""
    for call in (TciaSource.show, TciaSource.plan):
        with pytest.raises(DatasetNotFoundError):
            call(make(), "No-Such")


def test_a_size_that_the_row_lacks_is_asked_for(make: Make, nbia: OpenArchive) -> None:
    """getSeriesSize fills what getSeries leaves out."""
    (one,) = of_collection(ONLY)
    row = (
        f'[{{"SeriesInstanceUID": "{one.uid}", "StudyInstanceUID": "{one.study}", "PatientID": "P", "Modality": "CT"}}]'
    )
    nbia.app.on("getSeries.Collection", faults.answers(200, row.encode(), "application/json"))
    assert make().plan(ONLY).bytes == one.size


def test_a_manifest_asks_idc_first(make: Make, nbia: OpenArchive, tmp_path: Path) -> None:
    """Its series from IDC where it holds them, the others from NBIA, the unknown ones told."""
    brain, only = of_collection(BRAIN), of_collection(ONLY)
    path = tmp_path / "cart.tcia"
    path.write_text(manifest_of([*brain, *only]) + "1.2.3\n")
    plan = make().plan(str(path))
    stored = [wanted for wanted in plan.files if "/idc-open-data" in wanted.url]
    streamed = [wanted for wanted in plan.files if "getImage" in wanted.url]
    assert len(stored) == 6 and len(streamed) == 1 and len(plan.files) == 7
    assert plan.bytes == sum(one.size for one in (*brain, *only))
    assert plan.notes[-1].startswith("1 series of the manifest are known neither")
    assert [asked.path.rsplit("/", 1)[1] for asked in nbia.app.asked] == ["getSeriesMetadata"]
    assert make().show(str(path)).licence == "CC BY 3.0; CC BY 4.0"
    alone = make(**{"from": "nbia"}).plan(str(path), Filters(modality="MR"))
    assert len(alone.files) == 2 and all("getImage" in wanted.url for wanted in alone.files)


def test_manifests_are_read_as_the_retriever_reads_them(tmp_path: Path) -> None:
    """Any header lines, byte order mark, CRLF, doubled UIDs, blank lines."""
    text = "\ufeffdownloadServerUrl=https://evil.example/\r\nmanifestVersion=3.0\r\nListOfSeriesToDownload=\r\n1.2\r\n\r\n1.3\r\n1.2\r\n"
    assert parse_manifest(text.encode()) == ("1.2", "1.3")
    path = tmp_path / "a.tcia"
    path.write_bytes(text.encode())
    assert read_manifest(path) == ("1.2", "1.3")
    with pytest.raises(NotFoundError):
        read_manifest(tmp_path / "none.tcia")


@pytest.mark.parametrize(
    "content", [b"", b"1.2.3\n", b"ListOfSeriesToDownload=\n", b"ListOfSeriesToDownload=\n../../etc\n", b"\xff\xfe\x00"]
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    """INVALID_REQUEST, whatever the bytes."""
    with pytest.raises(InvalidRequestError):
        parse_manifest(content)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>maintenance</html>",
        b'{"a": 1}',
        b"[1, 2]",
        b'[{"SeriesInstanceUID": "../../x", "StudyInstanceUID": "1.2"}]',
        b'[{"SeriesInstanceUID": "1.2"}]',
        b"[" * 100_000,
    ],
)
def test_rows_that_are_none_are_an_error(make: Make, nbia: OpenArchive, body: bytes) -> None:
    """A page with status 200, other JSON, series without UIDs: SOURCE_FAILED."""
    nbia.app.on("getSeries", faults.answers(200, body, "application/json"))
    with pytest.raises(SourceFailedError):
        make().plan(ONLY)


def test_a_table_that_is_none_is_an_error(make: Make, nbia: OpenArchive, tmp_path: Path) -> None:
    """The metadata of a manifest's series as a page: SOURCE_FAILED."""
    path = tmp_path / "cart.tcia"
    path.write_text(manifest_of(of_collection(ONLY)))
    nbia.app.on("getSeriesMetadata", faults.html_page())
    with pytest.raises(SourceFailedError):
        make().plan(str(path))


def test_questions_are_asked_again(make: Make, nbia: OpenArchive) -> None:
    """500, 503 and a cut connection pass; a refusal does not."""
    nbia.app.on("getSeries", faults.error_500(), times=1)
    nbia.app.on("getSeries", faults.cut(20), times=1)
    assert len(make().plan(ONLY).files) == 1
    nbia.app.on("getSeries", faults.answers(400, b"Invalid query parameter"))
    before = len(nbia.app.asked)
    with pytest.raises(SourceFailedError, match="HTTP 400"):
        make().plan(ONLY)
    assert len(nbia.app.asked) == before + 1


def test_nlst_has_a_host_of_its_own(tmp_path: Path) -> None:
    """Its questions and its files go to ``nlst.``; all others to ``nbia.``."""
    with asking(tmp_path) as context:
        asked = Nbia(context.web, "https://nbia.cancerimagingarchive.net/nbia-api/services")
        urls = [asked.image_url(Series("1.2", "1", "p", name, "CT")) for name in ("NLST", LUNG)]
    assert [url.split("/")[2].split(".")[0] for url in urls] == ["nlst", "nbia"]
