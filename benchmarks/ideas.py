"""Ideas for a better starter, each at a quarter of its budget, compared on the validation part alone.

    python -m benchmarks.ideas fit NAME --data DIR --work WORK      one idea: 20 epochs that go on from WORK's network
    python -m benchmarks.ideas compare --work WORK                  the table; the sealed part is not opened

An idea that was fitted leaves ``WORK/ideas/NAME/run``; one that was broken off goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from irmsia.app.train import CASES, RUN, SEALED, epoch_line, prepare
from irmsia.training.cases import Cases
from irmsia.training.checkpoint import EpochRecord
from irmsia.training.fit import BEST, Step, fit
from irmsia.training.recipe import Augmentation, Recipe
from irmsia.training.starter import RECIPE

IDEAS = "ideas"


@dataclass(frozen=True, slots=True)
class Idea:
    """A change of the recipe, fitted from the present weights."""

    says: str
    change: dict[str, Any] = field(default_factory=dict)

    def recipe(self) -> Recipe:
        """Return the recipe of a quarter of the starter's budget."""
        quarter = {"epochs": RECIPE.epochs // 4, "cooldown_epochs": 15, "patience": 99, "learning_rate": 1.5e-3}
        return RECIPE.model_copy(update=quarter | self.change)


_STRONG = Augmentation(
    rotation_degrees=20, scale=0.3, aspect=0.12, shift=0.12, contrast=0.5, brightness=0.4, blur=0.3, noise=0.3, noise_sd=0.25
)

FITTED = {
    "mixup": Idea("mixup within a region", {"mixup": 0.4}),
    "strong": Idea("mixup and stronger augmentation", {"mixup": 0.4, "augmentation": _STRONG}),
    "curves": Idea("mixup and random grey curves", {"mixup": 0.4, "augmentation": Augmentation(curve=0.5)}),
    "slow": Idea("a fifth of the rate, no label smoothing", {"learning_rate": 6e-4, "label_smoothing": 0.0}),
}


def cases_of(work: Path, size: int, data: Path | None) -> Cases:
    """Return the cases of this size; those of another size than the starter's are made once, with the same parts."""
    folder = work if size == RECIPE.size else work / IDEAS / f"at{size}"
    if not (folder / CASES / "table.json").exists() and data is not None:
        prepare(data, folder, recipe=RECIPE.model_copy(update={"size": size}), committed=work / SEALED)
    return Cases.load(folder / CASES)


def run_idea(name: str, data: Path, work: Path) -> None:
    """Fit one idea and print a line an epoch."""
    recipe = FITTED[name].recipe()
    report = partial(_print_epoch, name)
    cases = cases_of(work, recipe.size, data)
    fit(recipe, cases, work / IDEAS / name / RUN, start=work / RUN / BEST, report=report)


def _print_epoch(name: str, event: Step | EpochRecord) -> None:
    if isinstance(event, EpochRecord):
        print(f"{name}  {epoch_line(event)}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the asked command; 0 done."""
    given = _parser().parse_args(arguments)
    run_idea(given.name, given.data, given.work)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.ideas", description=__doc__)
    parser.add_argument("command", choices=("fit", "compare"))
    parser.add_argument("name", nargs="?", choices=sorted(FITTED))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("build/starter"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
