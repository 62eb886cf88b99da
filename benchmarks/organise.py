"""Organising in seconds: ``python -m benchmarks.organise [--data DIR] [--out FILE]``.

A catalogued set of about 3,000 images is organised twice: by its names, and with every picture looked at. Both write
all lists with parts for a first look. The time of the scan is not in it. Exit 1 when a run takes longer than the goal.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from irmsia.app.data_organise import OrganiseOptions, Pixels, organise_dataset
from irmsia.app.data_scan import scan
from irmsia.settings.tree import Settings

GOAL_S = 30.0
SETS = ("brain_mri_tumor", "chest_xray_pneumonia")


@dataclass(frozen=True)
class Measured:
    """One run. Times in seconds; ``processor_s`` of this process and its ended children; memory of this process."""

    name: str
    pixels: str
    images: int
    looked_at: int
    conflicts: int
    wall_s: float
    processor_s: float
    peak_mib: float


def measure_organise(settings: Settings, name: str, pixels: Pixels) -> Measured:
    """Organise a dataset of the catalogue once, into a folder of its own that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        began, busy = time.perf_counter(), _processor()
        done = organise_dataset(settings, name, OrganiseOptions(out=Path(folder) / "out", pixels=pixels))
        wall, busy = time.perf_counter() - began, _processor() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    images, conflicts = done.metadata["images"], done.metadata["conflicts"]
    return Measured(name, pixels, images, done.looked_at, conflicts, wall, busy, peak)


def main() -> None:
    """Scan, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("IRMSIA_TEST_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, help="JSON of what was measured")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        for name in SETS:
            scan(settings, asked.data / name, name)
        measured = [
            measure_organise(settings, name, pixels) for name in SETS for pixels in (Pixels.MISSING, Pixels.ALL)
        ]
    for run in measured:
        print(
            f"{run.name:22} pixels {run.pixels:8} {run.images} images, {run.looked_at} looked at,"
            f" {run.conflicts} conflicts: {run.wall_s:5.1f} s wall, {run.processor_s:5.1f} s processor,"
            f" {run.peak_mib:.0f} MiB"
        )
    if asked.out:
        asked.out.write_text(json.dumps([asdict(run) for run in measured], indent=1))
    slowest = max(run.wall_s for run in measured)
    print(f"slowest: {slowest:.1f} s (goal {GOAL_S:.0f} s)")
    sys.exit(0 if slowest <= GOAL_S else 1)


def _processor() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
