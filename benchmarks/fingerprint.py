"""Makes and measures `fingerprints.json`: ``python -m benchmarks.fingerprint [--data DIR] [--write] [--out FILE]``.

What a picture alone tells of region and modality, measured three ways: on held-out patients and near-duplicate
clusters of the sets that were learnt (5 folds); on sets that were not learnt at all (the confidence of an answer comes
from these alone, see `irmsia.datasets.fingerprint.Look`); on pictures of looks that were left out, which must be
answered "other". ``--write`` makes the table of the package anew. Exit 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_sample_images

from irmsia import durable
from irmsia.datasets import fingerprint
from irmsia.datasets.fingerprint import Features, Looks, fit_looks, looks_to_json, measure
from irmsia.datasets.grouping import group_samples
from irmsia.datasets.samples import STARTER_SOURCES, list_samples
from irmsia.datasets.tags import modality_of, region_of
from irmsia.errors import IrmsiaError
from irmsia.imaging.frames import OneFrame
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.read import read_image
from irmsia.imaging.render import render_grey

SHARE, SHRINK = 0.99, 0.2
FOLDS = 5
HANNOVER = "chest_xray_covid_hannover"
GOAL_RIGHT, GOAL_FOREIGN = 0.95, 0.97
MODALITY = {"chest": "X-RAY", "brain": "MRI", "breast": "ULTRASOUND"}
TABLE = Path(fingerprint.__file__).with_name("fingerprints.json")

Name = tuple[str, str]


@dataclass(frozen=True)
class Measured:
    """A measured picture. ``look``: what it shows, "" where unknown; ``group``: its patient or cluster."""

    source: str
    look: Name
    group: str
    features: Features = field(repr=False)


@dataclass
class Tally:
    """Answers to the pictures of one set: right, wrong, "other"."""

    what: str
    images: int = 0
    other: int = 0
    region: list[int] = field(default_factory=list)
    modality: list[int] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def add(self, looks: Looks, picture: Measured) -> None:
        """Ask ``looks`` for one picture; a truth that is unknown counts nowhere."""
        guess = looks.guess(picture.features)
        self.images += 1
        self.answers[guess.region] += 1
        if guess.region == "other":
            self.other += 1
            return
        region, modality = picture.look
        self.region += [int(guess.region == region)] if region else []
        self.modality += [int(guess.modality == modality)] if modality else []

    def row(self) -> dict[str, object]:
        """For machines."""
        return {
            "what": self.what,
            "images": self.images,
            "other": self.other,
            "region": [sum(self.region), len(self.region)],
            "modality": [sum(self.modality), len(self.modality)],
            "answers": dict(self.answers),
        }

    def line(self) -> str:
        """For people."""
        shares = [f"{name} right {np.mean(values):6.1%} of {len(values)}" for name, values in
                  (("region", self.region), ("modality", self.modality)) if values]  # fmt: skip
        return f"  {self.what:34} {self.images:5} images   other {self.other / self.images:6.1%}   {'   '.join(shares)}"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("IRMSIA_TEST_DATA", "../shared/data")))
    parser.add_argument("--write", action="store_true", help="replace the package's table")
    parser.add_argument("--out", type=Path, help="JSON of what was measured")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    learnt = [*_collected(asked.data), *_hannover(asked.data)]
    headed = list(_dicom(asked.data))
    held_out = _held_out(learnt)
    unseen = [*_unseen_sources(learnt), *_headed(learnt, headed)]
    foreign = [*_left_out(learnt), *_no_medicine(learnt)]
    for title, tallies in (("held-out groups", held_out), ("sets never learnt", unseen), ("foreign", foreign)):
        print(title)
        print("\n".join(tally.line() for tally in tallies))
    looks = fit_looks(_by_look(learnt), _confidences(unseen, learnt), share=SHARE, shrink=SHRINK)
    for look in looks.looks:
        print(f"{look.region} {look.modality}: region {look.region_confidence}, modality {look.modality_confidence}")
    if asked.write:
        durable.write_text(
            TABLE, json.dumps(looks_to_json(looks), separators=(",", ":")).replace('{"region', '\n{"region') + "\n"
        )
        print(f"{TABLE.name}: {TABLE.stat().st_size} bytes")
    if asked.out:
        measured = {"held_out": held_out, "never_learnt": unseen, "foreign": foreign}
        asked.out.write_text(
            json.dumps({key: [tally.row() for tally in rows] for key, rows in measured.items()}, indent=1)
        )
    right = min(sum(tally.region) / tally.images for tally in held_out if tally.what != HANNOVER)
    refused = sum(tally.other for tally in foreign) / sum(tally.images for tally in foreign)
    print(f"named right, held-out groups, worst of the large sets: {right:.1%} (goal {GOAL_RIGHT:.0%})")
    print(f"foreign pictures answered other: {refused:.1%} (goal {GOAL_FOREIGN:.0%})")
    sys.exit(0 if right >= GOAL_RIGHT and refused >= GOAL_FOREIGN else 1)


def _collected(data: Path) -> Iterator[Measured]:
    """The three sets, grouped by patient or by near-duplicates; the two sources of the brain set apart."""
    for layout in STARTER_SOURCES:
        listed = list_samples(data, layout)
        pictures = {sample.path: _grey(data / sample.path) for sample in listed}
        for sample in group_samples(listed, lambda sample, pictures=pictures: pictures[sample.path]):
            healthy = layout.region == "brain" and sample.term == "normal"
            source = f"{layout.name} (no tumour)" if healthy else layout.name
            yield Measured(
                source, (layout.region, MODALITY[layout.region]), sample.group, measure(pictures[sample.path])
            )


def _hannover(data: Path) -> Iterator[Measured]:
    folder = data / HANNOVER / "images"
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        patient = path.stem.split("_")[0]
        yield Measured(HANNOVER, ("chest", "X-RAY"), patient, measure(_grey(path)))


def _dicom(data: Path) -> Iterator[Measured]:
    """Every DICOM picture, its truth by its header where that tells it."""
    for path in sorted(path for path in (data / "dicom").rglob("*") if path.is_file()):
        try:
            image = read_image(path.read_bytes(), ReadLimits(), frames=OneFrame())
            grey = render_grey(image, 0)
        except IrmsiaError:
            continue
        source = path.relative_to(data).parts[1]
        region, modality = region_of(image.info), modality_of(image.info)
        look = region.value if region else "", modality.value if modality else ""
        yield Measured(f"dicom/{source}", look, path.name, measure(grey))


def _grey(path: Path) -> fingerprint.Grey:
    return render_grey(read_image(path.read_bytes(), ReadLimits(), frames=OneFrame()), 0)


def _by_look(pictures: Sequence[Measured]) -> dict[Name, list[tuple[str, Features]]]:
    return {
        look: [(picture.source, picture.features) for picture in pictures if picture.look == look]
        for look in sorted({picture.look for picture in pictures})
    }


def _learn(pictures: Sequence[Measured]) -> Looks:
    return fit_looks(_by_look(pictures), {}, share=SHARE, shrink=SHRINK)


def _held_out(learnt: Sequence[Measured]) -> list[Tally]:
    groups = sorted({(picture.source, picture.group) for picture in learnt})
    order = np.random.default_rng(0).permutation(len(groups))
    fold = {groups[index]: int(place) % FOLDS for place, index in enumerate(order)}
    tallies = {source: Tally(source) for source in sorted({picture.source for picture in learnt})}
    for number in range(FOLDS):
        looks = _learn([picture for picture in learnt if fold[picture.source, picture.group] != number])
        for picture in learnt:
            if fold[picture.source, picture.group] == number:
                tallies[picture.source].add(looks, picture)
    return list(tallies.values())


def _unseen_sources(learnt: Sequence[Measured]) -> Iterator[Tally]:
    """Each set by what was learnt from all the others, where another one shows the same."""
    for source in sorted({picture.source for picture in learnt}):
        rest = [picture for picture in learnt if picture.source != source]
        asked = [picture for picture in learnt if picture.source == source]
        if asked[0].look in {picture.look for picture in rest}:
            yield _tally(source, _learn(rest), asked)


def _headed(learnt: Sequence[Measured], headed: Sequence[Measured]) -> Iterator[Tally]:
    looks = _learn(learnt)
    for source in sorted({picture.source for picture in headed}):
        yield _tally(source, looks, [picture for picture in headed if picture.source == source])


def _left_out(learnt: Sequence[Measured]) -> Iterator[Tally]:
    for look, _ in _by_look(learnt).items():
        looks = _learn([picture for picture in learnt if picture.look != look])
        for source in sorted({picture.source for picture in learnt if picture.look == look}):
            asked = [picture for picture in learnt if picture.source == source]
            yield _tally(f"{source}, unknown look", looks, asked)


def _no_medicine(learnt: Sequence[Measured]) -> Iterator[Tally]:
    looks = _learn(learnt)
    for what, pictures in no_medicine().items():
        yield _tally(what, looks, [Measured(what, ("", ""), "", measure(picture)) for picture in pictures])


def no_medicine(count: int = 100) -> Mapping[str, list[fingerprint.Grey]]:
    """Pictures of nothing medical: pages of text, noise of four kinds, crops of two photographs, ramps, constants."""
    random = np.random.default_rng(5)
    photographs = [image.mean(axis=2) for image in load_sample_images().images]
    return {
        "text pages": [_page(random) for _ in range(count)],
        "noise": [_noise(random, index % 4) for index in range(count)],
        "photographs": [_crop(photographs[index % 2], random) for index in range(count)],
        "ramps and constants": [_ramp(random) for _ in range(count)],
    }


def _page(random: np.random.Generator) -> fingerprint.Grey:
    page = np.full((300, 220), 255, np.uint8)
    for row in range(20, 290, int(random.integers(10, 18))):
        words = " ".join("lorem" * int(random.integers(1, 3)) for _ in range(6))
        cv2.putText(page, words, (int(random.integers(5, 25)), row), cv2.FONT_HERSHEY_SIMPLEX, 0.35, 0, 1)
    return page


def _noise(random: np.random.Generator, kind: int) -> fingerprint.Grey:
    noise = random.random((200, 240))
    noise = cv2.GaussianBlur(noise, (0, 0), 1.0 + 6 * kind) if kind else noise
    spread = (noise - noise.min()) / np.ptp(noise)
    return (255 * spread).astype(np.uint8)


def _crop(photograph: Features, random: np.random.Generator) -> fingerprint.Grey:
    height, width = (int(random.integers(120, 400)) for _ in range(2))
    top, left = (
        int(random.integers(0, limit - size)) for limit, size in zip(photograph.shape, (height, width), strict=True)
    )
    return photograph[top : top + height, left : left + width].astype(np.uint8)


def _ramp(random: np.random.Generator) -> fingerprint.Grey:
    ramp = np.tile(np.linspace(0, float(random.integers(0, 255)), 200), (200, 1))
    return (ramp.T if random.random() < 0.5 else ramp).astype(np.uint8)


def _tally(what: str, looks: Looks, pictures: Sequence[Measured]) -> Tally:
    tally = Tally(what)
    for picture in pictures:
        tally.add(looks, picture)
    return tally


def _confidences(unseen: Sequence[Tally], learnt: Sequence[Measured]) -> dict[Name, tuple[float, float]]:
    """Laplace's rule over sets that were not learnt; 1/2 where no other set shows it."""
    shares: dict[Name, tuple[list[float], list[float]]] = {look: ([], []) for look in _by_look(learnt)}
    for tally in unseen:
        for look, kept in shares.items():
            kept[0].extend(_share(tally, look[0], tally.region))
            kept[1].extend(_share(tally, look[0], tally.modality))
    return {look: (_rule(regions), _rule(modalities)) for look, (regions, modalities) in shares.items()}


def _share(tally: Tally, region: str, right: Sequence[int]) -> list[float]:
    """The share of right answers of a set that was answered with ``region``."""
    return [float(np.mean(right))] if tally.answers[region] and right else []


def _rule(shares: Sequence[float]) -> float:
    return (sum(shares) + 1) / (len(shares) + 2)


if __name__ == "__main__":
    main()
