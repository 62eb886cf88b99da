"""Scans of folders, measured: ``python -m benchmarks.catalogue [--data DIR] [--only PART ...] [--json FILE]``.

    headers   header-only scan of DICOM files by two decoder children, against a plain pydicom loop
              (`dcmread(stop_before_pixels=True)` and the same attributes), interleaved, values compared
    full      full scan, with the digests of the files apart: MB/s beside SHA-256's own
    rescan    a second scan after one change, 100,000 files and on to ``--most``; entries are synthetic, files empty

Markdown on standard output; exit 1 when a goal is missed, values differ, or the rounds disagree. Wall time counts only
where other processes used less than 0.2 cores.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import keyword_for_tag

from benchmarks.served import OtherLoad, Watched
from irmsia import durable
from irmsia.app.data_scan import ScanReport, scan
from irmsia.app.datasets import open_catalogue
from irmsia.datasets.inspect import batches, inspect_batch
from irmsia.datasets.record import Intensities, LabelSource, PatientSource, Record
from irmsia.datasets.survey import SurveyTask
from irmsia.datasets.walk import walk_tree
from irmsia.imaging.formats.header import CATALOGUED
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.phantoms import make_phantom
from irmsia.imaging.pseudonym import pseudonym
from irmsia.settings.tree import Settings

WORKERS = 2
REPEATS = 7
ROUNDS = 2
AGREE = 0.10
QUIET = 0.2
HEADER_GOAL = 5.0
RESCAN_GOAL_S = 2.0
RESCAN_SIZES = (100_000, 300_000, 1_000_000)
SERIES = {"ct_head_gantry_tilt": 8, "more_dcm_qa_nih": 8, "mr_mosaic_orientation": 20}
LARGE_FRAMES, LARGE_FILES = 256, 4
KEY = b"k" * 32
KEYWORDS = tuple(word for tag in sorted(CATALOGUED) if (word := keyword_for_tag(tag)))


@dataclass(frozen=True)
class Timing:
    """Seconds of one action: wall, and processor time of everybody who took part."""

    wall: float
    cpu: float


@dataclass
class Report:
    """All figures, and what is wrong with them."""

    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@contextmanager
def _clock(pids: list[int]) -> Iterator[Callable[[], Timing]]:
    """Times what happens within; ``pids``: whose processor time counts, children included."""

    def cpu() -> float:
        return sum(Watched(pid).cpu_s() for pid in pids)

    began, used = time.perf_counter(), cpu()
    yield lambda: Timing(time.perf_counter() - began, cpu() - used)


def take_attributes(path: Path) -> list[Any]:
    """The peer: one file's header by pydicom, and every attribute that a catalogue takes."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    return [dataset.get(keyword) for keyword in KEYWORDS]


def survey(pool: DecoderPool, threads: ThreadPoolExecutor, task: SurveyTask, files: list[Any]) -> list[Record]:
    """Ours: what a scan does with files, up to the records."""
    asked = [threads.submit(inspect_batch, pool.run, task, batch) for batch in batches(files)]
    return [found.record for each in asked for found in each.result() if found.record is not None]


def run_headers(data: Path, scratch: Path, report: Report) -> None:
    """Header scan against pydicom."""
    root = scratch / "headers"
    for name, copies in SERIES.items():
        for copy in range(copies):
            shutil.copytree(data / "dicom" / name, root / name / str(copy), copy_function=shutil.copyfile)
    files = list(walk_tree(root).files.items())
    paths = [root / path for path, _ in files]
    task = SurveyTask(str(root), headers=True, digests=False)
    with DecoderPool(WORKERS, ReadLimits(), pseudonym_key=KEY) as pool, ThreadPoolExecutor(WORKERS) as threads:
        records = survey(pool, threads, task, files)
        wrong = sum(not _agrees(record, root / record.path) for record in records)
        if wrong or len(records) != len(files):
            report.faults.append(f"headers: {wrong} of {len(records)} records differ from pydicom")
        rounds = [_interleave(lambda: survey(pool, threads, task, files), paths) for _ in range(ROUNDS)]
    walls, cpus = [each["wall"] for each in rounds], [each["cpu"] for each in rounds]
    quiet = max(each["others"] for each in rounds) < QUIET
    report.figures["headers"] = {
        "files": len(files), "values_equal": len(records) - wrong, "workers": WORKERS, "rounds": rounds,
        "ratio_wall": statistics.mean(walls) if quiet else None, "ratio_cpu": statistics.mean(cpus),
    }  # fmt: skip
    if max(cpus) > (1 + AGREE) * min(cpus):
        report.faults.append("headers: the rounds disagree")
    if not quiet:
        report.faults.append("headers: other processes were at work, wall time does not count")
    elif statistics.mean(walls) < HEADER_GOAL:
        report.faults.append(f"headers: {statistics.mean(walls):.2f} x, the goal is {HEADER_GOAL} x")


