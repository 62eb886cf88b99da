"""Ideas for a better starter, each at a quarter of its budget, compared on the validation part alone.

    python -m benchmarks.ideas fit NAME --work WORK                 one idea: 20 epochs that go on from WORK's network,
                                                                    or `full`: the winner from scratch, all epochs
    python -m benchmarks.ideas compare --work WORK [--json FILE]    the table; the sealed part is not opened

An idea that was fitted leaves ``WORK/ideas/NAME/run``; one that was broken off goes on from its checkpoint. ACCEPT and
coverage are by ten-fold cross-validation over the groups of the validation part: calibration, thresholds and conformal
quantiles from nine tenths, answers of the tenth.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from safetensors import safe_open

from irmsia import durable
from irmsia.app.build import CASES, RUN
from irmsia.app.train import epoch_line
from irmsia.findings.calibration import apply_calibration
from irmsia.findings.conformal import conformal_terms, is_normal_only
from irmsia.findings.decision import is_borderline
from irmsia.findings.fit import fit_group
from irmsia.findings.rows import present_terms
from irmsia.findings.rules import LabelGroup
from irmsia.findings.vocabulary import PHANTOM_REGION
from irmsia.training.cases import CaseRow, Cases
from irmsia.training.checkpoint import EpochRecord, load_weights
from irmsia.training.export import sealed_network
from irmsia.training.fit import BEST, CHECKPOINT, Step, best_temperature_loss, fit, make_model
from irmsia.training.predict import predict
from irmsia.training.recipe import Augmentation, Recipe, RegionTerms
from irmsia.training.starter import RECIPE

IDEAS = "ideas"
COVERAGES = (0.95, 0.97, 0.98, 0.99)
FOLDS = 10
REPEATS = 3
SEED = 2026


@dataclass(frozen=True, slots=True)
class Idea:
    """A change of the recipe, fitted from the present weights, or from none with the whole budget."""

    says: str
    change: dict[str, Any] = field(default_factory=dict)
    whole: bool = False

    def recipe(self) -> Recipe:
        """Return the recipe, of a quarter of the starter's budget unless the idea takes the whole."""
        if self.whole:
            return RECIPE.model_copy(update=self.change)
        quarter = {"epochs": RECIPE.epochs // 4, "cooldown_epochs": 15, "patience": 99, "learning_rate": 1.5e-3}
        return RECIPE.model_copy(update=quarter | self.change)


_STRONG = Augmentation(
    rotation_degrees=20,
    scale=0.3,
    aspect=0.12,
    shift=0.12,
    contrast=0.5,
    brightness=0.4,
    blur=0.3,
    noise=0.3,
    noise_sd=0.25,
)

_CURVES: dict[str, Any] = {"mixup": 0.4, "augmentation": Augmentation(curve=0.5)}

FITTED = {
    "mixup": Idea("mixup within a region", {"mixup": 0.4}),
    "strong": Idea("mixup and stronger augmentation", {"mixup": 0.4, "augmentation": _STRONG}),
    "curves": Idea("mixup and random grey curves", _CURVES),
    "full": Idea("the same from scratch with the whole budget", _CURVES, whole=True),
}


@dataclass(frozen=True, slots=True)
class Held:
    """One network, region and stated coverage by cross-validation within the validation part.

    Attributes:
        idea: or ``base``.
        accepted: share of ACCEPT by rules 7 and 8.
        right: share of right answers among them; null where none is accepted.
        realised: by term, the share of sets that hold the truth.
    """

    idea: str
    region: str
    loss: float
    balanced_accuracy: float
    coverage: float
    accepted: float
    right: float | None
    realised: dict[str, float]


def run_idea(name: str, work: Path) -> None:
    """Fit one idea and print a line an epoch."""
    idea = FITTED[name]
    start = None if idea.whole else work / RUN / BEST
    cases = Cases.load(work / CASES)
    fit(idea.recipe(), cases, work / IDEAS / name / RUN, start=start, report=partial(_print_epoch, name))


def _print_epoch(name: str, event: Step | EpochRecord) -> None:
    if isinstance(event, EpochRecord):
        print(f"{name}  {epoch_line(event)}", file=sys.stderr, flush=True)


def compare(work: Path) -> list[Held]:
    """Return every figure of the base and of each fitted idea."""
    cases = Cases.load(work / CASES)
    runs = {"base": work / RUN} | {name: work / IDEAS / name / RUN for name in FITTED}
    found = []
    for name, folder in runs.items():
        if (folder / BEST).exists():
            found += _measure(name, folder, cases)
    return found


def is_whole(folder: Path, epochs: int) -> bool:
    """Return whether the run in ``folder`` reached its last epoch."""
    with safe_open(folder / CHECKPOINT, framework="np") as file:
        return int(json.loads(file.metadata()["progress"])["epoch"]) >= epochs


def _measure(name: str, folder: Path, cases: Cases) -> Iterator[Held]:
    model = make_model(RECIPE)
    load_weights(folder / BEST, model)
    indices = cases.indices("validation")
    logits = predict(sealed_network(model, RECIPE.size), cases.tensors, indices).logits
    label = name if name == "base" or is_whole(folder, FITTED[name].recipe().epochs) else f"{name} (broken off)"
    for region in RECIPE.regions:
        own = np.array([cases.rows[index].region == region.region for index in indices])
        rows = [cases.rows[index] for index in indices[own]]
        for coverage in COVERAGES if region.region == "chest" else COVERAGES[:1]:
            if region.region != PHANTOM_REGION:
                yield cross_validate(label, region, logits[region.region][own], rows, coverage=coverage)


def cross_validate(
    idea: str, region: RegionTerms, logits: NDArray[np.float64], rows: Sequence[CaseRow], *, coverage: float
) -> Held:
    """Return the figures of ``logits`` (n, K) of the region's validation images ``rows``."""
    truth = np.array([region.terms.index(row.term) for row in rows])
    answers = [
        answer
        for repeat in range(REPEATS)
        for answer in _answers(region, logits, rows, truth=truth, coverage=coverage, repeat=repeat)
    ]
    terms, right, inside, accepted = (np.array(column) for column in zip(*answers, strict=True))
    said = logits.argmax(axis=1) == truth
    return Held(
        idea=idea,
        region=region.region,
        loss=best_temperature_loss(torch.from_numpy(logits), torch.from_numpy(truth)),
        balanced_accuracy=float(np.mean([said[truth == k].mean() for k in range(len(region.terms))])),
        coverage=coverage,
        accepted=float(accepted.mean()),
        right=float(right[accepted].mean()) if accepted.any() else None,
        realised={term: float(inside[terms == k].mean()) for k, term in enumerate(region.terms)},
    )


def _answers(
    region: RegionTerms,
    logits: NDArray[np.float64],
    rows: Sequence[CaseRow],
    *,
    truth: NDArray[np.int64],
    coverage: float,
    repeat: int,
) -> Iterator[tuple[int, bool, bool, bool]]:
    """Yield (true term, right, truth in the set, accepted) of every image, each answered by rules that never saw it."""
    folds = _folds(rows, np.random.default_rng((SEED, repeat)))
    for fold in range(FOLDS):
        known, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        group = fit_group(
            region.region,
            region.terms,
            logits[known],
            targets=truth[known],
            groups=[rows[index].group for index in known],
            keys=[rows[index].frame_sha256 for index in known],
            coverage=coverage,
        )
        for index, chances in zip(held, apply_calibration(logits[held], group.calibration, group.kind), strict=True):
            terms = conformal_terms(group, chances)
            inside = region.terms[truth[index]] in terms
            yield int(truth[index]), bool(chances.argmax() == truth[index]), inside, _is_accepted(group, chances)


def _is_accepted(group: LabelGroup, chances: NDArray[np.float64]) -> bool:
    """Rules 7 and 8 without the tags."""
    terms = conformal_terms(group, chances)
    consistent = is_normal_only(terms) != bool(present_terms(group, chances, terms))
    return len(terms) == 1 and consistent and not is_borderline(group, chances)


def _folds(rows: Sequence[CaseRow], order: np.random.Generator) -> NDArray[np.int64]:
    """Return (n,) fold numbers: a group is whole, a class is spread evenly."""
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row.group, row.term)
    fold: dict[str, int] = {}
    for term in sorted(set(first.values())):
        own = [group for group in first if first[group] == term]
        fold |= {own[index]: position % FOLDS for position, index in enumerate(order.permutation(len(own)))}
    return np.array([fold[row.group] for row in rows])


