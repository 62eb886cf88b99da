from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from irmsia.datasets.collect import idc_catalogue
from irmsia.datasets.collect.faces import TCIACollector
from irmsia.datasets.collect.idc_catalogue import IdcCatalogue
from irmsia.errors import ChecksumMismatchError, DatasetNotFoundError
from irmsia.settings.tree import CollectSettings, Settings
from tests.collect.fakes import faults
from tests.collect.fakes.contents import LUNG, collections, of_collection
from tests.collect.fakes.idc_index import write_index
from tests.collect.fakes.open_sources import open_nbia, open_s3


@pytest.fixture
def _small_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed catalogue is our small one."""
    small = IdcCatalogue(*write_index(tmp_path, collections()), "IDC v0")
    monkeypatch.setattr(idc_catalogue, "installed", lambda: small)


def _settings(home: Path, nbia: str, s3: str) -> Settings:
    quick = {"host_rate": 10_000.0, "s3_rate": 10_000.0, "retries": 0}
    collect = CollectSettings(allow_loopback=True, nbia_url=nbia, s3_url=s3, **quick)
    return Settings(home=home, collect=collect)


@pytest.mark.usefixtures("_small_catalogue")
def test_tcia_collector_lists_and_downloads(tmp_path: Path) -> None:
    """The three names and arguments that its users know; a second call asks for no file again."""
    with open_nbia() as nbia, open_s3() as s3:
        collector = TCIACollector(tmp_path / "tcia", settings=_settings(tmp_path, nbia.url, s3.url))
        assert LUNG in collector.list_available_collections()
        folder = collector.download_collection(LUNG, max_patients=1, modality="CT")
        asked = len(s3.app.asked_for(r"\.dcm"))
        assert collector.download_collection(collection_name=LUNG, max_patients=1, modality="CT") == folder
        assert len(s3.app.asked_for(r"\.dcm")) == asked
        with pytest.raises(DatasetNotFoundError):
            collector.download_collection("No-Such")
    wanted = [one for one in of_collection(LUNG) if one.patient == "PL-001" and one.modality == "CT"]
    assert sorted(hashlib.md5(path.read_bytes()).hexdigest() for path in folder.rglob("*.dcm")) == sorted(
        instance.md5 for one in wanted for instance in one.instances
    )
    assert folder.parent == tmp_path / "tcia"


@pytest.mark.usefixtures("_small_catalogue")
def test_a_file_that_does_not_come_is_an_error(tmp_path: Path) -> None:
    """Of the file's own kind, with the number of all."""
    with open_nbia() as nbia, open_s3() as s3:
        s3.app.on(of_collection(LUNG)[0].instances[0].uuid, faults.flipped(9))
        collector = TCIACollector(tmp_path / "tcia", settings=_settings(tmp_path, nbia.url, s3.url))
        with pytest.raises(ChecksumMismatchError, match="1 of 16 files did not come"):
            collector.download_collection(LUNG)


def test_without_a_folder_it_takes_the_usual_one(tmp_path: Path) -> None:
    """``datasets/tcia`` of the working directory."""
    assert TCIACollector(settings=Settings(home=tmp_path)).output_dir == Path("datasets/tcia")
