"""Reading with digests against pydicom: ``python -m benchmarks.reading [--data DIR] [--out FILE]``. Processor time.

Ours: `read_image` in this process, and the decoder pool with its child's time. Peer: pydicom `dcmread`, `pixel_array`
and the SHA-256 of the same frames, by the plug-ins that pydicom finds. Files of the data folder by transfer syntax, and
a 512 x 512 phantom of 16 bits in every lossless syntax. Two rounds, interleaved; exit 1 when a goal is missed or the
rounds disagree.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from irmsia import durable
from irmsia.imaging.formats.header import WANTED
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.phantoms import make_phantom
from irmsia.imaging.read import inspect, read_image

REPEATS = 7
ROUNDS = 2
AGREE = 0.10
SAMPLE_S = 0.04
FILES_A_SYNTAX = 2
MOST_BYTES = 1 << 20
NEAR = 3  # grey levels by which two decoders of a lossy syntax may differ
CT_SLICES = "native CT slices"
CT_GOAL, LEAST_GOAL = 2.5, 0.9
LIMITS = ReadLimits()
PHANTOM_SEED = 4
KEYWORDS = tuple(word for tag in sorted(WANTED) if (word := pydicom.datadict.keyword_for_tag(tag)))

Frames = list[NDArray[np.generic]]


@dataclass(frozen=True)
class Case:
    """Files measured together."""

    name: str
    syntax: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Row:
    """Milliseconds a file and how often faster; ``rounds``: the ratio of each round.

    ``pool_ratio``: against the peer in its own process. ``file_digests_ratio``: both sides digest the file as well;
    ``same_facts_ratio``: the peer also looks at the header values that ours reads.
    """

    name: str
    syntax: str
    files: int
    kilobytes: int
    pixels: str
    ours_ms: float
    peer_ms: float
    ratio: float
    rounds: tuple[float, ...]
    pool_ms: float
    pool_ratio: float
    file_digests_ratio: float | None = None
    same_facts_ratio: float | None = None


def read_ours(path: Path) -> tuple[str, ...]:
    """Pixels, facts and frame digests."""
    return read_image(path.read_bytes(), LIMITS, digest_input=False).info.frame_sha256


def read_ours_and_file(path: Path) -> tuple[str, ...]:
    """The same and the digest of the file."""
    return read_image(path.read_bytes(), LIMITS).info.frame_sha256


def read_peer(path: Path) -> list[str]:
    """Pixels and frame digests by pydicom."""
    return _frame_digests(pydicom.dcmread(path, force=True))


def read_peer_and_file(path: Path) -> list[str]:
    """The same and the digest of the file."""
    data = path.read_bytes()
    hashlib.sha256(data).hexdigest()
    return _frame_digests(pydicom.dcmread(io.BytesIO(data), force=True))


def read_peer_and_facts(path: Path) -> list[str]:
    """The same as `read_peer`, and the header values that our reader looks at."""
    dataset = pydicom.dcmread(path, force=True)
    for keyword in KEYWORDS:
        dataset.get(keyword)
    return _frame_digests(dataset)


def _frame_digests(dataset: Dataset) -> list[str]:
    frames = (np.ascontiguousarray(frame, frame.dtype.newbyteorder("<")) for frame in _peer_frames(dataset))
    return [hashlib.sha256(frame.data).hexdigest() for frame in frames]


def _peer_frames(dataset: Dataset) -> Frames:
    stored = dataset.pixel_array
    count = int(dataset.get("NumberOfFrames") or 1)
    return list(stored) if count > 1 else [stored]


def find_cases(data: Path, scratch: Path) -> Iterator[Case]:
    """The CT series, the largest files of each syntax that both read, and the phantom in each lossless syntax."""
    yield Case(CT_SLICES, "1.2.840.10008.1.2.1", tuple(sorted((data / "dicom" / "ct_head_gantry_tilt").glob("*.dcm"))))
    by_syntax: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted((data / "dicom").rglob("*")):
        if path.is_file() and (found := _readable(path)):
            by_syntax.setdefault(found[0], []).append((found[1], path))
    for syntax, files in sorted(by_syntax.items()):
        largest = sorted(files, key=lambda item: (-item[0], item[1]))[:FILES_A_SYNTAX]
        yield Case(UID(syntax).name, syntax, tuple(path for _, path in largest))
    for syntax, content in _phantoms():
        path = scratch / f"{syntax}.dcm"
        path.write_bytes(content)
        if _readable(path) is None:
            print(f"no comparison for {syntax}: pydicom has no plug-in for it", file=sys.stderr, flush=True)
            continue
        yield Case(f"phantom, {UID(syntax).name}", syntax, (path,))


def _readable(path: Path) -> tuple[str, int] | None:
    """Transfer syntax and bytes of pixels where both read the file."""
    info = inspect(path.read_bytes(), LIMITS)
    if info.error or info.transfer_syntax is None or info.shape is None or info.dtype is None:
        return None
    size = int(np.prod(info.shape)) * np.dtype(info.dtype).itemsize
    try:
        stored = pydicom.dcmread(path, force=True).pixel_array
    except Exception:  # noqa: BLE001 - what pydicom cannot read is no comparison
        return None
    return (info.transfer_syntax, size) if size <= MOST_BYTES and stored.size == int(np.prod(info.shape)) else None


def _phantoms() -> Iterator[tuple[str, bytes]]:
    dataset = pydicom.dcmread(io.BytesIO(make_phantom(PHANTOM_SEED).data))
    stored = cv2.resize(dataset.pixel_array, (512, 512), interpolation=cv2.INTER_CUBIC).astype(np.uint16)
    dataset.Rows = dataset.Columns = 512
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = stored.tobytes()
    encoded = {
        "1.2.840.10008.1.2.4.70": lambda: imagecodecs.jpeg8_encode(
            stored, lossless=True, predictor=1, bitspersample=16
        ),
        "1.2.840.10008.1.2.4.80": lambda: imagecodecs.jpegls_encode(stored),
        "1.2.840.10008.1.2.4.90": lambda: imagecodecs.jpeg2k_encode(
            stored, codecformat="j2k", reversible=True, level=0
        ),
        "1.2.840.10008.1.2.4.201": lambda: imagecodecs.htj2k_encode(stored, reversible=True),
    }
    for syntax in (ImplicitVRLittleEndian, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", ExplicitVRBigEndian):
        dataset.PixelData = stored.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
        yield syntax, _written(dataset, syntax)
    dataset.PixelData = stored.tobytes()
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    dataset.compress(RLELossless, stored)
    yield RLELossless, _written(dataset, RLELossless)
    for syntax, encode in encoded.items():
        dataset.PixelData = encapsulate([encode()])
        yield syntax, _written(dataset, syntax)


def _written(dataset: Dataset, syntax: str) -> bytes:
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    element = dataset["PixelData"]
    element.is_undefined_length = UID(syntax).is_encapsulated
    element.VR = "OB" if element.is_undefined_length else "OW"
    buffer = io.BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
    return buffer.getvalue()


def compare_pixels(case: Case) -> str:
    """``equal`` by digest, else the largest difference, which must be small and the syntax lossy."""
    largest = 0.0
    for path in case.paths:
        image = read_image(path.read_bytes(), LIMITS)
        frames = _peer_frames(pydicom.dcmread(path, force=True))
        if list(image.info.frame_sha256) == _frame_digests(pydicom.dcmread(path, force=True)):
            continue
        peer = np.asarray(frames).reshape(image.pixels.shape)
        largest = max(largest, float(np.abs(peer.astype(np.float64) - image.pixels).max()))
        if image.info.lossless and largest == 0:
            largest = max(largest, 1e-9)
    return "equal" if largest == 0 else f"within {largest:.0f}"


def cpu_seconds(children: tuple[int, ...] = ()) -> float:
    """Processor time of this process and of live children, to the nanosecond of the kernel's own accounting."""
    return time.process_time() + sum(_schedule_ns(child) for child in children) / 1e9


