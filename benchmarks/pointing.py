"""Where the starter looks: the pointing game on breast lesions, ``python -m benchmarks.pointing --data DIR``.

The contribution map of the true lesion term is asked for; its largest cell's centre is a hit when it lies in the lesion
mask of the stored image (Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016). Beside it, on
the same images: Grad-CAM of the same network (needs torch, left out without), the centre of the image, a random point,
and the place where most training lesions lie. The sealed part is the headline.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import starter_network
from benchmarks.grad_cam import GradCam
from benchmarks.pointing_sheet import make_sheet
from benchmarks.study import Bounds, Page, Study, Table, bar, bounds_of, goal, parts_of, run_study, share_of
from irmsia.app.evaluate import Judgement
from irmsia.datasets.samples import STARTER_SOURCES, Sample, mask_paths
from irmsia.datasets.split import Part, group_key
from irmsia.errors import InternalError
from irmsia.findings.types import Decision
from irmsia.imaging.geometry import Grid
from irmsia.training.prepare import read_mask

LEAST_HIT = 0.70
REGION = "breast"
COMMAND = ".venv/bin/python -m benchmarks.pointing --data ../shared/data --write docs/results/pointing.md"
PARTS = {"test": "sealed part", "validation": "validation", "train": "training (seen)"}
MAP, GRAD_CAM, CENTRE, PRIOR, RANDOM = "contribution map", "Grad-CAM", "centre", "most frequent place", "random point"
_PRIOR_SIDE = 64
_SAME = 1e-3
"""Largest difference between a rebuilt logit and the served one."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Pointed:
    """One lesion image: chance of a hit by each way of pointing, 0 or 1 but for a random point.

    Attributes:
        part: train, validation or test.
        group: cluster.
        term: the true term.
        refused: whether the starter refuses the image; it then shows no map.
        cells: the lesion's equivalent diameter in map cells.
        hit: by way.
        near: the same with the lesion dilated by one map cell.
        apart: largest difference of the rebuilt network's logits from the served; 0 without torch.
    """

    part: str
    group: str
    term: str
    refused: bool
    cells: float
    hit: dict[str, float]
    near: dict[str, float]
    apart: float


def largest_place(cells: NDArray[np.float32], grid: Grid) -> tuple[float, float]:
    """Return the centre of the largest cell (h, w), as (row, column) of the stored image."""
    row, column = np.unravel_index(int(np.argmax(cells)), cells.shape)
    return grid.row0 + float(row) * grid.row_step, grid.column0 + float(column) * grid.column_step


def holds(mask: Mask, place: tuple[float, float]) -> bool:
    """Whether the pixel nearest to (row, column) is lesion; outside the image nothing is."""
    row, column = round(place[0]), round(place[1])
    inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
    return inside and bool(mask[row, column])


