"""Every lossless file of the data folder by every other decoder that is installed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.decoders import PAGE, SYNTAXES, References, Row, decoder_of, name_of
from benchmarks.second_decoders import EQUAL, REFUSES, Opinion, SecondDecoders, is_good, iter_files
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.read import inspect
from irmsia.imaging.types import ImageInfo

_REFUSED = {
    ("GH177_D_CLUNIE_CT1_IVRLE_BigEndian_undefined_length.dcm", "pydicom native"),  # pixel data of undefined length
    ("JLSL_08_07_0_1F.dcm", "pydicom gdcm"),
    ("MR1_JLSL.dcm", "pydicom pyjpegls"),  # a zero byte before the end marker
}
"""Where a second decoder gives no pixels; nowhere does one give others than ours."""


@pytest.mark.data
def test_all_decoders_of_lossless_syntaxes_agree(data_dir: Path) -> None:
    """gdcm, openjpeg, pyjpegls, rle, pydicom itself, Pillow and tifffile give our digests, or no pixels at all."""
    asked: dict[str | None, int] = {}
    wrong = []
    refused = set()
    with SecondDecoders() as decoders:
        for path in (path for folder in ("dicom", "odd_images") for path in iter_files(data_dir / folder)):
            info = inspect(path.read_bytes(), ReadLimits())
            if info.error or not info.lossless:
                continue
            for opinion in decoders.ask(path, info):
                asked[info.transfer_syntax] = asked.get(info.transfer_syntax, 0) + 1
                if opinion.verdict == REFUSES:
                    refused.add((path.name, opinion.decoder))
                elif opinion.verdict != EQUAL:
                    wrong.append((path.name, opinion))
    assert wrong == []
    assert refused <= _REFUSED
    for syntax in ("1.2.1", "1.2.1.99", "1.2.2", "1.2.5", "1.2.4.57", "1.2.4.70", "1.2.4.80", "1.2.4.90"):
        assert asked[f"1.2.840.10008.{syntax}"], syntax
    assert sum(asked.values()) > 150


def test_a_decoder_that_differs_is_seen(tmp_path: Path) -> None:
    """The planted wrong digest, wrong family and wrong code are faults; lossy may be near, lossless not."""
    for name, rows in {
        "dicom/wg04_compression/EXPECTED.csv": [("file", "frame_sha256_stored"), ("a.dcm", "11")],
        "dicom/EQUAL.csv": [("family", "file"), ("F", "b.dcm"), ("F", "c.dcm")],
        "hostile/index.csv": [("file", "expected_code"), ("d.dcm", "TRUNCATED|DECODE_FAILED")],
        "odd_images/index.csv": [("file", "expected_code")],
        "dicom/made_corrupt/index.csv": [("file", "expected_code")],
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    references = References(tmp_path)
    faults = {}
    for name, digest, code in [
        ("dicom/wg04_compression/a.dcm", "22", "OK"),
        ("dicom/b.dcm", "33", "OK"),
        ("dicom/c.dcm", "44", "OK"),
        ("hostile/d.dcm", "", "LIMIT_EXCEEDED"),
    ]:
        row = Row(name, "DICOM", None, None, True, code)
        references.judge(row, ImageInfo(frame_sha256=(digest,)))
        faults[name] = row.faults
    assert faults["dicom/wg04_compression/a.dcm"] == ["EXPECTED.csv"]
    assert (faults["dicom/b.dcm"], faults["dicom/c.dcm"]) == ([], ["family F"])
    assert faults["hostile/d.dcm"] == ["LIMIT_EXCEEDED, listed as TRUNCATED|DECODE_FAILED"]
    assert is_good(Opinion("other", "within 2"), lossless=False)
    assert not is_good(Opinion("other", "within 2"), lossless=True)
    assert not is_good(Opinion("other", "within 200"), lossless=False)


def test_the_page_lists_what_the_code_reads() -> None:
    """docs/decoders.md names every transfer syntax of the code with its decoder, and no other."""
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `1.2.")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [(row[0].strip("`"), row[1], row[2]) for row in cells] == [
        (syntax, name_of(syntax), decoder_of(syntax)) for syntax in SYNTAXES
    ]
