"""The benchmark of scans measures what it says: right values, and a re-scan that reads one file."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.catalogue import KEY, _agrees, _synthetic, fill, one_rescan, survey, take_attributes
from irmsia.datasets.survey import SurveyTask
from irmsia.datasets.walk import walk_tree
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from tests.imaging.samples import make_dataset, write


def test_records_are_compared_with_pydicom(tmp_path: Path) -> None:
    """A record agrees with its own file, and with no other one."""
    for number in (1, 2):
        frames = np.arange(32 * 32, dtype=np.int16).reshape(1, 32, 32, 1)
        dataset = make_dataset(frames, PatientID=str(number), PixelSpacing=[0.5, 0.25])
        (tmp_path / f"{number}.dcm").write_bytes(write(dataset))
    files = list(walk_tree(tmp_path).files.items())
    task = SurveyTask(str(tmp_path), headers=True, digests=False)
    with DecoderPool(1, ReadLimits(), pseudonym_key=KEY) as pool, ThreadPoolExecutor(1) as threads:
        one, other = survey(pool, threads, task, files)
    assert _agrees(one, tmp_path / "1.dcm")
    assert _agrees(other, tmp_path / "2.dcm")
    assert not _agrees(one, tmp_path / "2.dcm")
    assert "1" in take_attributes(tmp_path / "1.dcm")


def test_a_rescan_reads_one_file(tmp_path: Path) -> None:
    """Of a folder and a catalogue that were filled without reading anything."""
    fill(tmp_path, 1000)
    figures = one_rescan(tmp_path, 1000)
    assert figures["files"] == 1000
    assert 0 < figures["seconds"] < 60
    assert figures["peak_mib"] > 1
    assert _synthetic("a", 1, 2).is_valid
