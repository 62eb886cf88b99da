"""The decoder table: ``python -m benchmarks.decoders [--data DIR] [--json] [--write]``: who reads what, and who agrees.

Every file of the data folder: format, transfer syntax, decoder, and either the references and second decoders that its
digests equal or the code of its refusal. Folders of one kind of picture are one row each. ``--write`` makes
docs/decoders.md. Exit 1 when a lossless file differs from a reference or a second decoder, or a listed code is wrong.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydicom.uid import UID

from benchmarks.second_decoders import Opinion, SecondDecoders, is_good, iter_files
from irmsia import durable
from irmsia.imaging.formats.codecs import CODECS
from irmsia.imaging.formats.dicom import DEFLATED_FRAMES
from irmsia.imaging.formats.part10 import ENCAPSULATED_NATIVE, NATIVE
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.read import inspect
from irmsia.imaging.types import ImageInfo

LIMITS = ReadLimits()
ONE_BY_ONE = ("dicom", "odd_images", "hostile", "nifti")
COLLECTIONS = ("brain_mri_tumor", "breast_ultrasound_busi", "chest_xray_pneumonia", "chest_xray_covid_hannover")
INDEXES = ("hostile", "odd_images", "dicom/made_corrupt")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "decoders.md"
SYNTAXES = tuple(sorted({*NATIVE, ENCAPSULATED_NATIVE, DEFLATED_FRAMES, *CODECS}, key=lambda uid: uid.split(".")))
_NAMES = {DEFLATED_FRAMES: "Deflated Image Frame Compression", ENCAPSULATED_NATIVE: "Encapsulated Uncompressed"}
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "NIFTI")
_OTHER_FORMATS = {
    "PNG": "png",
    "JPEG": "jpeg8, jpegls",
    "TIFF": "irmsia tiff",
    "BMP": "irmsia bmp",
    "NIFTI": "irmsia nifti",
}


@dataclass
class Row:
    """One file, or one folder of ``count`` files."""

    file: str
    format: str | None
    syntax: str | None
    decoder: str | None
    lossless: bool | None
    code: str
    equal_to: list[str] = field(default_factory=list)
    other_opinions: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    count: int = 1

    @property
    def verdict(self) -> str:
        """For the table."""
        if self.faults:
            return "FAULT: " + "; ".join(self.faults)
        if self.code != "OK":
            return self.code
        agreed = "equal: " + ", ".join(self.equal_to) if self.equal_to else "alone"
        return "; ".join([agreed, *self.other_opinions])


class References:
    """What the lists of the data folder say of its files."""

    def __init__(self, data: Path) -> None:
        self._expected = {
            f"dicom/wg04_compression/{row['file']}": row["frame_sha256_stored"]
            for row in _read(data / "dicom" / "wg04_compression" / "EXPECTED.csv")
            if row["frame_sha256_stored"]
        }
        self._family = {f"dicom/{row['file']}": row["family"] for row in _read(data / "dicom" / "EQUAL.csv")}
        self._digests: dict[str, tuple[str, ...]] = {}
        self._codes = {
            f"{folder}/{row['file']}": row["expected_code"].split("|")
            for folder in INDEXES
            for row in _read(data / folder / "index.csv")
        }

    def judge(self, row: Row, info: ImageInfo) -> None:
        """Add to ``row`` what it equals, and what it should have equalled."""
        if row.file in self._expected:
            _note(row, "EXPECTED.csv", good=info.frame_sha256 == (self._expected[row.file],))
        if row.file in self._family:
            family = self._family[row.file]
            first = self._digests.setdefault(family, info.frame_sha256)
            _note(row, f"family {family}", good=bool(first) and first == info.frame_sha256)
        if row.file in self._codes and row.code not in self._codes[row.file]:
            row.faults.append(f"{row.code}, listed as {'|'.join(self._codes[row.file])}")


def _note(row: Row, reference: str, *, good: bool) -> None:
    (row.equal_to if good else row.faults).append(reference)


def _read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def make_row(data: Path, path: Path, decoders: SecondDecoders, references: References) -> Row:
    """Read one file and ask everybody else."""
    info = inspect(path.read_bytes(), LIMITS)
    code = info.error.code if info.error else "OK"
    row = Row(
        file=path.relative_to(data).as_posix(),
        format=info.format,
        syntax=info.transfer_syntax,
        decoder=_short(info.decoder) if code == "OK" else None,
        lossless=info.lossless,
        code=code,
    )
    references.judge(row, info)
    for opinion in decoders.ask(path, info) if code == "OK" else []:
        _note_opinion(row, opinion)
    return row


def _short(decoder: str | None) -> str | None:
    """Without the version: the page is not about one installation."""
    words = (decoder or "").split()
    return " ".join([words[0], *words[2:]]) if words[:1] == ["imagecodecs"] else decoder


def _note_opinion(row: Row, opinion: Opinion) -> None:
    if opinion.verdict == "equal":
        row.equal_to.append(opinion.decoder)
    elif row.lossless and opinion.verdict not in ("refuses", "dies"):
        row.faults.append(f"{opinion.decoder} {opinion.verdict}")
    else:
        near = "near, " if is_good(opinion, lossless=bool(row.lossless)) else ""
        row.other_opinions.append(f"{opinion.decoder}: {near}{opinion.verdict}")


def make_collection_rows(data: Path, decoders: SecondDecoders, references: References) -> Iterator[Row]:
    """One row a folder of the picture collections; its files must agree on everything."""
    folders = sorted({path.parent for name in COLLECTIONS for path in iter_files(data / name)})
    for folder in folders:
        rows = [make_row(data, path, decoders, references) for path in iter_files(folder) if path.parent == folder]
        for kind in sorted({(row.format or "", row.decoder or "", row.code) for row in rows}):
            alike = [row for row in rows if (row.format or "", row.decoder or "", row.code) == kind]
            counts = Counter(name for row in alike for name in row.equal_to)
            yield Row(
                file=f"{folder.relative_to(data).as_posix()}/ ({len(alike)} files)",
                format=alike[0].format,
                syntax=None,
                decoder=alike[0].decoder,
                lossless=alike[0].lossless,
                code=alike[0].code,
                equal_to=[f"{name} ({count} of {len(alike)})" for name, count in sorted(counts.items())],
                faults=[f"{row.file}: {fault}" for row in alike for fault in row.faults],
                count=len(alike),
            )


def make_rows(data: Path) -> list[Row]:
    """The whole table, in order of path."""
    references = References(data)
    rows = []
    with SecondDecoders() as decoders:
        for name in ONE_BY_ONE:
            files = list(iter_files(data / name))
            for number, path in enumerate(files, 1):
                print(f"\r{name} {number}/{len(files)}  ", end="", file=sys.stderr, flush=True)
                rows.append(make_row(data, path, decoders, references))
        print("\ncollections", file=sys.stderr, flush=True)
        rows.extend(make_collection_rows(data, decoders, references))
    return rows


def name_of(syntax: str) -> str:
    """The standard's name of a transfer syntax."""
    return _NAMES.get(syntax) or UID(syntax).name


