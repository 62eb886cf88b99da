"""Breast by repeated grouped cross-validation on the training and validation parts: two times five folds.

    python -m benchmarks.breast_cv --data DIR --work WORK [--json FILE]

A breast-only network of 128 px a fold, from random weights, its length fixed beforehand: the last average is taken, so
the held-out fold chooses nothing. Each image is answered by two networks that never saw its cluster; intervals are by
clusters over all out-of-fold answers. ``WORK`` is that of `irmsia.app.train` after ``--stage prepare``; a fold that is
done is kept in ``WORK/breast_cv`` and not fitted again. The sealed part is not touched.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from irmsia import durable
from irmsia.app.build import CASES
from irmsia.datasets.samples import Sample
from irmsia.evaluation.bootstrap import Estimate, group_bootstrap
from irmsia.evaluation.metrics import auroc, balanced_accuracy
from irmsia.findings.calibration import softmax
from irmsia.imaging.read import read_image
from irmsia.settings.limits import ReadLimits
from irmsia.training.cases import CaseRow, Cases, write_cases
from irmsia.training.fit import Trainer
from irmsia.training.predict import predict
from irmsia.training.prepare import make_case
from irmsia.training.recipe import Recipe
from irmsia.training.starter import FINISH, RECIPE, starter_spec

REGION = "breast"
FOLDS = 5
REPEATS = 2
SEED = 2026
GOALS = {"breast_malignant_lesion AUROC": None, "macro AUROC": 0.90, "balanced accuracy": 0.78}

CV_RECIPE = RECIPE.model_copy(
    update={
        "size": 128,
        "regions": tuple(
            region.model_copy(update={"share": 1.0}) for region in RECIPE.regions if region.region == REGION
        ),
        "epochs": 12,
        "cooldown_epochs": 8,
        "steps_per_epoch": 31,
        "warmup_steps": 40,
        "ema_decay": 0.99,
        "mixup": FINISH.mixup,
        "augmentation": FINISH.augmentation,
    }
)
"""12 x 31 x 32 = 11,904 samples a fit; everything else as the starter's."""


def breast_cases(work: Path, data: Path) -> Cases:
    """Return the breast images of the training and validation parts at 128 px; made once."""
    folder = work / "breast_cv" / CASES
    if not (folder / "table.json").exists():
        rows = [row for row in Cases.load(work / CASES).rows if row.region == REGION and row.part != "test"]
        read = partial(read_image, limits=ReadLimits())
        spec = starter_spec(CV_RECIPE.size)
        made = (make_case(_sample(row), "train", data=data, spec=spec, read=read) for row in rows)
        write_cases(folder, made, count=len(rows), size=CV_RECIPE.size)
    return Cases.load(folder)


def _sample(row: CaseRow) -> Sample:
    source, _, group = row.group.partition("|")
    return Sample(source=source, path=row.name, region=row.region, term=row.term, group=group)


def fold_numbers(rows: Sequence[CaseRow], repeat: int) -> NDArray[np.int64]:
    """Return (n,) fold numbers: a cluster is whole, the clusters of a class are spread evenly."""
    order = np.random.default_rng((SEED, repeat))
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row.group, row.term)
    fold: dict[str, int] = {}
    for term in sorted(set(first.values())):
        own = [group for group in first if first[group] == term]
        fold |= {own[index]: position % FOLDS for position, index in enumerate(order.permutation(len(own)))}
    return np.array([fold[row.group] for row in rows])


def answer_fold(cases: Cases, held: NDArray[np.bool_], recipe: Recipe) -> NDArray[np.float64]:
    """Fit on the other folds; return the probabilities (n, K) of the held-out images."""
    rows = tuple(replace(row, part="validation" if out else "train") for row, out in zip(cases.rows, held, strict=True))
    trainer = Trainer(recipe, replace(cases, rows=rows))
    for _ in range(recipe.epochs):
        trainer.run_epoch(lambda event: None)
    logits = predict(trainer.average.model, cases.tensors, np.flatnonzero(held)).logits[REGION]
    return softmax(logits)


def cross_validate(work: Path, data: Path) -> tuple[Cases, list[tuple[NDArray[np.bool_], NDArray[np.float64]]]]:
    """Return the cases and, of each fold of each repeat, which images it held out and their probabilities."""
    cases = breast_cases(work, data)
    answers = []
    for repeat in range(REPEATS):
        folds = fold_numbers(cases.rows, repeat)
        for fold in range(FOLDS):
            held, kept = folds == fold, work / "breast_cv" / f"repeat{repeat}_fold{fold}.json"
            if not kept.exists():
                recipe = CV_RECIPE.model_copy(update={"seed": SEED + repeat})
                durable.write_text(kept, json.dumps(answer_fold(cases, held, recipe).tolist()))
                print(f"repeat {repeat + 1} fold {fold + 1} of {FOLDS} is done", file=sys.stderr, flush=True)
            answers.append((held, np.array(json.loads(kept.read_text(encoding="utf-8")))))
    return cases, answers


def measure(cases: Cases, answers: Sequence[tuple[NDArray[np.bool_], NDArray[np.float64]]]) -> dict[str, Estimate]:
    """Return the figures over all out-of-fold answers, intervals by cluster."""
    terms = CV_RECIPE.regions[0].terms
    rows = [row for held, _ in answers for row, out in zip(cases.rows, held, strict=True) if out]
    chances = np.concatenate([part for _, part in answers])
    truth = np.array([terms.index(row.term) for row in rows])
    said, groups = chances.argmax(axis=1), [row.group for row in rows]

    def of_term(chosen: NDArray[np.int64], k: int) -> float:
        return auroc(truth[chosen] == k, chances[chosen, k])

    def macro(chosen: NDArray[np.int64]) -> float:
        return float(np.mean([of_term(chosen, k) for k in range(len(terms))]))

    def balanced(chosen: NDArray[np.int64]) -> float:
        return balanced_accuracy(truth[chosen], said[chosen])

    figures = {
        f"{term} AUROC": group_bootstrap(groups, partial(of_term, k=k), seed=SEED) for k, term in enumerate(terms)
    }
    return figures | {
        "macro AUROC": group_bootstrap(groups, macro, seed=SEED),
        "balanced accuracy": group_bootstrap(groups, balanced, seed=SEED),
    }


def make_table(figures: dict[str, Estimate]) -> Table:
    """Return the figures beside the goals."""
    table = Table("figure", "value", "95 % interval", "answers", "clusters", "goal", title="breast, out of fold, 5 x 2")
    for name, estimate in figures.items():
        goal = GOALS.get(name)
        met = "" if goal is None else f">= {goal:.2f} {'met' if (estimate.value or 0) >= goal else 'MISSED'}"
        low, high = (float("nan") if bound is None else bound for bound in (estimate.low, estimate.high))
        value = float("nan") if estimate.value is None else estimate.value
        table.add_row(name, f"{value:.3f}", f"[{low:.3f}, {high:.3f}]", str(estimate.n), str(estimate.groups), met)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit what is missing and print the table; 0 done."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.breast_cv", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the collected sets")
    parser.add_argument("--work", type=Path, default=Path("build/starter"), help="as of irmsia.app.train")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args(arguments)
    figures = measure(*cross_validate(given.work, given.data))
    Console(width=120).print(make_table(figures))
    if given.json is not None:
        content = {
            name: {"value": one.value, "low": one.low, "high": one.high, "n": one.n, "groups": one.groups}
            for name, one in figures.items()
        }
        durable.write_text(given.json, json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
