"""Line F6: ``python -m benchmarks.drain [--times 50] [--json FILE] [--quick]``. Linux.

A server is started, stormed through gRPC and HTTP at once, and told to stop by SIGTERM in the midst, so often. Every
call that had begun before the signal must end with the right answer or in the server's own words (overloaded,
stopping): a bare reset or CANCELLED is an admitted request that was lost. Readiness of both doors must be false within
100 ms, the exit code 0 within the grace time. Exit 1 when a line is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.counts import Lines, percentile, told
from benchmarks.pictures import enlarged
from benchmarks.served import Served, start, stop
from benchmarks.storm import OK, OVERLOADED, STOPPING
from benchmarks.storms import HEALTH, HealthWatch, Storm, storming

TIMES, CLIENTS = 50, 16
LOAD_S, LONGEST_S = 1.0, 60.0
READINESS_MS, GRACE_S = 100.0, 30.0
LOOK_S = 0.005
SIDE = 256
TYPED = (OK, OVERLOADED, *STOPPING)


@dataclass(frozen=True)
class Drain:
    """One stop: endings of the calls begun before the signal by door, readiness false after, exit."""

    ends: dict[str, Counter[str]]
    readiness_ms: dict[str, float]
    exit_code: int
    seconds: float


def drain_once(served: Served, file: Path, offset_s: float) -> Drain:
    """Storm, stop ``offset_s`` later than last time, look."""
    with ExitStack() as stack:
        storms: dict[str, Storm] = {name: stack.enter_context(storming(name, served, file)) for name in HEALTH}
        asks = {name: make(served) for name, make in HEALTH.items()}
        if not all(ask() for ask in asks.values()):
            raise SystemExit("the server is not ready")
        watches = {name: stack.enter_context(HealthWatch(ask, every_s=LOOK_S)) for name, ask in asks.items()}
        for storm in storms.values():
            storm.begin(clients=CLIENTS, seconds=LONGEST_S, each=1)
        time.sleep(LOAD_S + offset_s)
        signalled = time.monotonic()
        code = stop(served.process, 2 * GRACE_S)
        seconds = time.monotonic() - signalled
        outcomes = {name: storm.end() for name, storm in storms.items()}
    ends = {name: Counter(end for begun, end in one.each if begun < signalled) for name, one in outcomes.items()}
    return Drain(ends, {name: _after(watch, signalled) for name, watch in watches.items()}, code, seconds)


def _after(watch: HealthWatch, signalled: float) -> float:
    return 1000 * (watch.not_ready_at - signalled) if watch.not_ready_at is not None else float("inf")


def check(drains: list[Drain], lines: Lines) -> None:
    """The lines."""
    lines.head()
    for door in HEALTH:
        ends = sum((drain.ends[door] for drain in drains), Counter())
        lost = sum(count for end, count in ends.items() if end not in TYPED)
        counted = ", ".join(f"{end} {count}" for end, count in ends.most_common())
        lines.check(f"{door}: calls begun before the signal", counted, good=ends[OK] > 0)
        lines.check(f"{door}: admitted and lost", told(lost, ends.total()), good=lost == 0)
        slow = [drain.readiness_ms[door] for drain in drains]
        late = sum(ms > READINESS_MS for ms in slow)
        seen = f"median {percentile(slow, 0.5):.0f}, largest {max(slow):.0f}; later {told(late, len(drains))}"
        lines.check(f"{door}: readiness false within {READINESS_MS:.0f} ms", seen, good=late == 0)
    failed = sum(drain.exit_code != 0 for drain in drains)
    lines.check("exit 0", f"others {told(failed, len(drains))}", good=failed == 0)
    longest = max(drain.seconds for drain in drains)
    lines.check(f"within the grace of {GRACE_S:.0f} s", f"longest {longest:.2f} s", good=longest <= GRACE_S)


def main() -> int:
    """Run all and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.drain", description=__doc__)
    parser.add_argument("--times", type=int, default=TIMES, help="how many drains")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="one drain: does it run? Its figures mean little")
    options = parser.parse_args()
    times = 1 if options.quick else options.times
    drains = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.dcm"
        file.write_bytes(enlarged("CT", SIDE, SIDE))
        for number in range(times):
            served = start(Path(folder) / "home")
            try:
                drains.append(drain_once(served, file, offset_s=number / times))
            finally:
                stop(served.process)
            print(f"drain {number + 1} of {times}", file=sys.stderr, flush=True)
    lines = Lines()
    check(drains, lines)
    lines.figures["drains"] = [
        {"ends": drain.ends, "readiness_ms": drain.readiness_ms, "exit": drain.exit_code, "seconds": drain.seconds}
        for drain in drains
    ]
    code = lines.end(options.json)
    return 0 if options.quick else code


if __name__ == "__main__":
    sys.exit(main())
