"""Trains, freezes, seals and packs the starter: ``python -m irmsia.app.train --data DIR`` (``make starter``).

Three stages, each can be run alone: ``prepare`` (groups, split, sealed list, cases), ``fit`` (goes on from its
checkpoint) and ``build`` (calibration and thresholds on validation, export, golden records, sealed test, bundle).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from irmsia import durable
from irmsia.app.build import CASES, FINISH_RUN, FOREIGN, RUN, build_bundle, fitted_model
from irmsia.bundles.signing import PACKAGE_KEYS, machine_key, make_key, public_pem
from irmsia.bundles.store import STARTER
from irmsia.datasets.grouping import group_samples
from irmsia.datasets.parts import list_sources, part_groups
from irmsia.datasets.samples import Sample
from irmsia.datasets.scan import ScannedSample, copies_of_sealed, scan_sample, sealed_row
from irmsia.datasets.sealed import read_sealed, write_sealed
from irmsia.datasets.split import Part, group_key
from irmsia.errors import InvalidRequestError, IrmsiaError
from irmsia.imaging.phantoms import FIRST_TRAINING_SEED, Phantom, make_phantom
from irmsia.imaging.read import read_image
from irmsia.settings.limits import ReadLimits
from irmsia.settings.tree import Settings
from irmsia.training.cases import Cases, write_cases
from irmsia.training.checkpoint import EpochRecord, save_weights
from irmsia.training.fit import BEST, Step, fit
from irmsia.training.fit_foreign import fit_foreign
from irmsia.training.prepare import make_case, make_phantom_case
from irmsia.training.recipe import ForeignRecipe, Plan, Recipe
from irmsia.training.starter import PHANTOMS, PLAN, starter_spec

SEALED = "sealed.jsonl"

_read = partial(read_image, limits=ReadLimits())


def prepare(data: Path, work: Path, *, recipe: Recipe, committed: Path | None, drop_sealed: bool = False) -> None:
    """Group, split and seal the samples, then write every case's tensor.

    Args:
        data: folder of the collected sets.
        work: where the sealed list and the cases go.
        recipe: gives the tensor's size and the seed of the split.
        committed: a sealed list whose groups stay in the test part; only new data may add to it.
        drop_sealed: leave out copies of sealed images that stand under another group instead of stopping at them.

    Raises:
        InvalidRequestError: the data hold such copies; they would be learnt from and then be asked in the test.
    """
    work.mkdir(parents=True, exist_ok=True)
    listed = list_sources(data)
    scanned = {sample.path: scan_sample(sample, data, _read) for sample in listed}
    samples = group_samples(listed, lambda sample: scanned[sample.path].picture)
    sealed = read_sealed(committed) if committed is not None else ()
    copies = copies_of_sealed(samples, scanned, sealed)
    if copies and not drop_sealed:
        names = ", ".join(sample.path for sample in copies[:10])
        raise InvalidRequestError(f"{len(copies)} copies of sealed images (--drop-sealed leaves them out): {names}")
    samples = [sample for sample in samples if sample not in copies]
    parts = part_groups(samples, sealed, seed=recipe.seed)
    _seal(work / SEALED, samples, parts, scanned)
    spec = starter_spec(recipe.size)
    cases = [
        *(partial(make_case, sample, parts[group_key(sample)], data=data, spec=spec, read=_read) for sample in samples),
        *(partial(make_phantom_case, phantom(), part, spec=spec, read=_read) for part, phantom in training_phantoms()),
    ]
    write_cases(work / CASES, (case() for case in cases), count=len(cases), size=recipe.size)


def training_phantoms() -> list[tuple[Part, Callable[[], Phantom]]]:
    """Return (part, maker) of the training's phantoms: every kind with every lesion, each seed once."""
    parts: list[Part] = [part for part in ("train", "validation", "test") for _ in range(PHANTOMS[part])]
    return [(part, partial(make_phantom, FIRST_TRAINING_SEED + number)) for number, part in enumerate(parts)]