def _interleave(ours: Callable[[], object], paths: list[Path]) -> dict[str, float]:
    """One round: A B A B ..., medians, how often faster, and how many cores others used."""
    samples: dict[str, list[Timing]] = {"ours": [], "peer": []}
    load = OtherLoad()
    for _ in range(REPEATS):
        for name, action in (("ours", ours), ("peer", lambda: [take_attributes(path) for path in paths])):
            with _clock([os.getpid()]) as taken:
                action()
            samples[name].append(taken())
    wall = {name: statistics.median(each.wall for each in found) for name, found in samples.items()}
    cpu = {name: statistics.median(each.cpu for each in found) for name, found in samples.items()}
    return {
        "ours_files_s": len(paths) / wall["ours"], "peer_files_s": len(paths) / wall["peer"],
        "ours_files_cpu_s": len(paths) / cpu["ours"], "peer_files_cpu_s": len(paths) / cpu["peer"],
        "wall": wall["peer"] / wall["ours"], "cpu": cpu["peer"] / cpu["ours"], "others": load.cores(),
    }  # fmt: skip


def _agrees(record: Record, path: Path) -> bool:
    """Whether a record says what pydicom says."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    spacing = dataset.get("PixelSpacing") or (None, None)
    patient, issuer = dataset.get("PatientID"), dataset.get("IssuerOfPatientID")
    expected = {
        "frames": int(dataset.get("NumberOfFrames") or 1), "rows": dataset.Rows, "columns": dataset.Columns,
        "samples": dataset.SamplesPerPixel, "series": dataset.SeriesInstanceUID, "instance": dataset.SOPInstanceUID,
        "patient": pseudonym(KEY, "patient", f"{patient}\0{issuer}" if issuer else str(patient)) if patient else None,
        "study": pseudonym(KEY, "study", str(dataset.StudyInstanceUID)),
        "dtype": f"{'int' if dataset.PixelRepresentation else 'uint'}{dataset.BitsAllocated}",
    }  # fmt: skip
    modality = {"CT": "CT", "MR": "MRI"}.get(dataset.Modality, "OTHER")
    return (
        all(getattr(record, name) == value for name, value in expected.items())
        and record.modality is not None
        and record.modality.value == modality
        and record.spacing_mm[1:] == tuple(None if value is None else float(value) for value in spacing)
    )


def run_full(data: Path, scratch: Path, report: Report) -> None:
    """Full scans, digests apart, and the whole command's function on 3,000 pictures."""
    rows = []
    for name, root in (
        ("3,000 JPEG pictures", data / "chest_xray_pneumonia"),
        ("CT slices of 512 KB", data / "dicom" / "ct_head_gantry_tilt"),
        ("multi-frame DICOM of 64 MB", _make_large(scratch / "large")),
    ):
        rows.append({"files": name, **_rates(root)})
    report.figures["full"] = rows
    load = OtherLoad()
    settings = Settings(home=scratch / "home")
    with _clock([os.getpid()]) as taken:
        found = scan(settings, data / "chest_xray_pneumonia", "chest")
    timing = taken()
    report.figures["scan"] = {
        "files": found.files, "seconds": timing.wall, "cpu_seconds": timing.cpu, "others_cores": load.cores(),
        "own_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "largest_child_peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }  # fmt: skip


def _make_large(folder: Path) -> Path:
    """Native multi-frame files of 64 MB and more."""
    folder.mkdir()
    dataset = pydicom.dcmread(io.BytesIO(make_phantom(5).data))
    rng = np.random.default_rng(1)
    dataset.Rows = dataset.Columns = 512
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.NumberOfFrames = LARGE_FRAMES
    for number in range(LARGE_FILES):
        dataset.PixelData = rng.integers(0, 255, LARGE_FRAMES * 512 * 512, np.uint8).tobytes()
        dataset["PixelData"].VR = "OB"
        pydicom.dcmwrite(folder / f"{number}.dcm", dataset)
    return folder