def dilate(mask: Mask, grid: Grid) -> Mask:
    """Return the lesion grown by one map cell to every side."""
    rows, columns = (max(1, round(abs(step))) for step in (grid.row_step, grid.column_step))
    kernel = np.ones((2 * rows + 1, 2 * columns + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)


def diameter_in_cells(mask: Mask, grid: Grid) -> float:
    """Return the diameter, in map cells, of the disc of the lesion's area."""
    return float(2.0 * np.sqrt(mask.sum() / np.pi / abs(grid.row_step * grid.column_step)))


def prior_place(masks: Sequence[Mask]) -> tuple[float, float]:
    """Return where most of the masks have lesion, as shares of height and width."""
    count = sum(
        cv2.resize(mask.astype(np.uint8), (_PRIOR_SIDE, _PRIOR_SIDE), interpolation=cv2.INTER_NEAREST).astype(np.int64)
        for mask in masks
    )
    smooth = cv2.GaussianBlur(np.asarray(count, np.float32), (0, 0), 2)
    row, column = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
    return (float(row) + 0.5) / _PRIOR_SIDE, (float(column) + 0.5) / _PRIOR_SIDE


@dataclass(frozen=True)
class LesionCase:
    """One image of the game: ``judgement`` of the starter, ``mask`` (rows, columns) of the stored image."""

    sample: Sample
    part: Part
    judgement: Judgement
    mask: Mask


def list_cases(study: Study) -> list[LesionCase]:
    """Return every breast image with a lesion that its masks draw."""
    layouts = [layout for layout in STARTER_SOURCES if layout.region == REGION]
    listed = [(sample, part) for sample, part in parts_of(study, layouts) if sample.term != "normal"]
    cases = []
    for sample, part in bar(listed, "lesions"):
        path = study.data / sample.path
        judgement = study.judge.judge(path.read_bytes())
        mask = read_mask(mask_paths(path), judgement.image.pixels.shape[1:3])
        if mask is not None and mask.any():
            cases.append(LesionCase(sample, part, judgement, mask > 0))
    return cases


def point_all(study: Study) -> list[Pointed]:
    """Play the game on every case."""
    cases = list_cases(study)
    cam = GradCam(starter_network.torch_network(study.bundle)) if starter_network.is_available() else None
    prior = prior_place([case.mask for case in cases if case.part == "train"])
    return [_point(study, case, cam, prior) for case in bar(cases, "maps")]


def _point(study: Study, case: LesionCase, cam: GradCam | None, prior: tuple[float, float]) -> Pointed:
    prepared, mask = case.judgement.prepared, case.mask
    index = study.judge.rules.group(REGION).terms.index(case.sample.term)
    outputs = study.judge.infer(prepared.tensor[None])
    own, grid = prepared.locate(np.asarray(outputs[f"maps_{REGION}"][0, index]))
    rows, columns = mask.shape
    places = {
        MAP: largest_place(own, grid),
        CENTRE: ((rows - 1) / 2, (columns - 1) / 2),
        PRIOR: (prior[0] * rows - 0.5, prior[1] * columns - 0.5),
    }
    apart = 0.0
    if cam is not None:
        cells, logits = cam(prepared.tensor, REGION, index)
        apart = float(np.abs(logits - outputs[f"logits_{REGION}"][0]).max())
        places[GRAD_CAM] = largest_place(*prepared.locate(cells))
    grown = dilate(mask, grid)
    return Pointed(
        part=case.part,
        group=group_key(case.sample),
        term=case.sample.term,
        refused=case.judgement.verdict.decision is Decision.REFUSE,
        cells=diameter_in_cells(mask, grid),
        hit={way: float(holds(mask, spot)) for way, spot in places.items()} | {RANDOM: float(mask.mean())},
        near={way: float(holds(grown, spot)) for way, spot in places.items()} | {RANDOM: float(grown.mean())},
        apart=apart,
    )


def chance(answers: Sequence[Pointed], way: str, *, near: bool = False) -> Bounds:
    """Return the share of hits by ``way``, with its interval by cluster."""
    values = np.array([(one.near if near else one.hit)[way] for one in answers])
    groups = [one.group for one in answers]
    if way != RANDOM:
        return share_of(groups, [value > 0 for value in values])
    return bounds_of(groups, lambda chosen: float(values[chosen].mean()))


def gain(answers: Sequence[Pointed], way: str) -> Bounds:
    """Return the share of the map's hits less that of ``way``, on the same images, resampled together."""
    values = np.array([one.hit[MAP] - one.hit[way] for one in answers])
    return bounds_of([one.group for one in answers], lambda chosen: float(values[chosen].mean()))


def game_table(answers: Sequence[Pointed], part: str) -> Table:
    """Return every way of pointing on one part."""
    title = f"Pointing game, {PARTS[part]}"
    table = Table(title, ("points by", "n", "groups", "in the lesion", "goal", "within one cell", "map less this"))
    chosen = [one for one in answers if one.part == part]
    for way in [way for way in (MAP, GRAD_CAM, PRIOR, CENTRE, RANDOM) if chosen and way in chosen[0].hit]:
        found = chance(chosen, way)
        met = goal(found.value, LEAST_HIT) if way == MAP else "-"
        less = gain(chosen, way) if way != MAP else "-"
        table.rows.append((way, len(chosen), found.groups, found, met, chance(chosen, way, near=True), less))
    shown = [one for one in chosen if not one.refused]
    found = chance(shown, MAP)
    near = chance(shown, MAP, near=True)
    table.rows.append(
        (f"{MAP}, images not refused", len(shown), found.groups, found, goal(found.value, LEAST_HIT), near, "-")
    )
    return table


def detail_table(answers: Sequence[Pointed], part: str) -> Table:
    """Return the map's hits by term and by size of the lesion."""
    table = Table(
        f"By term and size of the lesion, {PARTS[part]}",
        ("images", "n", "groups", "in the lesion", "within one cell", "random point"),
        note="Size: diameter of the disc of the lesion's area, in map cells.",
    )
    chosen = [one for one in answers if one.part == part]
    kinds = {term: [one for one in chosen if one.term == term] for term in sorted({one.term for one in chosen})}
    for low, high in ((0.0, 1.5), (1.5, 2.5), (2.5, 4.0), (4.0, float("inf"))):
        name = f"{low:g} to {high:g} cells" if high < float("inf") else f"from {low:g} cells"
        kinds[name] = [one for one in chosen if low <= one.cells < high]
    for name, some in kinds.items():
        found = chance(some, MAP)
        table.rows.append((name, len(some), found.groups, found, chance(some, MAP, near=True), chance(some, RANDOM)))
    return table


def measure(study: Study) -> Page:
    """Play and lay out the page."""
    opened = study.open_sealed()
    answers = point_all(study)
    apart = max(one.apart for one in answers)
    if apart > _SAME:
        raise InternalError(f"the rebuilt network's logits are {apart:.1e} from the served ones")
    proof = (
        f"Grad-CAM: the network rebuilt in torch gives the served logits within {apart:.1e} on {len(answers)} images."
    )
    return Page(
        title="Where the starter looks: the pointing game on breast lesions",
        command=COMMAND,
        bundle=study.bundle.id,
        intro=(
            f"Goal: the map's maximum in the lesion for at least {LEAST_HIT:.0%} of the sealed images, asked for the "
            "true term. Intervals are 95 %, over near-duplicate clusters. Breast ultrasound BUSI (CC BY 4.0), masks by "
            "its makers.\n\n"
            "![phantoms: contribution map, truth in green, maximum as a cross](pointing.png)"
        ),
        tables=[
            *(game_table(answers, part) for part in PARTS),
            *(detail_table(answers, part) for part in ("test", "validation")),
        ],
        notes=[
            "The masks of the training part supervised where the lesion is (a second task), so the map was taught to "
            "point; Grad-CAM is of that same network.",
            "The true term is given, whatever the starter thought most probable; on a refusal it shows no map, the "
            "last row of each table leaves those out.",
            "Random point: its chance is the lesion's share of the image. Most frequent place: where most lesions of "
            "the training part lie.",
            proof if starter_network.is_available() else f"Grad-CAM was left out: it {starter_network.NEEDED}.",
            "The picture shows phantoms, no patient.",
            opened,
        ],
        pictures={"pointing.png": make_sheet(study.judge)},
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study."""
    return run_study(measure, name="pointing", says=__doc__, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
