"""Planted leaks: ``python -m benchmarks.leaks [--data DIR] [--leaks N] [--seed S] [--json FILE]``. Prints Markdown.

Copies of real pictures, each made one way (renamed, re-encoded, resized, cropped, tones changed, mirrored), are put
among all pictures of the data folder. Printed are how many of them the leak gate finds, with 95 % intervals (Clopper
and Pearson), and how many pairs of pictures that are none it joins: chests of two patients, two slices of one CT head,
two slices of one MR series, pictures of two sets. Breast and brain have no patients: their pairs are counted nowhere.
The thresholds were chosen on draws with other seeds. Exit code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")  # before numpy: the gate has threads of its own

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.counts import upper_bound, write_json
from irmsia.datasets.candidates import propose
from irmsia.datasets.leaks import Found, find_leaks, groups_of
from irmsia.datasets.record import Record
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.read import read_image
from irmsia.imaging.render import render_grey

SEED = 20_260
GOALS = {"renamed": 0.99, "re-encoded": 0.99, "resized": 0.99}
SETS = (
    "chest_xray_pneumonia",
    "brain_mri_tumor",
    "breast_ultrasound_busi",
    "chest_xray_covid_hannover",
    "dicom/ct_head_gantry_tilt",
    "dicom/more_dcm_qa_nih",
)
SUFFIXES = {".png", ".jpg", ".jpeg", ".dcm"}
EPI_SLICES = 15

Grey = NDArray[np.uint8]
Draw = np.random.Generator


@dataclass(frozen=True)
class Shown:
    """A picture and what is known of it. ``subject``: patient, or slice of a series; null where nobody knows."""

    path: str
    source: str
    subject: str | None
    picture: Grey
    digest: str


def reencoded(grey: Grey, draw: Draw) -> Grey:
    """Through JPEG of quality 50 to 95."""
    encoded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, int(draw.integers(50, 96))])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)


def resized(grey: Grey, draw: Draw) -> Grey:
    """To 40 to 200 % of its size; one in three to another shape as well."""
    scale = float(np.exp(draw.uniform(np.log(0.4), np.log(2.0))))
    stretch = float(draw.uniform(0.8, 1.25)) if draw.random() < 1 / 3 else 1.0
    factors = scale, scale * stretch
    rows, columns = (max(24, round(extent * factor)) for extent, factor in zip(grey.shape, factors, strict=True))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (columns, rows), interpolation=method), np.uint8)


def cropped(grey: Grey, draw: Draw) -> Grey:
    """80 to 97 % of the area kept, cut at any sides."""
    kept = float(draw.uniform(0.80, 0.97))
    tall = kept ** float(draw.uniform(0, 1))
    rows, columns = round(grey.shape[0] * tall), round(grey.shape[1] * kept / tall)
    sides = zip(grey.shape, (rows, columns), strict=True)
    top, left = (int(draw.integers(0, extent - size + 1)) for extent, size in sides)
    return grey[top : top + rows, left : left + columns].copy()


def toned(grey: Grey, draw: Draw) -> Grey:
    """Brightness, contrast, or gamma changed."""
    if draw.random() < 0.5:
        changed = grey * float(draw.uniform(0.65, 1.35)) + float(draw.uniform(-35, 35))
    else:
        changed = 255 * (grey / 255) ** float(draw.choice([0.5, 0.6, 0.75, 1.4, 1.7, 2.0]))
    return np.asarray(np.clip(np.rint(changed), 0, 255), np.uint8)


def mirrored(grey: Grey, draw: Draw) -> Grey:
    """Left-right, or top-bottom."""
    return grey[:, ::-1].copy() if draw.random() < 0.7 else grey[::-1].copy()


KINDS: dict[str, Callable[[Grey, Draw], Grey]] = {
    "renamed": lambda grey, _: grey,
    "re-encoded": reencoded,
    "resized": resized,
    "cropped, 80 to 97 % kept": cropped,
    "brightness, contrast, gamma": toned,
    "mirrored": mirrored,
    "mirrored, cropped and re-encoded": lambda grey, draw: reencoded(cropped(mirrored(grey, draw), draw), draw),
}


def load(data: Path) -> Iterator[Shown]:
    """All pictures of the sets, first frames as a viewer shows them."""
    for folder in SETS:
        for path in sorted((data / folder).rglob("*")):
            if path.suffix.lower() in SUFFIXES and "_mask" not in path.stem:
                image = read_image(path.read_bytes(), ReadLimits())
                name = path.relative_to(data).as_posix()
                picture = render_grey(image, image.indices[0])
                yield Shown(name, folder, _subject(folder, path), picture, _digest(picture))


def _subject(folder: str, path: Path) -> str | None:
    if folder == "chest_xray_pneumonia":
        found = re.search(r"person\d+|IM-\d+", path.name)
        return found.group() if found else None
    if folder.endswith("nih"):
        return str(int(path.stem.rsplit("-", 1)[1]) % EPI_SLICES)
    return path.stem if folder.endswith("tilt") else None


def _digest(picture: Grey) -> str:
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).hexdigest()


def plant(shown: Sequence[Shown], count: int, seed: int) -> tuple[list[Shown], dict[str, tuple[str, str]]]:
    """Copies of different pictures, the kinds in turn: the copies, and by copy its original and kind."""
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(shown), count, replace=False)
    copies, truth = [], {}
    for number, index in enumerate(chosen):
        kind = list(KINDS)[number % len(KINDS)]
        original = shown[int(index)]
        picture = KINDS[kind](original.picture, draw)
        path = f"planted/{number:04d}.png"
        copies.append(Shown(path, original.source, original.subject, picture, _digest(picture)))
        truth[path] = (original.path, kind)
    return copies, truth


def find(shown: Sequence[Shown], workers: int) -> Found:
    """The leak gate over pictures in memory; a renamed copy has the very bytes."""
    pictures = {one.path: one.picture for one in shown}
    records = [Record(one.path, 1, 0, one.digest, one.digest, source=one.source) for one in shown]
    return find_leaks(records, lambda record: pictures[record.path], workers=workers, track=_track)


def _track(what: str, total: int, items: Iterable[Any], /) -> Iterator[Any]:
    for number, item in enumerate(items):
        if sys.stderr.isatty() and number % 500 == 0:
            print(f"\r{what} {number}/{total}   ", end="", file=sys.stderr, flush=True)
        yield item


def recalls(found: Found, truth: dict[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """By kind: planted, found as a pair with its original or a copy of it, called a copy, and the interval."""
    direct = {(leak.first, leak.second): leak for leak in found.leaks}
    grouped = {path: number for number, group in enumerate(groups_of(found.leaks)) for path in group}
    rows = []
    for kind in KINDS:
        pairs = [tuple(sorted((copy, original))) for copy, (original, how) in truth.items() if how == kind]
        seen = [pair for pair in pairs if pair in direct or grouped.get(pair[0], -1) == grouped.get(pair[1], -2)]
        copies = sum(pair in direct and direct[pair].is_copy for pair in pairs)
        low, high = interval(len(seen), len(pairs))
        rows.append(
            {"kind": kind, "planted": len(pairs), "found": len(seen), "copies": copies, "low": low, "high": high,
             "missed": [list(pair) for pair in pairs if pair not in seen]}
        )  # fmt: skip
    return rows


def interval(hits: int, tries: int) -> tuple[float, float]:
    """Two-sided 95 % interval of a share (Clopper and Pearson, 1934), by bisection."""
    from scipy.stats import beta

    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, tries - hits + 1))
    high = 1.0 if hits == tries else float(beta.ppf(0.975, hits + 1, tries - hits))
    return low, high


def strangers(one: Shown, two: Shown) -> str | None:
    """Why two pictures are certainly no duplicates; null where nobody knows, or they may be."""
    if one.source != two.source:
        return "pictures of two sets"
    if one.subject is None or two.subject is None or one.subject == two.subject:
        return None
    return {"chest_xray_pneumonia": "chests of two patients"}.get(one.source) or (
        "two slices of one CT head" if one.source.endswith("tilt") else "two slices of one MR series"
    )


def false_pairs(shown: Sequence[Shown], found: Found) -> list[dict[str, Any]]:
    """By why they are no duplicates: all such pairs, those that are like enough to be aligned, and those joined."""
    by_path = {one.path: one for one in shown}
    joined: dict[str, Counter[str]] = defaultdict(Counter)
    examples: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for leak in found.leaks:
        why = strangers(by_path[leak.first], by_path[leak.second])
        if why is not None:
            joined[why]["copies" if leak.is_copy else "alike"] += 1
            examples[why].append((leak.first, leak.second, leak.kind.value))
    groups = Counter((one.source, one.subject) for one in shown)
    total: Counter[str] = Counter()
    for first, second in combinations(groups, 2):
        why = strangers(_stand_in(*first), _stand_in(*second))
        if why is not None:
            total[why] += groups[first] * groups[second]
    return [
        {"pairs": total[why], "why": why, "copies": joined[why]["copies"], "alike": joined[why]["alike"],
         "examples": examples[why]}
        for why in sorted(total)
    ]  # fmt: skip


def _stand_in(source: str, subject: str | None) -> Shown:
    return Shown("", source, subject, np.zeros((1, 1), np.uint8), "")


def time_proposals(count: int, workers: int) -> float:
    """Seconds to propose among so many made-up thumbnails, as unlike one another as noise of several sizes."""
    draw = np.random.default_rng(1)
    coarse = draw.normal(size=(count, 5, 5)).astype(np.float32)
    thumbs = np.stack([cv2.resize(one, (32, 32), interpolation=cv2.INTER_CUBIC) for one in coarse])
    began = time.perf_counter()
    propose(thumbs, workers=workers)
    return time.perf_counter() - began


def main() -> int:
    """Run, print, and say by the exit code whether the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("IRMSIA_TEST_DATA", "../shared/data")))
    parser.add_argument("--leaks", type=int, default=500)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--scale", type=int, default=0, help="also time the proposals among so many pictures")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    began = time.perf_counter()
    shown = list(load(asked.data))
    read = time.perf_counter() - began
    copies, truth = plant(shown, asked.leaks, asked.seed)
    everything = [*shown, *copies]
    began, began_cpu = time.perf_counter(), time.process_time()
    found = find(everything, asked.workers)
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    report: dict[str, Any] = {
        "pictures": len(everything), "aligned": found.compared, "read_s": read, "seconds": seconds, "cpu_s": cpu,
        "workers": asked.workers, "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "seed": asked.seed, "recalls": recalls(found, truth), "false_pairs": false_pairs(everything, found),
        "real": dict(Counter(f"{leak.first.split('/')[0]} {leak.kind.value}" for leak in found.leaks
                             if "planted" not in f"{leak.first}{leak.second}")),
    }  # fmt: skip
    if asked.scale:
        report["scale"] = {"pictures": asked.scale, "seconds": time_proposals(asked.scale, asked.workers)}
    print_report(report)
    if asked.json is not None:
        write_json(asked.json, report)
    return 0 if _met(report) else 1


