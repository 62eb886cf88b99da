"""Negative control: with shuffled labels nothing may be learnt that holds on other images.

    python -m benchmarks.shuffled_labels --work WORK [--permutations N] [--quarter] [--json FILE]

The labels of the training part are permuted within each region, whole groups at a time, and a short fit of the
starter's recipe learns them, without the lesion masks; again with other permutations, and once with the true
labels. AUROC of every term on the validation part, by its true labels. A single shuffled fit points in a chance
direction, and as the classes look different its AUROC lies far from 0.5 to either side; so the interval is over
permutations (Student's t), and each must hold 0.5, else a label leaks through another way than its image.
``--quarter`` adds one fit of another permutation with a quarter of the starter's budget, with intervals over patients
or clusters, which do not know of the chance direction. A fit that is done is kept. The sealed part is not opened.
Exit code 1: an interval over permutations does not hold 0.5.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.special import stdtrit

from irmsia import durable
from irmsia.app.build import CASES
from irmsia.evaluation.estimate import Estimate
from irmsia.evaluation.metrics import auroc
from irmsia.evaluation.ranking import auroc_estimate
from irmsia.findings.calibration import softmax
from irmsia.training.cases import CaseRow, Cases
from irmsia.training.fit import Trainer
from irmsia.training.predict import predict
from irmsia.training.recipe import Recipe
from irmsia.training.starter import RECIPE

SEED = 2026
FOLDER = "shuffled_labels"
SHORT = RECIPE.model_copy(
    update={
        "epochs": 2,
        "cooldown_epochs": 1,
        "steps_per_epoch": 100,
        "warmup_steps": 40,
        "ema_decay": 0.98,
        "lesion_weight": 0.0,
        "attention_weight": 0.0,
    }
)
"""2 x 100 x 32 = 6,400 samples a fit."""

QUARTER = RECIPE.model_copy(
    update={
        "epochs": RECIPE.epochs // 4,
        "cooldown_epochs": RECIPE.cooldown_epochs // 4,
        "patience": RECIPE.epochs,
        "lesion_weight": 0.0,
        "attention_weight": 0.0,
    }
)
QUARTER_PERMUTATION = 1000


class Predicted(NamedTuple):
    """One term on the validation part: (n,) truth, (n,) probability, and the n patients or clusters."""

    name: str
    is_term: NDArray[np.bool_]
    chance: NDArray[np.float64]
    groups: list[str]


@dataclass(frozen=True, slots=True)
class Control:
    """One term: AUROC of the fit with true labels, of each permutation, their mean and its 95 % interval."""

    term: str
    true: float
    shuffled: tuple[float, ...]
    mean: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether the interval holds 0.5."""
        return self.low <= 0.5 <= self.high


def shuffle_labels(rows: Sequence[CaseRow], permutation: int) -> tuple[CaseRow, ...]:
    """Return the rows; each training group has the term of another group of its region, drawn without replacement."""
    order = np.random.default_rng((SEED, permutation))
    first: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.part == "train":
            first.setdefault((row.region, row.group), row.term)
    given: dict[tuple[str, str], str] = {}
    for region in sorted({region for region, _ in first}):
        own = [key for key in first if key[0] == region]
        given |= {key: first[own[other]] for key, other in zip(own, order.permutation(len(own)), strict=True)}
    return tuple(
        replace(row, term=given[row.region, row.group], has_lesion=False) if row.part == "train" else row
        for row in rows
    )


def fit_and_score(cases: Cases, permutation: int | None, recipe: Recipe) -> dict[str, float]:
    """Return the AUROC of every term on the validation part after a fit on shuffled (null: true) labels."""
    return {name: auroc(is_term, chance) for name, is_term, chance, _ in fit_and_predict(cases, permutation, recipe)}


def fit_and_predict(cases: Cases, permutation: int | None, recipe: Recipe) -> Iterator[Predicted]:
    """Fit, then yield every term of the validation part."""
    rows = cases.rows if permutation is None else shuffle_labels(cases.rows, permutation)
    trainer = Trainer(recipe.model_copy(update={"seed": SEED + (permutation or 0)}), replace(cases, rows=rows))
    for number in range(recipe.epochs):
        trainer.run_epoch(lambda event: None)
        print(f"epoch {number + 1} of {recipe.epochs}", file=sys.stderr, flush=True)
    indices = cases.indices("validation")
    logits = predict(trainer.average.model, cases.tensors, indices).logits
    for region in recipe.regions:
        own = np.array([cases.rows[index].region == region.region for index in indices])
        held = [cases.rows[index] for index in indices[own]]
        terms, groups = np.array([row.term for row in held]), [row.group for row in held]
        chances = softmax(logits[region.region][own])
        for k, term in enumerate(region.terms):
            yield Predicted(f"{region.region} {term}", terms == term, chances[:, k], groups)