def _schedule_ns(process: int) -> int:
    tasks = Path(f"/proc/{process}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())


def measure(actions: dict[str, Callable[[], object]], children: tuple[int, ...]) -> dict[str, list[float]]:
    """Seconds of each action, all interleaved, ``REPEATS`` samples of several calls each."""
    calls = {}
    for name, action in actions.items():
        action()
        started = cpu_seconds(children)
        action()
        calls[name] = max(1, round(SAMPLE_S / max(cpu_seconds(children) - started, 1e-6)))
    samples: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(REPEATS):
        for name, action in actions.items():
            started = cpu_seconds(children)
            for _ in range(calls[name]):
                action()
            samples[name].append((cpu_seconds(children) - started) / calls[name])
    return samples


def run_case(case: Case, pool: DecoderPool, children: tuple[int, ...]) -> Row:
    """Measure one case in two rounds."""

    def over(read: Callable[[Path], object]) -> Callable[[], object]:
        return lambda: [read(path) for path in case.paths]

    actions = {
        "ours": over(read_ours),
        "peer": over(read_peer),
        "pool": over(pool.inspect),
        "peer file": over(read_peer_and_file),
    }
    if case.name == CT_SLICES:
        actions |= {"ours file": over(read_ours_and_file), "peer facts": over(read_peer_and_facts)}
    rounds = [
        {name: statistics.median(found) for name, found in measure(actions, children).items()} for _ in range(ROUNDS)
    ]
    mean = {name: statistics.mean(found[name] for found in rounds) / len(case.paths) * 1e3 for name in actions}
    return Row(
        name=case.name,
        syntax=case.syntax,
        files=len(case.paths),
        kilobytes=sum(path.stat().st_size for path in case.paths) // len(case.paths) // 1024,
        pixels=compare_pixels(case),
        ours_ms=mean["ours"],
        peer_ms=mean["peer"],
        ratio=mean["peer"] / mean["ours"],
        rounds=tuple(found["peer"] / found["ours"] for found in rounds),
        pool_ms=mean["pool"],
        pool_ratio=mean["peer file"] / mean["pool"],
        file_digests_ratio=mean["peer file"] / mean["ours file"] if "ours file" in mean else None,
        same_facts_ratio=mean["peer facts"] / mean["ours"] if "peer facts" in mean else None,
    )


def find_faults(rows: list[Row], lossy: set[str]) -> list[str]:
    """Goals missed, rounds that disagree, pixels that differ."""
    faults = []
    for row in rows:
        if max(row.rounds) > (1 + AGREE) * min(row.rounds):
            faults.append(f"{row.name}: the rounds disagree, {row.rounds[0]:.2f} and {row.rounds[1]:.2f}")
        if row.pixels != "equal" and row.syntax not in lossy:
            faults.append(f"{row.name}: pixels of a lossless syntax differ, {row.pixels}")
        if row.ratio < LEAST_GOAL:
            faults.append(f"{row.name}: {row.ratio:.2f} x, the goal is {LEAST_GOAL} x")
        if row.name == CT_SLICES and row.ratio < CT_GOAL:
            faults.append(f"{row.name}: {row.ratio:.2f} x, the goal is {CT_GOAL} x")
    return faults


def print_table(rows: list[Row], faults: list[str]) -> None:
    """A table for people."""
    head = f"{'files':48s} {'n':>3s} {'KB':>6s} {'ours ms':>8s} {'peer ms':>8s} {'ratio':>6s}"
    print(f"{head} {'pool ms':>8s} {'pool':>6s}  pixels")
    for row in rows:
        cells = f"{row.name[:48]:48s} {row.files:3d} {row.kilobytes:6d} {row.ours_ms:8.2f} {row.peer_ms:8.2f}"
        print(f"{cells} {row.ratio:6.2f} {row.pool_ms:8.2f} {row.pool_ratio:6.2f}  {row.pixels}")
        if row.file_digests_ratio and row.same_facts_ratio:
            print(f"{'  the file digested as well on both sides':76s} {row.file_digests_ratio:6.2f}")
            print(f"{'  the peer looks at the same header values':76s} {row.same_facts_ratio:6.2f}")
    print(f"goals: {CT_SLICES} >= {CT_GOAL} x, every row >= {LEAST_GOAL} x")
    for fault in faults:
        print(f"MISSED  {fault}")


def main() -> int:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("IRMSIA_TEST_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--only", default="", help="rows whose name or syntax holds this")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch, DecoderPool(1, LIMITS) as pool:
        cases = [
            case
            for case in find_cases(arguments.data, Path(scratch))
            if arguments.only.lower() in f"{case.name} {case.syntax}".lower()
        ]
        pool.inspect(cases[0].paths[0])
        children = tuple(int(child) for child in _children_of(os.getpid()))
        rows = []
        for case in cases:
            rows.append(run_case(case, pool, children))
            print(f"{len(rows)}/{len(cases)} {case.name}: {rows[-1].ratio:.2f} x", file=sys.stderr, flush=True)
            if any(opened.error for opened in map(pool.inspect, case.paths)):
                raise SystemExit(f"the decoder pool does not read {case.name}")
    lossy = {row.syntax for row in rows if not _is_lossless(row.syntax)}
    faults = find_faults(rows, lossy)
    print_table(rows, faults)
    if arguments.out:
        report = {"rows": [asdict(row) for row in rows], "faults": faults}
        durable.write_bytes(arguments.out, json.dumps(report, indent=1).encode())
    return 1 if faults else 0


def _is_lossless(syntax: str) -> bool:
    from irmsia.imaging.formats.codecs import CODECS

    return syntax not in CODECS or CODECS[syntax].lossless


def _children_of(process: int) -> list[str]:
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


if __name__ == "__main__":
    sys.exit(main())
