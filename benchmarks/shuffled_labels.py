"""Negative control: with shuffled labels nothing may be learnt that holds on other images.

    python -m benchmarks.shuffled_labels --work WORK [--epochs N] [--json FILE]

The labels of the training part are permuted within each region, whole groups at a time, and the starter's recipe is
fitted on them for a quarter of its epochs, without the lesion masks. AUROC of every term on the validation part, by its
true labels, with intervals by group: each must hold 0.5, else a label leaks through another way than its image. It goes
on from its checkpoint; the sealed part is not opened. Exit code 1: an interval does not hold 0.5.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from irmsia import durable
from irmsia.app.build import CASES
from irmsia.app.train import epoch_line
from irmsia.evaluation.bootstrap import Estimate, group_bootstrap
from irmsia.evaluation.metrics import auroc
from irmsia.training.cases import CaseRow, Cases
from irmsia.training.fit import CHECKPOINT, Trainer
from irmsia.training.predict import predict
from irmsia.training.recipe import Recipe
from irmsia.training.starter import RECIPE

SEED = 2026
QUARTER = RECIPE.epochs // 4


def shuffle_labels(rows: Sequence[CaseRow]) -> tuple[CaseRow, ...]:
    """Return the rows; each training group has the term of another group of its region, drawn without replacement."""
    order = np.random.default_rng(SEED)
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


def fit_shuffled(cases: Cases, recipe: Recipe, folder: Path) -> Trainer:
    """Return the trainer after its last epoch; nothing is chosen by the true labels."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, replace(cases, rows=shuffle_labels(cases.rows)))
    if (folder / CHECKPOINT).exists():
        trainer.resume(folder / CHECKPOINT)
    while trainer.progress.epoch < recipe.epochs:
        print(epoch_line(trainer.run_epoch(lambda event: None)), file=sys.stderr, flush=True)
        trainer.save(folder / CHECKPOINT)
    return trainer


def measure(trainer: Trainer, cases: Cases) -> dict[str, Estimate]:
    """Return the AUROC of every term of every region on the validation part, true labels."""
    indices = cases.indices("validation")
    logits = predict(trainer.average.model, cases.tensors, indices).logits
    figures: dict[str, Estimate] = {}
    for region in trainer.recipe.regions:
        own = np.array([cases.rows[index].region == region.region for index in indices])
        rows = [cases.rows[index] for index in indices[own]]
        for k, term in enumerate(region.terms):
            figures[f"{region.region} {term}"] = _estimate(rows, term, logits[region.region][own][:, k])
    return figures


def _estimate(rows: Sequence[CaseRow], term: str, scores: NDArray[np.float64]) -> Estimate:
    positive = np.array([row.term == term for row in rows])
    return group_bootstrap([row.group for row in rows], lambda chosen: auroc(positive[chosen], scores[chosen]))


def holds_chance(estimate: Estimate) -> bool:
    """Return whether 0.5 lies within the interval."""
    return estimate.low is not None and estimate.high is not None and estimate.low <= 0.5 <= estimate.high


def make_table(figures: dict[str, Estimate], epochs: int) -> Table:
    """Return the figures as a table."""
    samples = epochs * RECIPE.steps_per_epoch * RECIPE.batch_size
    table = Table(
        "term", "AUROC", "95 % interval", "images", "groups", "holds 0.5", title=f"shuffled, {samples} samples"
    )
    for name, one in figures.items():
        low, high = (float("nan") if bound is None else bound for bound in (one.low, one.high))
        value = float("nan") if one.value is None else one.value
        holds = "yes" if holds_chance(one) else "NO"
        table.add_row(name, f"{value:.3f}", f"[{low:.3f}, {high:.3f}]", str(one.n), str(one.groups), holds)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit what is missing and print the table; 0 every interval holds 0.5, 1 not."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.shuffled_labels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/starter"), help="as of irmsia.app.train")
    parser.add_argument("--epochs", type=int, default=QUARTER, help="fewer for a shorter control")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args(arguments)
    cases = Cases.load(given.work / CASES)
    change = {"epochs": given.epochs, "lesion_weight": 0.0, "attention_weight": 0.0}
    trainer = fit_shuffled(cases, RECIPE.model_copy(update=change), given.work / "shuffled_labels")
    figures = measure(trainer, cases)
    Console(width=120).print(make_table(figures, given.epochs))
    if given.json is not None:
        content = {
            name: {"value": one.value, "low": one.low, "high": one.high, "n": one.n, "groups": one.groups}
            for name, one in figures.items()
        }
        durable.write_text(given.json, json.dumps(content, indent=1) + "\n")
    return 0 if all(holds_chance(one) for one in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
