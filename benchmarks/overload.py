"""Line L1: ``python -m benchmarks.overload [--calls 5000] [--seconds 60] [--json FILE] [--quick]``. Linux.

Each door in turn: 5,000 calls at once, then ten times as many as the server can answer, for 60 s, whatever becomes of
those before. Peak: what the same server answers to a few clients that wait their turn. The storm runs on a processor
of its own and the server on the others, so that goodput is not what the storm leaves over. Every ending is counted; a
reply counts as right when it is the answer to this image. Exit 1 when a line is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.counts import Lines, percentile, told
from benchmarks.pictures import enlarged
from benchmarks.served import Served, serving
from benchmarks.storm import OK, OVERLOADED
from benchmarks.storms import HEALTH, HealthWatch, Outcome, Storm, storming

CALLS, SECONDS, TIMES = 5_000, 60.0, 10
PEAK_CLIENTS, PEAK_SECONDS = 16, 15.0
GOODPUT, GROWTH_MIB, HEALTH_MS = 0.90, 256.0, 250.0
DOORS = ("grpc", "http")
SIDE = 256
"""Rows and columns of the image: 131 kB."""


@dataclass(frozen=True)
class Phase:
    """What one storm did to the server."""

    outcome: Outcome
    grown_mib: float
    health_p99_ms: float
    health_asked: int
    health_failed: int


def suffer(served: Served, door: str, storm: Storm, **plan: float) -> Phase:
    """One storm, with the server's memory and health meanwhile."""
    served.reset_peak()
    held = served.memory_mib()
    with HealthWatch(HEALTH[door](served)) as health:
        outcome = storm.run(**plan)
    return Phase(
        outcome=outcome,
        grown_mib=max(0.0, served.peak_mib() - held),
        health_p99_ms=percentile(health.milliseconds, 0.99),
        health_asked=len(health.milliseconds),
        health_failed=health.failures,
    )


def run_door(door: str, served: Served, file: Path, options: argparse.Namespace, lines: Lines) -> None:
    """Peak, all at once, too many for long, and whether it is well afterwards."""
    with storming(door, served, file, storm_cores()) as storm:
        storm.run(clients=PEAK_CLIENTS, seconds=options.peak_seconds / 5)  # warm: connections, children
        peak = storm.run(clients=PEAK_CLIENTS, seconds=options.peak_seconds).per_second
        at_once = suffer(served, door, storm, at_once=options.calls)
        for_long = suffer(served, door, storm, rate=TIMES * peak, seconds=options.seconds)
        after = storm.run(clients=PEAK_CLIENTS, seconds=options.peak_seconds).per_second
    report(door, f"{options.calls} calls at once", at_once, lines)
    report(door, f"{TIMES} x capacity for {options.seconds:.0f} s", for_long, lines)
    goodput = for_long.outcome.per_second / peak
    said = f"{for_long.outcome.per_second:.1f} of {peak:.1f} images/s = {goodput:.2f}; afterwards {after:.1f}"
    lines.check(f"{door}: goodput at least {GOODPUT:.0%} of peak", said, good=goodput >= GOODPUT)
    lines.figures[door] = {"peak": peak, "goodput": goodput, "after": after} | {
        name: phase_json(phase) for name, phase in (("at once", at_once), ("for long", for_long))
    }


def report(door: str, name: str, phase: Phase, lines: Lines) -> None:
    """The counts of one storm and its lines."""
    ends = Counter(phase.outcome.ends)
    counted = ", ".join(f"{end} {count}" for end, count in ends.most_common())
    bad = phase.outcome.calls - ends[OK] - ends[OVERLOADED]
    opaque = sum(count for end, count in ends.items() if end.startswith("bare"))
    lines.check(f"{door}, {name}: endings", counted, good=ends[OK] > 0)
    lines.check(f"{door}, {name}: neither right nor told when to retry", told(bad, phase.outcome.calls), good=bad == 0)
    lines.check(f"{door}, {name}: opaque", told(opaque, phase.outcome.calls), good=opaque == 0)
    grown = phase.grown_mib
    lines.check(f"{door}, {name}: memory +{GROWTH_MIB:.0f} MiB at most", f"+{grown:.0f}", good=grown <= GROWTH_MIB)
    health = f"{phase.health_p99_ms:.0f} of {phase.health_asked}, {phase.health_failed} failed"
    good = phase.health_p99_ms <= HEALTH_MS and not phase.health_failed
    lines.check(f"{door}, {name}: health p99 at most {HEALTH_MS:.0f} ms", health, good=good)


def phase_json(phase: Phase) -> dict[str, object]:
    """One storm for the JSON."""
    outcome = phase.outcome
    return {
        "ends": outcome.ends,
        "begun_s": outcome.begun_s,
        "seconds": outcome.seconds,
        "answered_p99_ms": percentile(outcome.answered_ms, 0.99),
        "grown_mib": phase.grown_mib,
        "health_p99_ms": phase.health_p99_ms,
    }


def storm_cores() -> set[int] | None:
    """The last processor, where there is another for the server."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[-1]} if len(cores) > 1 else None


def server_cores() -> set[int]:
    """The other ones; the server takes its number of workers from them."""
    cores = sorted(os.sched_getaffinity(0))
    return set(cores[:-1] or cores)


def main() -> int:
    """Run all and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.overload", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="calls at once")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long too many come")
    parser.add_argument("--peak-seconds", type=float, default=PEAK_SECONDS, help="how long the peak is looked for")
    parser.add_argument("--doors", choices=DOORS, nargs="+", default=DOORS)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="200 calls, 2 s: does it run? Its figures mean nothing")
    options = parser.parse_args()
    if options.quick:
        options.calls, options.seconds, options.peak_seconds = 200, 2.0, 2.0
    lines, every = Lines(), os.sched_getaffinity(0)
    lines.head()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.dcm"
        file.write_bytes(enlarged("CT", SIDE, SIDE))
        for door in options.doors:
            os.sched_setaffinity(0, server_cores())  # the server inherits them
            with serving(Path(folder) / door) as served:
                os.sched_setaffinity(0, every)
                run_door(door, served, file, options, lines)
    code = lines.end(options.json)
    return 0 if options.quick else code


if __name__ == "__main__":
    sys.exit(main())