def _met(report: dict[str, Any]) -> bool:
    return all(row["found"] >= GOALS.get(row["kind"], 0.0) * row["planted"] for row in report["recalls"])


def print_report(report: dict[str, Any]) -> None:
    """Markdown."""
    print(f"\n{report['pictures']} pictures, seed {report['seed']}.\n")
    print("| planted | n | found | recall, 95 % interval | called a copy | goal |\n|---|---|---|---|---|---|")
    for row in report["recalls"]:
        share = row["found"] / row["planted"]
        goal = GOALS.get(row["kind"])
        told = "printed" if goal is None else f"{100 * goal:.0f} % {'met' if share >= goal else '**missed**'}"
        print(
            f"| {row['kind']} | {row['planted']} | {row['found']} | {100 * share:.1f} % "
            f"({100 * row['low']:.1f} to {100 * row['high']:.1f}) | {row['copies']} | {told} |"
        )
    print("\n| pairs that are no duplicates | pairs | called copies | called alike | copies per 10,000 (at most) |")
    print("|---|---|---|---|---|")
    for row in report["false_pairs"]:
        share, bound = 1e4 * row["copies"] / row["pairs"], 1e4 * upper_bound(row["copies"], row["pairs"])
        print(f"| {row['why']} | {row['pairs']:,} | {row['copies']} | {row['alike']} | {share:.3g} ({bound:.3g}) |")
    print(
        f"\n{report['aligned']:,} pairs were aligned. {report['seconds']:.0f} s with {report['workers']} threads "
        f"({report['cpu_s']:.0f} s of processor time), memory {report['memory_mb']:.0f} MB with all pictures in it; "
        f"reading them took {report['read_s']:.0f} s."
    )
    if "scale" in report:
        print(f"Proposing among {report['scale']['pictures']:,} pictures: {report['scale']['seconds']:.0f} s.")


if __name__ == "__main__":
    sys.exit(main())
