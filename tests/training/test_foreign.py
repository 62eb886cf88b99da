"""Made-up foreign images and the head that learns from them."""

from pathlib import Path

import pytest
import torch

from irmsia.training.fit import make_model
from irmsia.training.fit_foreign import fit_foreign
from irmsia.training.foreign import FAMILIES
from irmsia.training.recipe import ForeignRecipe
from tests.training.made import RECIPE, SIZE, make_cases


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_changes_images_and_repeats(family: str) -> None:
    """Same shape, finite, another picture than the own one, and the same again from the same seed."""
    images = torch.randn(4, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).cumsum(dim=3) / 4
    made = FAMILIES[family](images, torch.Generator().manual_seed(2))
    assert made.shape == images.shape
    assert bool(torch.isfinite(made).all())
    assert float((made - images).abs().mean()) > 0.05
    assert torch.equal(made, FAMILIES[family](images, torch.Generator().manual_seed(2)))


def test_the_head_learns_and_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    """Its loss falls below that of guessing, the network keeps every bit, and its score becomes one more statistic."""
    cases, model = make_cases(tmp_path / "cases"), make_model(RECIPE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses: list[float] = []
    settings = ForeignRecipe(steps=60, own=4, families=6, learning_rate=1e-2, warmup_steps=5)
    head = fit_foreign(model, cases, RECIPE, settings, report=lambda step, loss: losses.append(loss))
    assert sum(losses[-10:]) / 10 < 0.5
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    plain = model(torch.zeros(2, 1, SIZE, SIZE)).statistics
    model.foreign = head
    joined = model(torch.zeros(2, 1, SIZE, SIZE)).statistics
    assert joined.shape == (2, plain.shape[1] + 1)
    assert model.statistic_slices()["foreign"] == (plain.shape[1], plain.shape[1] + 1)
    assert bool((joined[:, -1] >= 0).all())
