"""Execution plans on this processor: ``python -m benchmarks.plan [--out FILE]``. Processor time a request.

One-thread streams of single images against dynamic batches, whole engines with real decoder children: the same
phantoms, eight requests outstanding at any time, all plans of a pass in turn, two rounds. Processor time is that of
this process and of its decoders. Batches run on ONNX Runtime, which computes them; our OpenVINO session takes the
images of a batch one by one. Exit 1 when answers differ between plans or when the rounds disagree.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from irmsia import durable
from irmsia.bundles.load import Bundle, load_bundle
from irmsia.bundles.signing import read_trust
from irmsia.bundles.store import STARTER
from irmsia.findings.types import Diagnosis
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.phantoms import make_phantom
from irmsia.inference.engine import Engine
from irmsia.inference.observer import Silent
from irmsia.inference.processor import processor_identity
from irmsia.inference.protocol import DiagnoseRequest, Priority
from irmsia.inference.runtimes.registry import installed_runtimes, library_version
from irmsia.settings.tree import EngineSettings

WORKERS = 2
OUTSTANDING = 8
REQUESTS = 32
PASSES = 9
ROUNDS = 2
AGREE = 0.10
SAME = 1e-4
OTHERS = 0.2
BASE = "onnxruntime, 2 streams"
PLANS: Mapping[str, Mapping[str, int | str]] = {
    BASE: {"runtime": "onnxruntime", "streams": 2, "batch": 1, "threads": 1},
    "onnxruntime, 1 stream, batches up to 8": {"runtime": "onnxruntime", "streams": 1, "batch": 8, "threads": 1},
    "onnxruntime, 2 streams, batches up to 8": {"runtime": "onnxruntime", "streams": 2, "batch": 8, "threads": 1},
    "onnxruntime, 1 stream of 2 threads, batches up to 8": {
        "runtime": "onnxruntime",
        "streams": 1,
        "batch": 8,
        "threads": 2,
    },
    "openvino, 2 streams": {"runtime": "openvino", "streams": 2, "batch": 1, "threads": 1},
    "openvino, 1 stream of 2 threads": {"runtime": "openvino", "streams": 1, "batch": 1, "threads": 2},
}


class Sizes(Silent):
    """Writes down how many images went together."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def answered(self, diagnosis: Diagnosis, *, priority: Priority, batch: int) -> None:
        """Keep the size."""
        self.seen.append(batch)


@dataclass
class Planned:
    """One plan's engine and what was measured of it, a pass each: milliseconds a request."""

    name: str
    engine: Engine
    sizes: Sizes
    processor_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)


@contextmanager
def open_plans(bundle: Bundle) -> Iterator[list[Planned]]:
    """Every plan whose runtime is installed, ready, on one pool of decoders."""
    installed = installed_runtimes()
    with closing(DecoderPool(WORKERS, ReadLimits())) as pool, ExitStack() as stack:
        pool.warm()
        made = []
        for name, given in PLANS.items():
            if given["runtime"] in installed:
                sizes = Sizes()
                settings = EngineSettings.model_validate({"workers": WORKERS, "precision": "f32"} | dict(given))
                engine = stack.enter_context(closing(Engine(pool, lambda: bundle, settings, observer=sizes)))
                engine.start()
                engine.wait_ready()
                made.append(Planned(name, engine, sizes))
        yield made


def answer_all(engine: Engine, images: Sequence[bytes]) -> list[Diagnosis]:
    """Answers in the images' order; as one leaves the next enters."""
    answers: list[Future[Diagnosis]] = []
    open_now: set[Future[Diagnosis]] = set()
    for image in images:
        if len(open_now) >= OUTSTANDING:
            open_now = wait(open_now, return_when=FIRST_COMPLETED).not_done
        answers.append(engine.submit(DiagnoseRequest(None, image)))
        open_now.add(answers[-1])
    return [answer.result() for answer in answers]


def processor_seconds() -> float:
    """Of this process and of its decoders, so far."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(each.user + each.system for each in times)


def busy_seconds() -> float:
    """Of all processes of this machine, by the kernel's own accounting."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def measure(planned: Planned, images: Sequence[bytes]) -> None:
    """One pass."""
    begin, processor = time.monotonic(), processor_seconds()
    answer_all(planned.engine, images)
    planned.processor_ms.append(1000.0 * (processor_seconds() - processor) / len(images))
    planned.wall_ms.append(1000.0 * (time.monotonic() - begin) / len(images))