def make_table(found: Sequence[Held]) -> Table:
    """Return the comparison as a table."""
    columns = (
        "network",
        "region",
        "loss",
        "bal. acc.",
        "coverage",
        "ACCEPT",
        "right among ACCEPT",
        "realised coverage",
    )
    table = Table(*columns, title="validation part, cross-validated by group")
    for held in found:
        right = "-" if held.right is None else f"{held.right:.3f}"
        realised = " ".join(f"{share:.3f}" for share in held.realised.values())
        figures = (f"{held.loss:.3f}", f"{held.balanced_accuracy:.3f}", f"{held.coverage:.2f}", f"{held.accepted:.3f}")
        table.add_row(held.idea, held.region, *figures, right, realised)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the asked command; 0 done, 2 usage."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command == "fit":
        if given.name is None:
            parser.error("fit needs the name of an idea")
        run_idea(given.name, given.work)
        return 0
    found = compare(given.work)
    Console(width=140).print(make_table(found))
    if given.json is not None:
        durable.write_text(given.json, json.dumps([asdict(held) for held in found], indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.ideas", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("fit", "compare"))
    parser.add_argument("name", nargs="?", choices=sorted(FITTED))
    parser.add_argument("--work", type=Path, default=Path("build/starter"), help="as of irmsia.app.train")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