def train(work: Path, plan: Plan) -> None:
    """Fit the network on prepared cases, go on as the plan says, then fit the head that looks for foreign images."""
    fit_network(work, plan.base, work / RUN)
    if plan.finish is not None:
        fit_network(work, plan.finish, work / FINISH_RUN, start=work / RUN / BEST)
    if plan.foreign is not None:
        _fit_foreign(work, plan, plan.foreign)


def fit_network(work: Path, recipe: Recipe, folder: Path, *, start: Path | None = None) -> None:
    """Fit with a progress bar and a line an epoch; ``folder`` gets the checkpoint and the best weights."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=recipe.epochs * recipe.steps_per_epoch)

        def report(event: Step | EpochRecord) -> None:
            if isinstance(event, Step):
                done = (event.epoch - 1) * recipe.steps_per_epoch + event.step
                progress.update(task, completed=done)
            else:
                progress.console.print(epoch_line(event))

        fit(recipe, Cases.load(work / CASES), folder, start=start, report=report)


def _fit_foreign(work: Path, plan: Plan, settings: ForeignRecipe) -> None:
    model = fitted_model(work, plan.model_copy(update={"foreign": None}))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("foreign images", total=settings.steps)
        head = fit_foreign(
            model,
            Cases.load(work / CASES),
            plan.base,
            settings,
            report=lambda step, loss: progress.update(task, completed=step),
        )
    save_weights(work / FOREIGN, head)


def build(work: Path, data: Path, out: Path, *, plan: Plan) -> str:
    """Build the bundle at ``out`` and return its id.

    A release of the packaged starter makes a new pair of keys, keeps the public half in the package and throws the
    private half away; any other bundle is signed by this machine's key.
    """
    home = Settings().home
    if out.resolve() != STARTER.resolve():
        return build_bundle(work, data, out, plan=plan, key=machine_key(home), home=home)
    key = make_key()
    identity = build_bundle(work, data, out, plan=plan, key=key, home=home)
    durable.write_bytes(PACKAGE_KEYS / f"{STARTER.name}.pub", public_pem(key))
    return identity


def epoch_line(record: EpochRecord) -> str:
    """Return one line of the learning curve."""
    return (
        f"epoch {record.epoch:3d}  train {record.train_loss:.4f}  "
        f"validation {record.validation_loss:.4f}  {record.seconds:.0f} s"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the asked stages; 0 done, 1 failed."""
    given = _parser().parse_args(arguments)
    plan = PLAN if given.epochs is None else PLAN.model_copy(update={"base": _lasting(given.epochs)})
    try:
        if given.stage in ("all", "prepare"):
            committed = given.out / SEALED
            listed = committed if committed.exists() else None
            prepare(given.data, given.work, recipe=plan.base, committed=listed, drop_sealed=given.drop_sealed)
        if given.stage in ("all", "fit"):
            train(given.work, plan)
        if given.stage in ("all", "build"):
            print(build(given.work, given.data, given.out, plan=plan))
    except IrmsiaError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 1
    return 0


def _lasting(epochs: int) -> Recipe:
    return PLAN.base.model_copy(update={"epochs": epochs})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="irmsia.app.train", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the collected sets")
    parser.add_argument("--work", type=Path, default=Path("build/starter"), help="cases and checkpoints")
    parser.add_argument("--out", type=Path, default=STARTER, help="the bundle's folder (the packaged starter)")
    parser.add_argument("--epochs", type=int, help="other than the recipe's, for a shorter or longer run")
    parser.add_argument("--drop-sealed", action="store_true", help="leave out copies of sealed images, else stop")
    parser.add_argument("--stage", choices=("all", "prepare", "fit", "build"), default="all")
    return parser


def _seal(path: Path, samples: Sequence[Sample], parts: dict[str, Part], scanned: dict[str, ScannedSample]) -> None:
    """Write the sealed list before anything is learnt."""
    tested = [sample for sample in samples if parts[group_key(sample)] == "test"]
    rows = [sealed_row(replace(scanned[sample.path], sample=sample), sample.group) for sample in tested]
    write_sealed(path, rows)


if __name__ == "__main__":
    sys.exit(main())
