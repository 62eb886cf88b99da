"""The trainer: learns, checkpoints, and a resumed run equals an unbroken one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from irmsia.errors import InvalidRequestError
from irmsia.training.checkpoint import EpochRecord
from irmsia.training.fit import BEST, CHECKPOINT, Trainer, fit, learning_rate
from irmsia.training.sampling import class_weights, epoch_batches, make_pools
from tests.training.made import RECIPE, make_cases


class _Broken(Exception):
    pass


def _break_after(epoch: int):  # type: ignore[no-untyped-def]
    def report(event: object) -> None:
        if isinstance(event, EpochRecord) and event.epoch == epoch + 1:
            raise _Broken

    return report


def test_resumed_run_equals_unbroken_run(tmp_path: Path) -> None:
    """Killed in its second epoch and started again, a training ends with bit-equal weights, average and history."""
    cases = make_cases(tmp_path / "cases")
    whole = fit(RECIPE, cases, tmp_path / "whole")
    with pytest.raises(_Broken):
        fit(RECIPE, cases, tmp_path / "broken", report=_break_after(1))
    resumed = fit(RECIPE, cases, tmp_path / "broken")
    one, two = load_file(tmp_path / "whole" / CHECKPOINT), load_file(tmp_path / "broken" / CHECKPOINT)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [record.validation_loss for record in resumed.history] == [
        record.validation_loss for record in whole.history
    ]


def test_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    """Going on with other numbers would make a run that no recipe describes."""
    cases = make_cases(tmp_path / "cases")
    fit(RECIPE.model_copy(update={"epochs": 1}), cases, tmp_path / "run")
    with pytest.raises(InvalidRequestError, match="another recipe"):
        fit(RECIPE.model_copy(update={"learning_rate": 1e-4}), cases, tmp_path / "run")


def test_training_learns(tmp_path: Path) -> None:
    """Ten short epochs on separable discs bring the validation loss well below that of guessing."""
    cases = make_cases(tmp_path / "cases")
    recipe = RECIPE.model_copy(update={"epochs": 10, "steps_per_epoch": 12, "ema_decay": 0.9, "learning_rate": 5e-3})
    progress = fit(recipe, cases, tmp_path / "run")
    guessing = (np.log(2) + np.log(3)) / 2
    assert progress.best_loss < 0.5 * guessing
    assert (tmp_path / "run" / BEST).exists()


def test_patience_stops_early(tmp_path: Path) -> None:
    """When the validation loss no longer falls the training ends before its last epoch."""
    trainer = Trainer(RECIPE.model_copy(update={"patience": 2}), make_cases(tmp_path / "cases"))
    trainer.progress.best_epoch, trainer.progress.epoch = 3, 4
    assert not trainer.out_of_patience()
    trainer.progress.epoch = 5
    assert trainer.out_of_patience()


def test_learning_rate_warms_up_and_decays() -> None:
    """It rises over the warm-up, stays, and falls over the cool-down to near 1 %."""
    rates = [learning_rate(RECIPE, step) for step in range(12)]
    assert rates[0] < rates[1]
    assert rates[1:5] == [RECIPE.learning_rate] * 4
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.06 * RECIPE.learning_rate


def test_run_can_be_lengthened(tmp_path: Path) -> None:
    """A finished run goes on from its checkpoint when the recipe asks for more epochs."""
    cases = make_cases(tmp_path / "cases")
    fit(RECIPE.model_copy(update={"epochs": 1}), cases, tmp_path / "run")
    assert fit(RECIPE.model_copy(update={"epochs": 2}), cases, tmp_path / "run").epoch == 2


def test_batches_repeat_and_keep_shares(tmp_path: Path) -> None:
    """An epoch's batches depend on seed and epoch alone, come from training cases only, and follow the shares."""
    cases = make_cases(tmp_path / "cases")
    recipe = RECIPE.model_copy(update={"steps_per_epoch": 200})
    pools = make_pools(cases, recipe)
    first = np.concatenate(list(epoch_batches(pools, recipe, 0)))
    assert np.array_equal(first, np.concatenate(list(epoch_batches(pools, recipe, 0))))
    assert not np.array_equal(first, np.concatenate(list(epoch_batches(pools, recipe, 1))))
    rows = [cases.rows[index] for index in first]
    assert {row.part for row in rows} == {"train"}
    assert np.mean([row.region == "chest" for row in rows]) == pytest.approx(0.5, abs=0.04)


def test_class_weights_undo_what_sampling_leaves(tmp_path: Path) -> None:
    """Share drawn times weight is the same for every class of a group."""
    cases = make_cases(tmp_path / "cases")
    pools = {tuple(pool.indices): pool.share for pool in make_pools(cases, RECIPE)}
    weights = class_weights(cases, RECIPE)["brain"]
    drawn = [pools[tuple(cases.indices("train", "brain", term))] for term in RECIPE.regions[1].terms]
    products = [share * float(weight) for share, weight in zip(drawn, weights, strict=True)]
    assert products == pytest.approx([products[0]] * 3)


def test_training_leaves_the_processor_as_it_was(tmp_path: Path) -> None:
    """Subnormal numbers are numbers again after a fit: the rest of the process computes as before."""
    fit(RECIPE.model_copy(update={"epochs": 1}), make_cases(tmp_path / "cases"), tmp_path / "run")
    assert float(np.float64(5e-324) * 1.0) > 0.0