def _rates(root: Path) -> dict[str, float]:
    """MB per processor second: reading with digests, without, and SHA-256 alone of the same bytes."""
    files = list(walk_tree(root).files.items())
    size = sum(stamp[0] for _, stamp in files)
    found: dict[str, list[float]] = {"with_digests": [], "without_digests": [], "sha256_alone": []}
    with DecoderPool(WORKERS, ReadLimits(), pseudonym_key=KEY) as pool, ThreadPoolExecutor(WORKERS) as threads:
        for digests in (True, False):
            survey(pool, threads, SurveyTask(str(root), digests=digests), files[:100])
        for _ in range(3):
            for name, digests in (("with_digests", True), ("without_digests", False)):
                with _clock([os.getpid()]) as taken:
                    survey(pool, threads, SurveyTask(str(root), digests=digests), files)
                found[name].append(taken().cpu)
            with _clock([os.getpid()]) as taken:
                for path, _ in files:
                    hashlib.sha256((root / path).read_bytes()).hexdigest()
            found["sha256_alone"].append(taken().cpu)
    seconds = {name: statistics.median(each) for name, each in found.items()}
    rates = {f"{name}_mb_cpu_s": size / 1e6 / each for name, each in seconds.items()}
    return {"count": len(files), "files_cpu_s": len(files) / seconds["with_digests"], **rates}


def run_rescan(scratch: Path, report: Report, most: int) -> None:
    """Second scans after one change, each size in a process of its own, so that its memory is its own."""
    rows = []
    for size in (size for size in RESCAN_SIZES if size <= most):
        command = [sys.executable, "-m", "benchmarks.catalogue", "--scratch", str(scratch)]
        subprocess.run([*command, "--fill", str(size)], check=True)
        done = subprocess.run([*command, "--one-rescan", str(size)], check=True, stdout=subprocess.PIPE)
        rows.append(json.loads(done.stdout))
        shutil.rmtree(scratch / f"files-{size}")
    report.figures["rescan"] = rows
    first = rows[0]
    if first["others_cores"] >= QUIET:
        report.faults.append("rescan: other processes were at work, wall time does not count")
    elif first["seconds"] >= RESCAN_GOAL_S:
        report.faults.append(f"rescan: {first['seconds']:.2f} s, the goal is {RESCAN_GOAL_S} s")


def one_rescan(scratch: Path, count: int) -> dict[str, float]:
    """Change one file of a folder that `fill` filled, and scan; median of five."""
    root, settings = _place(scratch, count)
    changed = root / "000" / "0000.png"
    wall, cpu, others = [], [], []
    for number in range(5):
        changed.write_bytes(b"no picture any more, number %d" % number)
        load = OtherLoad()
        with _clock([os.getpid()]) as taken:
            found = scan(settings, root, "synthetic")
        _check(found, count)
        timing = taken()
        wall.append(timing.wall)
        cpu.append(timing.cpu)
        others.append(load.cores())
    return {
        "files": count, "seconds": statistics.median(wall), "cpu_seconds": statistics.median(cpu),
        "others_cores": statistics.median(others),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "database_mib": (settings.home / "irmsia.db").stat().st_size / 2**20,
    }  # fmt: skip


def _check(found: ScanReport, count: int) -> None:
    if (found.read, found.unchanged, found.tally.files) != (1, count - 1, count):
        raise SystemExit(f"the re-scan read {found.read} of {found.files}")


def _place(scratch: Path, count: int) -> tuple[Path, Settings]:
    return scratch / f"files-{count}", Settings(home=scratch / f"home-{count}")


