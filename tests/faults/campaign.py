"""Mutants through the decoder pool as it is served, and what is wrong with any of their ends (safety.md I11).

Times are processor time of the child, so that other programs of the machine do not count; what hangs without computing
is ended by the pool's own limit and counts as a hang.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from irmsia.bundles.load import load_bundle
from irmsia.bundles.signing import read_trust
from irmsia.bundles.store import STARTER
from irmsia.errors import IrmsiaError
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import MIB
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.imaging.series import HeadTask, PlanesTask
from tests.faults.mutants import Mutant

MOST_SECONDS = 2.0
MOST_BYTES = 512 * MIB
_AT_THE_EDGE = "the file cannot be interpreted"
_FAULTS = {"WORKER_DIED": "crash", "TIMED_OUT": "hang", "INTERNAL": "untyped", "QUARANTINED": "crash", "": "untyped"}
_INSPECTED_EVERY = 4


@dataclass(frozen=True)
class Outcome:
    """How one mutant ended. ``fault``: crash, hang, untyped, slow or large; null when it ended as it must."""

    mutant: Mutant
    code: str
    seconds: float
    peak_bytes: int
    at_the_edge: bool
    fault: str | None


def served_spec() -> PreprocessSpec:
    """The preprocessing of the packaged starter; without one, the plain one."""
    if not (STARTER / "manifest.json").is_file():
        return PreprocessSpec()
    return load_bundle(STARTER, read_trust(None)).manifest.preprocessing


def run_mutants(
    pool: DecoderPool,
    mutants: Iterable[Mutant],
    spec: PreprocessSpec,
    *,
    most_seconds: float = MOST_SECONDS,
    most_bytes: int = MOST_BYTES,
) -> Iterator[Outcome]:
    """Yield how each mutant ends, one after the other."""
    for mutant in mutants:
        code, seconds, peak, message = _run(pool, mutant, spec)
        fault = _FAULTS.get(code) or ("slow" if seconds > most_seconds else "large" if peak > most_bytes else None)
        yield Outcome(mutant, code, seconds, peak, message == _AT_THE_EDGE, fault)


def count_codes(outcomes: Iterable[Outcome]) -> dict[str, Counter[str]]:
    """Format -> outcome code -> how many."""
    counts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        counts.setdefault(outcome.mutant.format, Counter())[outcome.code] += 1
    return counts


def _run(pool: DecoderPool, mutant: Mutant, spec: PreprocessSpec) -> tuple[str, float, int, str]:
    """Code, seconds of the child's processor time, largest resident bytes of a child, message."""
    _forget_peaks()
    before = {pid: _processor_seconds(pid) for pid in _children()}
    code, message = _answer(pool, mutant, spec)
    after = {pid: _processor_seconds(pid) for pid in _children()}
    spent = [seconds - before[pid] for pid, seconds in after.items() if pid in before]
    return code, max(spent, default=0.0), max(map(_peak, after), default=0), message


def _answer(pool: DecoderPool, mutant: Mutant, spec: PreprocessSpec) -> tuple[str, str]:
    try:
        if mutant.number % _INSPECTED_EVERY == 0:
            failure = pool.inspect(mutant.data).error
            return (failure.code, failure.message) if failure else ("OK", "")
        if mutant.format == "DICOM" and mutant.number % _INSPECTED_EVERY == 1:
            _read_slice(pool, mutant.data)
            return "OK", ""
        pool.prepare(mutant.data, spec, with_picture=True)
    except IrmsiaError as error:
        return error.code, error.message
    except Exception as error:  # noqa: BLE001 - any other error is what a campaign looks for
        return "", type(error).__name__
    return "OK", ""


def _read_slice(pool: DecoderPool, data: bytes) -> None:
    """As a conversion reads a file of a series: its header, then the pixels of its last slice."""
    heads = pool.run(HeadTask(), data)
    pool.run(PlanesTask((heads[-1].frame,), heads[-1].tiles, real=heads[-1].rescale is None), data)


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def _processor_seconds(pid: int) -> float:
    """User and system time of one process (proc(5), fields 14 and 15 of stat)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _forget_peaks() -> None:
    """From now on VmHWM counts anew (proc(5), clear_refs 5)."""
    for pid in _children():
        try:
            descriptor = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY)
        except OSError:
            continue
        try:
            os.write(descriptor, b"5")
        finally:
            os.close(descriptor)


def _peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