def probabilities(answers: Sequence[Diagnosis]) -> list[float]:
    """All of them, in order; an error stops the benchmark."""
    failed = [answer.error.code for answer in answers if answer.error is not None]
    if failed:
        raise SystemExit(f"not answered: {failed}")
    return [finding.probability or 0.0 for answer in answers for finding in answer.findings]


def largest_difference(plans: Sequence[Planned], images: Sequence[bytes]) -> float:
    """Of any probability between any plan and the first; this is the warm-up as well."""
    found = [probabilities(answer_all(planned.engine, images)) for planned in plans]
    return max(abs(one - other) for each in found for one, other in zip(each, found[0], strict=True))


def make_row(planned: Planned, base: Planned) -> dict[str, Any]:
    """Ratios against the base within each pass, overall and a round."""
    ratios = [own / other for own, other in zip(planned.processor_ms, base.processor_ms, strict=True)]
    walls = [own / other for own, other in zip(planned.wall_ms, base.wall_ms, strict=True)]
    halves = [ratios[round_ * PASSES : (round_ + 1) * PASSES] for round_ in range(ROUNDS)]
    return {
        "plan": planned.name,
        "processor": round(statistics.median(ratios), 3),
        "rounds": [round(statistics.median(half), 3) for half in halves],
        "processor_ms": round(statistics.median(planned.processor_ms), 2),
        "wall": round(statistics.median(walls), 3),
        "batch": round(statistics.mean(planned.sizes.seen), 2),
    }


def run(images: Sequence[bytes]) -> dict[str, Any]:
    """All figures."""
    bundle = load_bundle(STARTER, read_trust(None))
    with open_plans(bundle) as plans:
        difference = largest_difference(plans, images)
        for planned in plans:
            planned.sizes.seen.clear()
        begin = time.monotonic(), busy_seconds() - processor_seconds()
        for pass_ in range(ROUNDS * PASSES):
            # Every other pass backwards: nobody always runs after the same neighbour.
            for planned in plans if pass_ % 2 == 0 else reversed(plans):
                measure(planned, images)
        others = (busy_seconds() - processor_seconds() - begin[1]) / (time.monotonic() - begin[0])
        rows = [make_row(planned, plans[0]) for planned in plans]
    apart = max(abs(row["rounds"][0] / row["rounds"][1] - 1.0) for row in rows)
    return {
        "bundle": bundle.id,
        "processor": processor_identity(),
        "libraries": [*map(library_version, installed_runtimes())],
        "rows": rows,
        "largest_difference": difference,
        "cores_used_by_others": round(others, 2),
        "goals": {
            f"probabilities agree within {SAME}": difference <= SAME,
            f"rounds agree within {AGREE:.0%}": apart <= AGREE,
        },
    }


def print_table(result: Mapping[str, Any]) -> None:
    """For people, as the page takes it."""
    print(f"{result['processor']}; {', '.join(result['libraries'])}")
    print(f"largest difference of a probability: {result['largest_difference']:.1e}")
    others = result["cores_used_by_others"]
    print(f"other processes used {others} cores{': wall time is void' if others > OTHERS else ''}\n")
    print("| plan | processor time a request | rounds | wall time | mean batch |")
    print("|---|---|---|---|---|")
    for row in result["rows"]:
        rounds = ", ".join(f"{found:.2f}" for found in row["rounds"])
        print(f"| {row['plan']} | {row['processor']:.2f} | {rounds} | {row['wall']:.2f} | {row['batch']:.1f} |")
    print()
    for goal, met in result["goals"].items():
        print(f"{'met' if met else 'MISSED'}: {goal}")


def main() -> int:
    """Measure, print, write; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.plan", description=__doc__)
    parser.add_argument("--out", type=Path, help="write the figures as JSON here")
    out = parser.parse_args().out
    result = run([make_phantom(300 + index, "CT").data for index in range(REQUESTS)])
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        durable.write_text(out, json.dumps(result, indent=2) + "\n")
    print_table(result)
    return 0 if all(result["goals"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
