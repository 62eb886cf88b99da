"""What keeping compiled networks gains: ``python -m benchmarks.start [--out FILE]``. Processor time of one start.

The packaged network is made ready in three ways on every runtime and precision at hand: compiled anew, compiled anew
and kept, and from what was kept. All in one process, interleaved, two rounds; each way must give the same bits. Exit 1
when the rounds disagree or the answers differ. How long a whole server takes to be ready: `benchmarks.thin_line`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from irmsia import durable
from irmsia.app.verify import Target, list_targets
from irmsia.bundles.load import Bundle, load_bundle
from irmsia.bundles.machine import MachineSeal
from irmsia.bundles.signing import read_trust
from irmsia.bundles.store import STARTER
from irmsia.inference.model import make_model
from irmsia.inference.runtimes.cache import CompiledCache

REPEATS = 9
ROUNDS = 2
AGREE = 0.10
WAYS = ("anew", "anew and kept", "from the cache")


def ready(bundle: Bundle, target: Target, home: Path, way: str) -> tuple[float, bytes]:
    """Processor milliseconds to make the network ready, and what it then answers."""
    cache = CompiledCache(home / "cache", partial(MachineSeal, home, "compiled"), most_bytes=2**30)
    if way == "anew and kept":
        for entry in (home / "cache").glob("*"):
            entry.unlink()
    begin = time.process_time()
    model = make_model(
        bundle, runtime=target.runtime, precision=target.precision, cache=None if way == "anew" else cache
    )
    spent = 1000.0 * (time.process_time() - begin)
    size = bundle.manifest.preprocessing.resize.size
    image = np.random.default_rng(1).standard_normal((1, 1, size, size), np.float32)
    answer = model.compiled.open_session().infer(image)
    return spent, b"".join(answer[name].tobytes() for name in sorted(answer))


def measure(
    bundle: Bundle, targets: Sequence[Target], homes: Mapping[Target, Path]
) -> dict[Target, dict[str, list[float]]]:
    """One round: all targets and ways in turn."""
    spent: dict[Target, dict[str, list[float]]] = {target: {way: [] for way in WAYS} for target in targets}
    for _ in range(REPEATS):
        for target in targets:
            answers = set()
            for way in WAYS:
                milliseconds, answer = ready(bundle, target, homes[target], way)
                spent[target][way].append(milliseconds)
                answers.add(answer)
            if len(answers) != 1:
                raise SystemExit(f"{target.runtime} {target.precision}: the cache changes the answer")
    return spent


def gain(spent: Mapping[str, Sequence[float]], way: str) -> float:
    """Time of compiling anew over that of ``way``, the median of the pairs."""
    return statistics.median(a / b for a, b in zip(spent["anew"], spent[way], strict=True))


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.start", description=__doc__)
    parser.add_argument("--out", type=Path, help="write the figures as JSON here")
    out = parser.parse_args().out
    bundle = load_bundle(STARTER, read_trust(None))
    targets = list_targets(bundle, "all", "all")
    with tempfile.TemporaryDirectory() as folder:
        homes = {target: Path(folder) / f"{target.runtime}-{target.precision}" for target in targets}
        rounds = [measure(bundle, targets, homes) for _ in range(ROUNDS)]
    rows = [row_of(target, [spent[target] for spent in rounds]) for target in targets]
    if out is not None:
        durable.write_text(out, json.dumps(rows, indent=2) + "\n")
    print(
        f"{'runtime':12} {'precision':9} {'anew ms':>8} {'and kept':>9} {'from cache':>11} {'gain':>6} {'rounds':>13}"
    )
    for row in rows:
        both = " ".join(f"{value:.2f}" for value in row["rounds"])
        print(
            f"{row['runtime']:12} {row['precision']:9} {row['anew']:8.0f} {row['anew and kept']:9.0f} "
            f"{row['from the cache']:11.0f} {row['gain']:6.2f} {both:>13}"
        )
    apart = max(abs(row["rounds"][0] / row["rounds"][1] - 1.0) for row in rows)
    print(f"\n{'met   ' if apart <= AGREE else 'MISSED'}  rounds agree within {AGREE:.0%}: {apart:.3f}")
    return 0 if apart <= AGREE else 1


def row_of(target: Target, rounds: Sequence[Mapping[str, list[float]]]) -> dict[str, Any]:
    """Medians and gain of one runtime and precision."""
    together = {way: [time for spent in rounds for time in spent[way]] for way in WAYS}
    return {
        "runtime": target.runtime,
        "precision": target.precision.value,
        **{way: statistics.median(times) for way, times in together.items()},
        "gain": gain(together, "from the cache"),
        "rounds": [gain(spent, "from the cache") for spent in rounds],
    }


if __name__ == "__main__":
    sys.exit(main())
