"""Which foreign images the starter refuses, and by which rule: ``python -m benchmarks.foreign --data DIR``.

Each is asked as DICOM with its tags (where it has any) and as PNG, pixels alone: the grey picture at stored size. The
refusal score of a picture is the largest of what rules 5 and 6 hold against a threshold, each over its threshold, so
that above 1 means refused: (1 - p) / (1 - threshold) of the router's largest own region, and every feature statistic of
that region. Blank pictures (rule 2) have an infinite score. Its AUROC is taken against unseen own images, the sealed
part. No threshold and no statistic of the bundle was chosen by these results.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.foreign_families import (
    APART,
    CT_HEAD,
    FOREIGN,
    MADE,
    dicom_images,
    noise_images,
    photographs,
    text_pages,
)
from benchmarks.study import SEED, Bounds, Page, Study, Table, bar, goal, read, run_study, share_of
from irmsia.evaluation.metrics import auroc
from irmsia.findings.calibration import softmax
from irmsia.findings.decision import NetworkOutputs
from irmsia.findings.refusal import RefusalScores
from irmsia.findings.rules import ModelRules
from irmsia.findings.types import Decision
from irmsia.findings.vocabulary import PHANTOM_REGION
from irmsia.imaging.render import encode_png, render_grey

LEAST_AUROC = 0.99
LEAST_REFUSED = 0.95
_DRAWS = 1000

LEARNT = "foreign"
"""The statistic of a bundle that was taught by made-up foreign images, if it has one."""

TURNS = {"turned 90": 1, "turned 180": 2, "turned 270": 3}
INVERTED = "inverted"
COMMAND = ".venv/bin/python -m benchmarks.foreign --data ../shared/data --write docs/results/foreign.md"


@dataclass(frozen=True)
class Answered:
    """What the starter did with one picture: ``reason`` of the refusal (null: not refused) and the refusal score."""

    family: str
    group: str
    reason: str | None
    score: float
    tagged: bool = False
    name: str = ""


def refusal_score(rules: ModelRules, scorer: RefusalScores, outputs: NetworkOutputs, *, blank: bool = False) -> float:
    """Return the score defined above; above 1 is refused by pixels alone (router thresholds of at least one half)."""
    if blank:
        return math.inf
    chances = dict(zip(rules.router.regions, softmax(outputs.router).tolist(), strict=True))
    own = {region: chance for region, chance in chances.items() if region != PHANTOM_REGION}
    routed = max(own, key=lambda region: own[region])
    scores = scorer.score(outputs.statistics, routed)
    limits = {statistic.name: statistic.thresholds[routed] for statistic in rules.refusal.statistics}
    router = (1.0 - own[routed]) / max(1.0 - rules.router.threshold, 1e-12)
    return max(router, *(scores[name] / limit for name, limit in limits.items()))


def answer(study: Study, content: bytes, *, family: str, group: str, tagged: bool = False, name: str = "") -> Answered:
    """Ask the starter for one file."""
    judge = study.judge
    seen = judge.judge(content)
    score = refusal_score(judge.rules, judge.scorer, seen.outputs, blank=seen.prepared.blank)
    refused = seen.verdict.decision is Decision.REFUSE and seen.verdict.reason is not None
    reason = seen.verdict.reason.value if refused and seen.verdict.reason is not None else None
    return Answered(family, group, reason, score, tagged, name)


def separation(foreign: Sequence[Answered], own: Sequence[Answered]) -> Bounds:
    """Return the AUROC of the score, foreign above own, resampling the groups of each side for itself.

    An AUROC of 1 does not vary; its lower end is then the exact bound on as many groups as the smaller side has.
    """
    value = _auroc([one.score for one in foreign], [one.score for one in own])
    groups = len({one.group for one in foreign})
    if groups < 2:
        return Bounds(value, None, None, len(foreign), groups)
    order = np.random.default_rng(SEED)
    sides = [_members(foreign), _members(own)]
    draws = [_auroc(*(_drawn(side, order) for side in sides)) for _ in range(_DRAWS)]
    low, high = (float(end) for end in np.quantile(draws, [0.025, 0.975]))
    if low == high == 1.0:
        low = float(0.025 ** (1 / min(len(side) for side in sides)))
    return Bounds(value, low, high, len(foreign), groups)


def _auroc(foreign: Sequence[float] | NDArray[np.float64], own: Sequence[float] | NDArray[np.float64]) -> float:
    positive = np.repeat([True, False], [len(foreign), len(own)])
    return auroc(positive, np.concatenate([foreign, own]).astype(np.float64))


def _members(answers: Sequence[Answered]) -> list[NDArray[np.float64]]:
    by_group: dict[str, list[float]] = {}
    for one in answers:
        by_group.setdefault(one.group, []).append(one.score)
    return [np.array(scores) for scores in by_group.values()]


def _drawn(members: list[NDArray[np.float64]], order: np.random.Generator) -> NDArray[np.float64]:
    return np.concatenate([members[index] for index in order.integers(len(members), size=len(members))])


def answer_foreign(study: Study) -> list[Answered]:
    """Ask for every foreign picture, as PNG and, where it has tags, as DICOM."""
    images = [*dicom_images(study.data / "dicom", read), *photographs(), *text_pages(), *noise_images()]
    answers = []
    for image in bar(images, "foreign images"):
        known = {"family": image.family, "group": image.group, "name": image.name}
        answers.append(answer(study, image.png, **known))
        if image.dicom is not None:
            answers.append(answer(study, image.dicom, **known, tagged=True))
    return answers


def answer_own(study: Study) -> tuple[list[Answered], list[Answered]]:
    """Open the sealed part: its images as they are, and the same turned and inverted (family ``region, change``)."""
    own, changed = [], []
    for sample, group in bar(study.sealed_images(), "own images"):
        content = (study.data / sample.path).read_bytes()
        own.append(answer(study, content, family=sample.region, group=group))
        image = read(content)
        for change, picture in _changes(render_grey(image, image.indices[0])):
            changed.append(answer(study, encode_png(picture), family=f"{sample.region}, {change}", group=group))
    return own, changed


def _changes(picture: NDArray[np.uint8]) -> Iterable[tuple[str, NDArray[np.uint8]]]:
    for change, quarters in TURNS.items():
        yield change, np.ascontiguousarray(np.rot90(picture, quarters))
    yield INVERTED, np.asarray(cv2.bitwise_not(picture), np.uint8)


def reasons(answers: Sequence[Answered]) -> str:
    """Return ``OUT_OF_DISTRIBUTION 20, UNKNOWN_REGION 3`` of the refused."""
    counted = Counter(one.reason for one in answers if one.reason is not None)
    return ", ".join(f"{reason} {count}" for reason, count in counted.most_common()) or "-"


def refused_share(answers: Sequence[Answered]) -> Bounds:
    """Return the share refused, with its interval by group."""
    return share_of([one.group for one in answers], [one.reason is not None for one in answers])


def pixel_row(name: str, answers: Sequence[Answered], own: Sequence[Answered], *, aimed: bool) -> tuple[object, ...]:
    """Return one row of the table of pixels alone."""
    refused, area = refused_share(answers), separation(answers, own)
    verdicts = (goal(refused.value, LEAST_REFUSED), goal(area.value, LEAST_AUROC)) if aimed else ("no goal", "no goal")
    return name, len(answers), refused.groups, refused, verdicts[0], area, verdicts[1], reasons(answers)


def tables_of(answers: Sequence[Answered], own: Sequence[Answered], changed: Sequence[Answered]) -> list[Table]:
    """Return all tables of the page."""
    pixels = [one for one in answers if not one.tagged]
    alone = Table(
        "Pixels alone (PNG)",
        ("family", "n", "groups", "refused", f"goal {LEAST_REFUSED}", "AUROC against own", f"goal {LEAST_AUROC}", "by"),
    )
    alone.rows = [
        pixel_row(name, of_family, own, aimed=name in FOREIGN)
        for name in (*FOREIGN, *APART)
        if (of_family := [one for one in pixels if one.family == name])
    ]
    pooled = [one for one in pixels if one.family in FOREIGN]
    alone.rows.insert(0, pixel_row("all foreign", pooled, own, aimed=True))
    medical = [one for one in pooled if one.family not in MADE]
    alone.rows.insert(1, pixel_row("foreign medical images", medical, own, aimed=True))
    alone.rows.insert(
        2, pixel_row(f"all foreign but {CT_HEAD}", [o for o in pooled if o.family != CT_HEAD], own, aimed=True)
    )
    tagged = Table("With their tags (DICOM)", ("family", "n", "groups", "refused", f"goal {LEAST_REFUSED}", "by"))
    for name in (*FOREIGN, *APART):
        of_family = [one for one in answers if one.tagged and one.family == name]
        if of_family:
            share = refused_share(of_family)
            met = goal(share.value, LEAST_REFUSED) if name in FOREIGN else "no goal"
            tagged.rows.append((name, len(of_family), share.groups, share, met, reasons(of_family)))
    return [alone, tagged, _passed_table(answers), _own_table(own), _changed_table(changed)]


def _passed_table(answers: Sequence[Answered]) -> Table:
    table = Table("Foreign pictures that were not refused (PNG)", ("family", "n", "of", "files, at most 12"))
    for family in FOREIGN:
        chosen = [one for one in answers if one.family == family and not one.tagged]
        passed = sorted(one.name for one in chosen if one.reason is None)
        if passed:
            table.rows.append((family, len(passed), len(chosen), ", ".join(passed[:12])))
    return table


def _own_table(own: Sequence[Answered]) -> Table:
    table = Table(
        "False refusals: unseen own images (sealed part, pixels alone)", ("region", "n", "groups", "refused", "by")
    )
    for region in dict.fromkeys(one.family for one in own):
        chosen = [one for one in own if one.family == region]
        share = refused_share(chosen)
        table.rows.append((region, len(chosen), share.groups, share, reasons(chosen)))
    return table


def _changed_table(changed: Sequence[Answered]) -> Table:
    table = Table(
        "Own images turned or inverted (sealed part, pixels alone)",
        ("change", "n", "groups", "refused", "by"),
        note="Reported, no goal: a brain upside down is still a brain.",
    )
    for name in sorted(dict.fromkeys(one.family for one in changed)):
        chosen = [one for one in changed if one.family == name]
        share = refused_share(chosen)
        table.rows.append((name, len(chosen), share.groups, share, reasons(chosen)))
    return table


def measure(study: Study) -> Page:
    """Ask for everything and lay out the page."""
    answers = answer_foreign(study)
    opened = study.open_sealed()
    own, changed = answer_own(study)
    return Page(
        title="Foreign images: what the starter refuses",
        command=COMMAND,
        bundle=study.bundle.id,
        intro=(
            f"Goal: of foreign pictures at least {LEAST_REFUSED:.0%} refused at the thresholds that were frozen on "
            f"validation, AUROC of the refusal score at least {LEAST_AUROC} against unseen own images. Intervals are "
            "95 %, over series, photographs, pages or kinds (groups), own images over patients or clusters."
        ),
        tables=tables_of(answers, own, changed),
        notes=[
            "Refusal score: the largest of (1 - p) / (1 - threshold) of the router's largest own region and of each "
            "feature statistic over its threshold; above 1 is refused; blank pictures count as infinite.",
            "Thresholds stand where validation images of the starter's own regions put them; none was fixed by "
            "these pictures. Which statistics the bundle has was decided with this table in sight (CT head above all), "
            "so the shares are hopeful for these families and no proof for others.",
            *_learnt_note(study.judge.rules),
            "One series, photograph or kind of noise is one group, however many pictures it gives; the brain EPI "
            "(150 slices) is one patient's series.",
            f"Apart, without a goal: {', '.join(APART)}.",
            opened,
        ],
    )


def _learnt_note(rules: ModelRules) -> list[str]:
    learnt = [statistic.name for statistic in rules.refusal.statistics if statistic.name == LEARNT]
    text = (
        "The statistic `foreign` is a head that learnt from made-up foreign images: own training images turned, "
        "inverted, tiled, cut up, flattened or of other greys, noise, discs, dashes like text. So most kinds of this "
        "page have a made-up relative that it has seen; the very images have not been learnt from."
    )
    return [text] if learnt else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study."""
    return run_study(measure, name="foreign", says=__doc__, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
