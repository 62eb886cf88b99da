"""Line F1: ``python -m benchmarks.crash [--times 100] [--json FILE] [--quick]``. Linux.

A decoder of a server is killed (SIGSEGV, SIGKILL), stopped so that it hangs, or given more than its memory, one after
the other, each time at its work on an image of its own and with 20 good clients beside it. Only that image may fail, by
its own code; every good client must be answered; another child must be there within 500 ms. At the end one image that
kills its decoder twice must be quarantined. Exit 1 when a line is missed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import psutil
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from benchmarks.asking import Client, Unary, patient
from benchmarks.counts import Lines, percentile, told
from benchmarks.pictures import ct_slice, dataset_of, written
from benchmarks.served import Served, serving
from irmsia.errors import IrmsiaError
from irmsia.settings.limits import MIB

TIMES, GOOD_CLIENTS, GOOD_EACH = 100, 20, 2
RESPAWN_MS = 500.0
WORKERS = 2
CHILDREN = WORKERS + 1  # and a spare one
FRAME_S = 2.0
CHILD_BYTES = 256 * MIB
BUSY_S, CALM_S = 0.1, 0.25
PATIENCE_S = 120.0
LONG_FRAMES = 12_000
KINDS = {"SIGSEGV": "WORKER_DIED", "SIGKILL": "WORKER_DIED", "hang": "TIMED_OUT", "memory": "LIMIT_EXCEEDED"}
"""What is done to a decoder, and how its image must fail."""


@dataclass(frozen=True)
class Crash:
    """One fault: how its image ended, how many good images were answered, how soon another child was there."""

    kind: str
    code: str
    good: int
    answered: int
    respawn_ms: float | None


def long_image(name: str) -> bytes:
    """A CT of very many JPEG 2000 frames, which keeps a decoder at work for seconds; each ``name`` is another file."""
    row = np.arange(512, dtype=np.uint8)
    frame = imagecodecs.jpeg2k_encode(np.broadcast_to(row, (512, 512)).copy(), reversible=True, level=0)
    dataset = dataset_of(ct_slice())
    dataset.SeriesDescription, dataset.NumberOfFrames = name, LONG_FRAMES
    dataset.Rows = dataset.Columns = 512
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    del dataset[0x00280120]  # the padding value has another sign now
    dataset.PixelData = encapsulate([bytes(frame)] * LONG_FRAMES)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    return written(dataset)


def large_image(name: str) -> bytes:
    """A PNG that needs more memory than a child may use; each ``name`` is another file."""
    return _large_picture() + name.encode()


@cache
def _large_picture() -> bytes:
    picture = np.zeros((9_900, 9_900, 3), np.uint8)
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


class Victims:
    """The children of one server."""

    def __init__(self, served: Served) -> None:
        self._process = psutil.Process(served.pid)

    def living(self) -> set[int]:
        """Those that are not only waiting to be collected."""
        return {child.pid for child in self._process.children() if child.status() != psutil.STATUS_ZOMBIE}

    def wait_whole(self) -> float:
        """Seconds until all children are there."""
        return _until(lambda: len(self.living()) >= CHILDREN)

    def wait_calm(self) -> None:
        """Return when all children are there and none works any more, not even at its own start."""
        self.wait_whole()
        seen = -1.0
        while (spent := sum(map(_spent, self._process.children()))) > seen:
            seen = spent
            time.sleep(CALM_S)

    def busy(self) -> psutil.Process:
        """The child that works; the server must have one image and no more."""
        before = {child: _spent(child) for child in self._process.children()}
        found: list[psutil.Process] = []
        _until(lambda: bool(found or found.extend(c for c in before if _spent(c) > before[c] + BUSY_S) or found))
        return found[0]


def _until(condition: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit("it never came true")
        time.sleep(0.002)
    return time.monotonic() - began


def _spent(child: psutil.Process) -> float:
    try:
        times = child.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


@contextmanager
def good_clients(clients: list[Client]) -> Iterator[list[Future[int]]]:
    """All ask at once; each future tells how many of its images were answered."""

    def ask(client: Client) -> int:
        return sum(patient(client, ct_slice())[0].decision is not None for _ in range(GOOD_EACH))

    with ThreadPoolExecutor(len(clients)) as threads:
        yield [threads.submit(ask, client) for client in clients]


def crash(kind: str, number: int, served: Served, clients: list[Client]) -> Crash:
    """One fault beside all good clients."""
    victims, poison = Victims(served), f"{kind} {number}"
    victims.wait_calm()
    data = large_image(poison) if kind == "memory" else long_image(poison)
    bad = Unary(served.target)
    with ThreadPoolExecutor(1) as thread:
        doomed = thread.submit(_code_of, bad, data)
        victim = victims.busy() if kind != "memory" else None
        with good_clients(clients) as good:
            respawn = _strike(kind, victim, victims, doomed)
            code = doomed.result(PATIENCE_S)
            answered = sum(_answered(one) for one in good)
    bad.close()
    return Crash(kind, code, GOOD_EACH * len(clients), answered, respawn)


def _strike(kind: str, victim: psutil.Process | None, victims: Victims, doomed: Future[str]) -> float | None:
    """Do it, and tell after how many milliseconds another child was there."""
    if victim is None:
        return None  # its own limit ends the image; the child may live on
    if kind == "hang":
        victim.suspend()
        doomed.result(PATIENCE_S)
    else:
        victim.send_signal(signal.Signals[kind])
    _until(lambda: victim.pid not in victims.living())
    return 1000 * victims.wait_whole()


def _code_of(client: Client, data: bytes) -> str:
    try:
        return str(client.ask(data).decision)
    except IrmsiaError as error:
        return error.code or "INTERNAL"


def _answered(future: Future[int]) -> int:
    try:
        return future.result(PATIENCE_S)
    except Exception:  # noqa: BLE001 - whatever it is, a good client was not answered
        return 0


def quarantined(served: Served) -> str:
    """How an image ends that has killed its decoder twice."""
    victims, data, client = Victims(served), long_image("poison"), Unary(served.target)
    for _ in range(2):
        victims.wait_calm()
        with ThreadPoolExecutor(1) as thread:
            doomed = thread.submit(_code_of, client, data)
            victims.busy().kill()
            doomed.result(PATIENCE_S)
    return _code_of(client, data)


def check(crashes: list[Crash], last: str, lines: Lines) -> None:
    """The lines."""
    lines.head()
    for kind, code in KINDS.items():
        mine = [one for one in crashes if one.kind == kind]
        if not mine:
            continue
        other = sum(one.code != code for one in mine)
        codes = ", ".join(f"{name} {count}" for name, count in Counter(one.code for one in mine).items())
        lines.check(f"{kind}: {code}", f"{codes}; others {told(other, len(mine))}", good=other == 0)
    asked = sum(one.good for one in crashes)
    lost = asked - sum(one.answered for one in crashes)
    lines.check(f"good images of {GOOD_CLIENTS} clients beside it not answered", told(lost, asked), good=lost == 0)
    waits = [one.respawn_ms for one in crashes if one.respawn_ms is not None]
    if waits:
        late = sum(wait > RESPAWN_MS for wait in waits)
        seen = f"median {percentile(waits, 0.5):.0f}, largest {max(waits):.0f}; later {told(late, len(waits))}"
        lines.check(f"another child within {RESPAWN_MS:.0f} ms", seen, good=late == 0)
    lines.check("the same image after two deaths", last, good=last == "QUARANTINED")


def main() -> int:
    """Run all and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.crash", description=__doc__)
    parser.add_argument("--times", type=int, default=TIMES, help="how many faults, of all kinds in turn")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="one fault: does it run? Its figures mean little")
    options = parser.parse_args()
    crashes = []
    settings = {
        "ENGINE__WORKERS": WORKERS,
        "LIMITS__FRAME_SECONDS": FRAME_S,
        "LIMITS__CHILD_BYTES": CHILD_BYTES,
    }
    with tempfile.TemporaryDirectory() as home, serving(Path(home), **settings) as served:
        clients: list[Client] = [Unary(served.target) for _ in range(GOOD_CLIENTS)]
        for number, kind in enumerate(islice(cycle(KINDS), 1 if options.quick else options.times)):
            crashes.append(crash(kind, number, served, clients))
            print(f"{number + 1}: {crashes[-1]}", file=sys.stderr, flush=True)
        last = quarantined(served)
        for client in clients:
            client.close()
    lines = Lines()
    check(crashes, last, lines)
    lines.figures["crashes"] = [asdict(one) for one in crashes]
    code = lines.end(options.json)
    return 0 if options.quick else code


if __name__ == "__main__":
    sys.exit(main())
