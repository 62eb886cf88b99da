"""Shows the thin line on real images: ``python -m benchmarks.thin_line [--data DIR]``. Text only; exit 1 on any miss.

A server is started and asked over gRPC: one image of each real set, the CT head series, two encodings of one chest
X-ray, all WG-04 images, the hostile files; its start, its memory and its restart after ``kill -9`` are measured.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from irmsia.app.same import first_inequivalence
from irmsia.client import DicomDiagnosticClient
from irmsia.findings.types import Decision, Diagnosis
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.types import ImageInfo
from irmsia.server.run_file import find_running

CHEST = "chest_xray_pneumonia/PNEUMONIA"
SETS = (CHEST, "brain_mri_tumor/glioma", "breast_ultrasound_busi/malignant")
READY_S = 3.0
MEMORY_MIB = 600.0
BOMB_S = 1.0
BOMB_CHILD_MIB = 300.0
BOMB_PARENT_MIB = 5.0


@dataclass
class Sheet:
    """What is printed, and what was missed."""

    missed: list[str] = field(default_factory=list)

    def title(self, text: str) -> None:
        """A heading."""
        print(f"\n## {text}\n", flush=True)

    def row(self, *cells: object) -> None:
        """One line of a table."""
        print("  ".join(str(cell) for cell in cells), flush=True)

    def check(self, what: str, *, good: bool) -> None:
        """One line that is either met or missed."""
        print(f"{'met   ' if good else 'MISSED'}  {what}", flush=True)
        if not good:
            self.missed.append(what)


@dataclass(frozen=True)
class Server:
    """A running server of this machine."""

    process: subprocess.Popen[bytes]
    target: str
    ready_s: float


@contextmanager
def running_server(home: Path) -> Iterator[Server]:
    """`irmsia serve` on a free port until it can be asked; SIGTERM at the end."""
    process = start(home)
    try:
        yield wait_ready(process, home, time.monotonic())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def start(home: Path) -> subprocess.Popen[bytes]:
    """Start a server whose files lie in ``home``."""
    command = [sys.executable, "-m", "irmsia.cli.main", "serve", "--grpc-port", "0"]
    return subprocess.Popen(command, env=os.environ | {"IRMSIA_HOME": str(home)}, stdout=subprocess.DEVNULL)


def wait_ready(process: subprocess.Popen[bytes], home: Path, begin: float) -> Server:
    """Wait until the server says where it listens; its run file is written when it takes requests."""
    while process.poll() is None and time.monotonic() < begin + 60:
        running = find_running(home)
        if running is not None and running.pid == process.pid:
            return Server(process, running.grpc_target, time.monotonic() - begin)
        time.sleep(0.01)
    raise SystemExit("the server did not start")


def proportional_mib(pid: int) -> float:
    """PSS of a process and all below it, MiB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    own = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024
    return own + sum(proportional_mib(child) for child in children(pid))


def children(pid: int) -> list[int]:
    """Processes started by ``pid``."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]


def peak_mib(pid: int) -> float:
    """Largest resident size of a process so far, MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024