def fill(scratch: Path, count: int) -> None:
    """Make so many empty files, thousands, and catalogue entries for them that were never read."""
    root, settings = _place(scratch, count)
    for folder in range(count // 1000):
        (root / f"{folder:03}").mkdir(parents=True)
        for number in range(1000):
            (root / f"{folder:03}" / f"{number:04}.png").touch()
    with open_catalogue(settings) as catalogue:
        catalogue.create("synthetic", root.resolve())
        some: list[Record] = []
        for path, (size, modified) in walk_tree(root).files.items():
            some.append(_synthetic(path, size, modified))
            if len(some) == 100_000:
                catalogue.commit("synthetic", some, operation="scan")
                some.clear()
        catalogue.commit("synthetic", some, operation="scan")


def _synthetic(path: str, size: int, modified: int) -> Record:
    digest = hashlib.sha256(path.encode()).hexdigest()
    return Record(
        path, size, modified, digest, digest, digest[:16], digest, "PNG",
        frames=1, rows=256, columns=256, samples=1, dtype="uint8", intensities=Intensities(0.0, 255.0, 100.5, 40.25),
        patient=digest[:6], patient_source=PatientSource.NAME, label=digest[0], label_source=LabelSource.FOLDER,
        source="synthetic",
    )  # fmt: skip


def print_report(report: Report) -> None:
    """Markdown."""
    figures = report.figures
    if "headers" in figures:
        _print_headers(figures["headers"])
    if "full" in figures:
        print("\n| full scan of | files | MB/s with digests | without | SHA-256 alone |\n|---|---|---|---|---|")
        for row in figures["full"]:
            rates = [row[f"{name}_mb_cpu_s"] for name in ("with_digests", "without_digests", "sha256_alone")]
            print(f"| {row['files']} | {row['count']:,} | {' | '.join(f'{rate:,.0f}' for rate in rates)} |")
        print("\nMB per processor second; decoding, hashes and facts are in the first two.")
        row = figures["scan"]
        print(
            f"\nScan of {row['files']:,} pictures into the catalogue: {row['seconds']:.1f} s,"
            f" {row['cpu_seconds']:.1f} s of processor time; peak {row['own_peak_mib']:.0f} MiB, largest child"
            f" {row['largest_child_peak_mib']:.0f} MiB; others used {row['others_cores']:.2f} cores."
        )
    if "rescan" in figures:
        print("\n| re-scan after one change of | s | processor s | peak MiB | database MiB | others, cores |")
        print("|---|---|---|---|---|---|")
        for row in figures["rescan"]:
            print(
                f"| {row['files']:,} files | {row['seconds']:.2f} | {row['cpu_seconds']:.2f} | {row['peak_mib']:.0f}"
                f" | {row['database_mib']:.0f} | {row['others_cores']:.2f} |"
            )
    for fault in report.faults:
        print(f"\nMISSED  {fault}")


def _print_headers(found: dict[str, Any]) -> None:
    print(
        "| header scan | files/s, ours | pydicom | ratio | files/processor s, ours | pydicom | ratio | others, cores |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for number, row in enumerate(found["rounds"], 1):
        cells = (row["ours_files_s"], row["peer_files_s"], row["ours_files_cpu_s"], row["peer_files_cpu_s"])
        ours, peer, ours_cpu, peer_cpu = (f"{value:,.0f}" for value in cells)
        ratios = f"{row['wall']:.2f} | {ours_cpu} | {peer_cpu} | {row['cpu']:.2f}"
        print(f"| round {number} | {ours} | {peer} | {ratios} | {row['others']:.2f} |")
    print(
        f"\n{found['files']:,} files, {found['workers']} children; values equal in {found['values_equal']:,} of them."
    )


def main() -> int:
    """Run what was asked for and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("IRMSIA_TEST_DATA", "../shared/data")))
    parser.add_argument("--only", choices=("headers", "full", "rescan"), action="append")
    parser.add_argument("--most", type=int, default=1_000_000, help="files of the largest re-scan")
    parser.add_argument("--scratch", type=Path, help="where files are made; a temporary folder unless told")
    parser.add_argument("--json", type=Path, help="write the figures as JSON")
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--one-rescan", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.fill:
        fill(arguments.scratch, arguments.fill)
        return 0
    if arguments.one_rescan:
        print(json.dumps(one_rescan(arguments.scratch, arguments.one_rescan)))
        return 0
    chosen = arguments.only or ["headers", "full", "rescan"]
    report = Report()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        scratch = Path(folder)
        if "headers" in chosen:
            run_headers(arguments.data, scratch, report)
        if "full" in chosen:
            run_full(arguments.data, scratch, report)
        if "rescan" in chosen:
            run_rescan(scratch, report, arguments.most)
    print_report(report)
    if arguments.json:
        durable.write_text(arguments.json, json.dumps(asdict(report), indent=1))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
