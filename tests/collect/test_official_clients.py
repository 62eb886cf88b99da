"""The stand-ins are what the sources' own clients take for them: tcia_utils, idc-index with its s5cmd, kagglehub.

Each client runs in a process of its own: it sets up logging, holds its index in memory (the whole one of IDC takes
1.7 GB; the one given here a few kilobytes) and leaves no trace in the tests.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.collect.fakes.contents import BRAIN, BREAST, LUNG, Series, collections, of_collection
from tests.collect.fakes.idc_index import write_index
from tests.collect.fakes.kaggle import KaggleSet, open_kaggle
from tests.collect.fakes.nbia import manifest_of
from tests.collect.fakes.open_sources import open_nbia, open_s3

pytestmark = pytest.mark.slow

_TCIA = """
import json, sys, tempfile
from tcia_utils import nbia

base, folder, manifest = sys.argv[1:]
nbia.setApiUrl = lambda endpoint, api_url="nbia": f"{base}/v4/"
lung = nbia.getSeries(collection="Phantom-Lung")
said = {
    "collections": nbia.getCollections(),
    "modalities": nbia.getModality(collection="Phantom-Lung"),
    "body_parts": nbia.getBodyPart(collection="Phantom-Lung"),
    "patients": nbia.getPatient(collection="Phantom-Lung"),
    "studies": nbia.getStudy("Phantom-Lung", patientId="PL-001"),
    "ct": nbia.getSeries(collection="Phantom-Lung", modality="CT"),
    "series": lung,
    "nothing": nbia.getSeries(collection="No-Such"),
    "size": nbia.getSeriesSize(lung[0]["SeriesInstanceUID"]),
    "instances": nbia.getSopInstanceUids(lung[0]["SeriesInstanceUID"]),
    "updated": nbia.getUpdatedSeries("2026/01/01"),
    "not_updated": nbia.getUpdatedSeries("2026/02/01"),
    "descriptions": nbia.getCollectionDescriptions(),
}
plain = nbia.downloadSeries(lung, path=f"{folder}/plain", format="df")
said["metadata"] = plain["SeriesInstanceUID"].tolist()
nbia.downloadSeries(lung, path=f"{folder}/hashed", hash="y")
nbia.downloadSeries(manifest, path=f"{folder}/manifest", input_type="manifest")
json.dump(said, open(f"{folder}/said.json", "w"))
"""

_IDC = """
import json, re, sys
import idc_index_data
from pathlib import Path

base, folder, index = sys.argv[1:]
idc_index_data.IDC_INDEX_PARQUET_FILEPATH = Path(index)
idc_index_data.PRIOR_VERSIONS_INDEX_PARQUET_FILEPATH = Path(index)
from idc_index import index as idc

idc.aws_endpoint_url = base
client = idc.IDCClient()
said = {"collections": client.get_collections(), "patients": client.get_patients("phantom_lung", outputFormat="list")}
client.download_from_selection(f"{folder}/lung", collection_id="phantom_lung", quiet=False, show_progress_bar=False)
client.download_from_selection(f"{folder}/breast", patientId=["PX=1", "PX=2"], quiet=False, show_progress_bar=False)
# not ru_maxrss: that of the process which started this one is counted in
said["kilobytes"] = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
said["urls"] = client.get_series_file_URLs(sys.stdin.read().strip())
json.dump(said, open(f"{folder}/said.json", "w"))
"""

_KAGGLE = """
import json, os, sys
folder, ref = sys.argv[1:]
os.environ |= {"KAGGLE_API_ENVIRONMENT": "TEST", "KAGGLEHUB_CACHE": f"{folder}/cache", "KAGGLE_CONFIG_DIR": folder}
os.environ |= {"KAGGLE_USERNAME": "phantom", "KAGGLE_KEY": "0123456789abcdef", "DISABLE_COLAB_CACHE": "true"}
import kagglehub