def decoder_of(syntax: str) -> str:
    """The decoder that the code takes for a transfer syntax."""
    if syntax in CODECS:
        return str(_short(CODECS[syntax].name))
    return "irmsia native, zlib" if syntax == DEFLATED_FRAMES else "irmsia native"


def make_page(rows: list[Row]) -> str:
    """docs/decoders.md."""
    lines = [
        "# Which decoder reads what",
        "",
        "Made by `.venv/bin/python -m benchmarks.decoders --write` from the files of the data folder. "
        "*Equal* is by SHA-256 of",
        "every frame: to `EXPECTED.csv`, to the family of `EQUAL.csv`, or to the named second decoder. *Alone*: nobody",
        "else installed reads it. A lossy file is equal only where both decoders round alike; *near*: within 3 levels.",
        "",
        "## By transfer syntax",
        "",
        "| transfer syntax | name | decoder | files read | refused | equal to another | alone |",
        "|---|---|---|---|---|---|---|",
        *(
            _summary(f"`{syntax}`", name_of(syntax), decoder_of(syntax), _of_syntax(rows, syntax))
            for syntax in SYNTAXES
        ),
        "",
        "A syntax of which the folder holds no file is proven by round trips in `tests/imaging/test_decoders.py`.",
        "Video, JPIP and all other syntaxes are `UNSUPPORTED`.",
        "",
        "## Other formats",
        "",
        "| format | name | decoder | files read | refused | equal to another | alone |",
        "|---|---|---|---|---|---|---|",
        *(_summary(name, "", _OTHER_FORMATS[name], [row for row in rows if row.format == name]) for name in _FORMATS),
        "",
        "## File by file",
        "",
        "| file | format | transfer syntax | decoder | digest or code |",
        "|---|---|---|---|---|",
        *(_line(row) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _of_syntax(rows: list[Row], syntax: str) -> list[Row]:
    return [row for row in rows if row.syntax == syntax]


def _summary(key: str, name: str, decoder: str, rows: list[Row]) -> str:
    good = [row for row in rows if row.code == "OK"]
    read, agreed = sum(row.count for row in good), sum(row.count for row in good if row.equal_to)
    refused = Counter(row.code for row in rows if row.code != "OK")
    codes = ", ".join(f"{count} {code}" for code, count in sorted(refused.items())) or "0"
    return f"| {key} | {name} | {decoder} | {read} | {codes} | {agreed} | {read - agreed} |"


def _line(row: Row) -> str:
    cells = (row.file.replace("|", "\\|"), row.format, row.syntax, row.decoder, row.verdict)
    return "| " + " | ".join(cell or "" for cell in cells) + " |"


def main() -> int:
    """Print the table, as text or JSON; write the page on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("IRMSIA_TEST_DATA", "../shared/data")))
    parser.add_argument("--json", action="store_true", help="one JSON line a row instead of the table")
    parser.add_argument("--write", action="store_true", help="write docs/decoders.md")
    arguments = parser.parse_args()
    rows = make_rows(arguments.data)
    for row in rows:
        print(json.dumps({**asdict(row), "verdict": row.verdict}) if arguments.json else _line(row))
    if arguments.write:
        durable.write_bytes(PAGE, make_page(rows).encode())
    faults = [row for row in rows if row.faults]
    read = sum(row.count for row in rows if row.code == "OK")
    print(f"{sum(row.count for row in rows)} files, {read} read, {len(faults)} rows with faults", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