def run_quarter(work: Path) -> dict[str, Estimate]:
    """Fit one permutation with a quarter of the budget, unless it is there, and return every term's AUROC."""
    kept = work / FOLDER / "quarter.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        found = {
            name: asdict(auroc_estimate(is_term, chance, groups))
            for name, is_term, chance, groups in fit_and_predict(Cases.load(work / CASES), QUARTER_PERMUTATION, QUARTER)
        }
        durable.write_text(kept, json.dumps(found, indent=1) + "\n")
    return {name: Estimate(**value) for name, value in json.loads(kept.read_text(encoding="utf-8")).items()}


def run_control(work: Path, permutations: int) -> list[Control]:
    """Fit what is missing and return the figures of every term."""
    cases, folder = Cases.load(work / CASES), work / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    scores = []
    for permutation in (None, *range(permutations)):
        kept = folder / ("true.json" if permutation is None else f"permutation{permutation}.json")
        if not kept.exists():
            durable.write_text(kept, json.dumps(fit_and_score(cases, permutation, SHORT)))
            print(f"{kept.stem} is done", file=sys.stderr, flush=True)
        scores.append(json.loads(kept.read_text(encoding="utf-8")))
    true, *shuffled = scores
    return [make_control(term, true[term], [one[term] for one in shuffled]) for term in true]


def make_control(term: str, true: float, shuffled: Sequence[float]) -> Control:
    """Return the mean over permutations with Student's interval."""
    mean, count = float(np.mean(shuffled)), len(shuffled)
    reach = float(stdtrit(count - 1, 0.975)) * float(np.std(shuffled, ddof=1)) / math.sqrt(count)
    return Control(term, true, tuple(shuffled), mean, mean - reach, mean + reach)


def make_table(controls: Sequence[Control]) -> Table:
    """Return the figures as a table."""
    samples = SHORT.epochs * SHORT.steps_per_epoch * SHORT.batch_size
    title = f"shuffled labels, {len(controls[0].shuffled)} permutations, {samples} samples a fit"
    table = Table("term", "AUROC, true labels", "mean, shuffled", "95 % interval", "each", "holds 0.5", title=title)
    for one in controls:
        each = " ".join(f"{value:.2f}" for value in one.shuffled)
        interval = f"[{one.low:.3f}, {one.high:.3f}]"
        table.add_row(one.term, f"{one.true:.3f}", f"{one.mean:.3f}", interval, each, "yes" if one.holds else "NO")
    return table


def make_quarter_table(found: dict[str, Estimate]) -> Table:
    """Return the figures of the long fit as a table."""
    samples = QUARTER.epochs * QUARTER.steps_per_epoch * QUARTER.batch_size
    table = Table("term", "AUROC", "95 % interval over groups", title=f"shuffled labels, one fit of {samples} samples")
    for name, one in found.items():
        interval = f"[{one.low:.3f}, {one.high:.3f}]" if one.whole else str(one.reason)
        table.add_row(name, f"{one.value:.3f}", interval)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit what is missing and print the table; 0 every interval holds 0.5, 1 not, 2 usage."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.shuffled_labels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/starter"), help="as of irmsia.app.train")
    parser.add_argument("--permutations", type=int, default=5, help="at least 2")
    parser.add_argument("--quarter", action="store_true", help="one fit of a quarter of the budget as well")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args(arguments)
    if given.permutations < 2:
        parser.error("an interval over permutations needs at least two")
    controls = run_control(given.work, given.permutations)
    Console(width=120).print(make_table(controls))
    quarter = run_quarter(given.work) if given.quarter else {}
    if quarter:
        Console(width=120).print(make_quarter_table(quarter))
    if given.json is not None:
        found = {
            "permutations": [asdict(one) for one in controls],
            "quarter": {k: asdict(v) for k, v in quarter.items()},
        }
        durable.write_text(given.json, json.dumps(found, indent=1) + "\n")
    return 0 if all(one.holds for one in controls) else 1


if __name__ == "__main__":
    sys.exit(main())