said = {
    "current": kagglehub.dataset_download(ref),
    "old": kagglehub.dataset_download(f"{ref}/versions/1"),
    "file": kagglehub.dataset_download(ref, path="table.csv", force_download=True),
}
json.dump(said, open(f"{folder}/said.json", "w"))
"""


def _run(program: str, *arguments: object, text: str = "") -> None:
    home = next(str(one) for one in arguments if Path(str(one)).is_dir())
    environment = os.environ | {"HOME": home, "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    result = subprocess.run(
        command, input=text, capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr


def _digests(folder: Path) -> list[str]:
    return sorted(hashlib.md5(path.read_bytes()).hexdigest() for path in folder.rglob("*.dcm"))


def _expected(series: Sequence[Series]) -> list[str]:
    return sorted(instance.md5 for one in series for instance in one.instances)


def _column(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]


def test_tcia_utils_lists_and_downloads(tmp_path: Path) -> None:
    """Every question of tcia_utils is answered as NBIA does, and what it downloads are our bytes: plain, with MD5s,
    from a manifest.
    """
    lung, brain = of_collection(LUNG), of_collection(BRAIN)
    manifest = tmp_path / "cart.tcia"
    manifest.write_text(manifest_of(brain))
    with open_nbia() as nbia:
        _run(_TCIA, nbia.url, tmp_path, manifest)
    said = json.loads((tmp_path / "said.json").read_text())
    assert _column(said["collections"], "Collection") == sorted({one.collection for one in collections()})
    assert _column(said["modalities"], "Modality") == ["CT", "DX", "MR"]
    assert _column(said["body_parts"], "BodyPartExamined") == ["ABDOMEN", "CHEST"]
    assert sorted(_column(said["patients"], "PatientId")) == ["PL-001", "PL-002", "PL-003"]
    assert sorted(_column(said["studies"], "SeriesCount")) == [1, 2]
    assert {row["Modality"] for row in said["ct"]} == {"CT"}
    assert ["BodyPartExamined" in row for row in said["series"]].count(False) == 1, "a null is left out"
    assert said["nothing"] is None and said["not_updated"] is None
    assert said["size"] == [{"TotalSizeInBytes": lung[0].size, "ObjectCount": 5}]
    assert _column(said["instances"], "SOPInstanceUID") == [instance.uid for instance in lung[0].instances]
    assert len(said["updated"]) == len(collections())
    assert {row["descriptionURI"] for row in said["descriptions"]} >= {"https://doi.org/10.5072/phantom.lung"}
    assert sorted(said["metadata"]) == sorted(one.uid for one in lung)
    assert _digests(tmp_path / "plain") == _digests(tmp_path / "hashed") == _expected(lung)
    assert _digests(tmp_path / "manifest") == _expected(brain)
    assert len(list((tmp_path / "plain").rglob("LICENSE"))) == len(lung)
    for listed in (tmp_path / "hashed").rglob("md5hashes.csv"):
        lines = dict(line.split(",") for line in listed.read_text().splitlines()[1:])
        assert {name: hashlib.md5((listed.parent / name).read_bytes()).hexdigest() for name in lines} == lines


def test_idc_index_and_its_s5cmd_list_and_download(tmp_path: Path) -> None:
    """idc-index finds the collections in our small index, and its s5cmd gets every object, over listings of several
    pages and from all three buckets.
    """
    index, _ = write_index(tmp_path, collections())
    lung, breast = of_collection(LUNG), of_collection(BREAST)
    for name in ("lung", "breast"):
        (tmp_path / name).mkdir()
    with open_s3(page=2) as s3:
        _run(_IDC, s3.url, tmp_path, index, text=lung[0].uid)
    said = json.loads((tmp_path / "said.json").read_text())
    assert sorted(said["collections"]) == ["phantom_brain", "phantom_breast", "phantom_lung"]
    assert said["patients"] == ["PL-001", "PL-002", "PL-003"]
    assert sorted(said["urls"]) == sorted(
        f"s3://{lung[0].bucket}/{lung[0].uuid}/{instance.uuid}.dcm" for instance in lung[0].instances
    )
    assert _digests(tmp_path / "lung") == _expected(lung)
    assert _digests(tmp_path / "breast") == _expected(breast)
    assert said["kilobytes"] < 1_000_000, "only the small index was loaded"


def test_kagglehub_downloads(tmp_path: Path) -> None:
    """kagglehub finds the current version, gets it and an old one as ZIP, one file alone, and checks the digests.

    Its test environment has a fixed port, 7777.
    """
    held = KaggleSet(
        "maker/brain-mri", "Brain MRI", ({"a.txt": b"old"}, {"yes/a.png": b"1" * 5000, "table.csv": b"x\n"})
    )
    with open_kaggle(held, port=7777) as kaggle:
        _run(_KAGGLE, tmp_path, held.ref)
        assert kaggle.app.asked_for("DatasetApiService/GetDataset")
    said = json.loads((tmp_path / "said.json").read_text())
    current, old = Path(said["current"]), Path(said["old"])
    assert {
        path.relative_to(current).as_posix(): path.read_bytes() for path in current.rglob("*") if path.is_file()
    } == {**held.files()}
    assert (old / "a.txt").read_bytes() == b"old"
    assert Path(said["file"]).read_bytes() == b"x\n"