def still_alive(pids: list[int], within_s: float = 5.0) -> list[int]:
    """Which of ``pids`` run on; one that was still starting notices only when it has read its modules."""
    until = time.monotonic() + within_s
    while (alive := [pid for pid in pids if lives(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    return alive


def lives(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def first_file(folder: Path) -> Path:
    """The first image of a folder, masks left out."""
    return next(path for path in sorted(folder.iterdir()) if "_mask" not in path.name)


def describe(answer: Diagnosis) -> str:
    """Decision, region and probabilities of one answer in a line."""
    if answer.error is not None:
        return answer.error.code
    reason = f" {answer.reason}" if answer.reason else ""
    found = ", ".join(f"{row.code} {row.probability:.3f} {row.state}" for row in answer.findings)
    return f"{answer.decision}{reason} (rule {answer.rule})  {answer.region or '-'}  {found}".rstrip()


def show_sets(sheet: Sheet, client: DicomDiagnosticClient, data: Path) -> None:
    """One image of each real set through gRPC."""
    sheet.title("One image of each real set, through gRPC")
    for name in SETS:
        answer = client.diagnose_dicom(first_file(data / name))
        sheet.row(name.ljust(36), describe(answer))
        sheet.check(f"{name} answered", good=answer.error is None and answer.decision is not Decision.REFUSE)


def show_ct_head(sheet: Sheet, client: DicomDiagnosticClient, data: Path) -> None:
    """Every slice of the CT head series is refused."""
    sheet.title("The CT head series")
    files = sorted((data / "dicom/ct_head_gantry_tilt").glob("*.dcm"))
    answers = [client.diagnose_dicom(path) for path in files]
    for (decision, reason), count in Counter((answer.decision, answer.reason) for answer in answers).items():
        sheet.row(f"{count} of {len(files)}", decision, reason or "")
    refused = sum(answer.decision is Decision.REFUSE for answer in answers)
    sheet.check(f"{refused} of {len(files)} refused", good=refused == len(files) > 0)


def show_twins(sheet: Sheet, client: DicomDiagnosticClient, data: Path) -> None:
    """A chest JPEG as PNG, and as MONOCHROME1 and MONOCHROME2 DICOM."""
    sheet.title("Two encodings of one chest X-ray")
    jpeg = first_file(data / CHEST).read_bytes()
    original = client.diagnose_dicom(jpeg)
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED)
    png = client.diagnose_dicom(cv2.imencode(".png", pixels)[1].tobytes())
    compare(sheet, "JPEG", original, "PNG", png)
    sheet.check("JPEG and PNG have the same frame digest", good=digests(original) == digests(png))
    bright = client.diagnose_dicom(dicom_of(pixels, "MONOCHROME2"))
    dark = client.diagnose_dicom(dicom_of(255 - pixels, "MONOCHROME1"))
    compare(sheet, "MONOCHROME2", bright, "MONOCHROME1", dark)


def compare(sheet: Sheet, left: str, first: Diagnosis, right: str, second: Diagnosis) -> None:
    """Print both answers and whether they are equivalent."""
    sheet.row(left.ljust(12), describe(first))
    sheet.row(right.ljust(12), describe(second))
    difference = first_inequivalence(first, second)
    same = difference is None and first.decision is not Decision.REFUSE
    sheet.check(f"{left} and {right}: equivalent answers" + (f" ({difference})" if difference else ""), good=same)


def digests(answer: Diagnosis) -> tuple[str, ...]:
    """Frame digests of an answer."""
    return answer.evidence.frame_sha256 if answer.evidence is not None else ()


def dicom_of(pixels: NDArray[np.uint8], photometric: str) -> bytes:
    """An 8-bit digital X-ray of a child's chest."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[photometric])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.Modality, made.BodyPartExamined, made.PatientAge = "DX", "CHEST", "004Y"
    made.Rows, made.Columns, made.SamplesPerPixel = *pixels.shape, 1
    made.PhotometricInterpretation = photometric
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


def show_wg04(sheet: Sheet, inspect: Callable[[Path], ImageInfo], data: Path) -> None:
    """Every lossless frame equals EXPECTED.csv."""
    sheet.title("WG-04: every lossless frame against EXPECTED.csv")
    folder = data / "dicom/wg04_compression"
    with (folder / "EXPECTED.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    equal = 0
    for row in rows:
        info = inspect(folder / row["file"])
        outcome = outcome_of(info, row["frame_sha256_stored"])
        equal += outcome == "equal"
        decoder = (info.decoder or "")[:24]
        sheet.row(row["file"].ljust(14), row["transfer_syntax"].ljust(24), decoder.ljust(24), outcome)
    lossless = sum(row["lossless"] == "yes" for row in rows)
    sheet.check(f"{equal} of {lossless} lossless frames equal", good=equal == lossless > 0)


def outcome_of(info: ImageInfo, expected: str) -> str:
    """What became of one file."""
    if info.error is not None:
        return info.error.code
    if not expected:
        return "lossy, read"
    return "equal" if info.frame_sha256 == (expected,) else "DIFFERENT"


def show_hostile(sheet: Sheet, client: DicomDiagnosticClient, server: Server, data: Path) -> None:
    """The five hostile files, with the time each took; the server is alive and small afterwards."""
    sheet.title("Hostile files, through gRPC")
    folder = data / "hostile"
    with (folder / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    before = own_mib(server.process.pid)
    for row in rows:
        begin = time.monotonic()
        answer = client.diagnose_dicom(folder / row["file"], raise_errors=False)
        seconds = time.monotonic() - begin
        code = answer.error.code if answer.error else str(answer.decision)
        sheet.row(row["file"].ljust(18), code.ljust(20), f"{seconds:.3f} s")
        sheet.check(
            f"{row['file']}: {row['expected_code']} within {BOMB_S:.0f} s", good=is_expected(row, code, seconds)
        )
    grown = own_mib(server.process.pid) - before
    peak = max(peak_mib(child) for child in children(server.process.pid))
    sheet.check(f"server grew {grown:.1f} MiB (at most {BOMB_PARENT_MIB:.0f})", good=grown <= BOMB_PARENT_MIB)
    sheet.check(f"largest child {peak:.0f} MiB (at most {BOMB_CHILD_MIB:.0f})", good=peak <= BOMB_CHILD_MIB)


def is_expected(row: dict[str, str], code: str, seconds: float) -> bool:
    """Whether one hostile file met its row of the index in time."""
    return code in row["expected_code"].split("|") and seconds <= BOMB_S


def own_mib(pid: int) -> float:
    """Resident size of one process, MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def show_start(sheet: Sheet, server: Server) -> None:
    """How long the start took."""
    sheet.title("Start")
    sheet.check(f"ready {server.ready_s:.2f} s after start (at most {READY_S:.0f})", good=server.ready_s <= READY_S)


def show_memory(sheet: Sheet, server: Server) -> None:
    """Memory of the server and its children after all of the above."""
    sheet.title("Memory")
    used = proportional_mib(server.process.pid)
    count = 1 + len(children(server.process.pid))
    sheet.check(f"{count} processes hold {used:.0f} MiB PSS (at most {MEMORY_MIB:.0f})", good=used <= MEMORY_MIB)


def show_restart(sheet: Sheet, home: Path) -> None:
    """kill -9, then start again with nothing cleaned up by hand."""
    sheet.title("kill -9 and start again")
    begin = time.monotonic()
    first = wait_ready(start(home), home, begin)
    orphans = children(first.process.pid)
    first.process.kill()
    first.process.wait()
    left = len(list((home / "run").iterdir()))
    with running_server(home) as second, DicomDiagnosticClient(second.target) as client:
        ready = client.health_check().ready
        found = find_running(home)
        alive = still_alive(orphans)
        files = len(list((home / "run").iterdir()))
    sheet.row(f"run files left by the killed server: {left}; after the next start: {files}")
    sheet.check(f"started again in {second.ready_s:.2f} s and is ready", good=ready)
    sheet.check("the new server is the one found", good=found is not None and found.pid == second.process.pid)
    sheet.check("no decoder child of the killed server lives on", good=not alive)


def main() -> int:
    """Show everything; 1 when something was missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.thin_line", description=__doc__)
    default = Path(os.environ.get("IRMSIA_TEST_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=default, help="folder of the real images")
    data = parser.parse_args().data
    sheet = Sheet()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with running_server(home) as server, DicomDiagnosticClient(server.target) as client:
            show_start(sheet, server)
            show_sets(sheet, client, data)
            show_ct_head(sheet, client, data)
            show_twins(sheet, client, data)
            show_hostile(sheet, client, server, data)
            show_memory(sheet, server)
        pool = DecoderPool(1, ReadLimits())
        show_wg04(sheet, pool.inspect, data)
        pool.close()
        show_restart(sheet, home)
    print(f"\n{len(sheet.missed)} missed" + "".join(f"\n  {what}" for what in sheet.missed))
    return 1 if sheet.missed else 0


if __name__ == "__main__":
    sys.exit(main())
