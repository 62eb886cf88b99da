"""The masked loss: a group learns from its own region's images only."""

import pytest
import torch

from irmsia.training.fit import make_model
from irmsia.training.losses import Truth, group_loss, lesion_loss, multi_task_loss
from tests.training.made import RECIPE

WEIGHTS = {"chest": torch.ones(2), "brain": torch.ones(3)}


def _truth(regions: list[int], terms: list[int], has_lesion: bool = False) -> Truth:
    count = len(regions)
    lesions = torch.zeros(count, 1, 4, 4)
    lesions[:, :, :2, :2] = 1.0
    return Truth(torch.tensor(regions), torch.tensor(terms), lesions, torch.full((count,), has_lesion))


def test_other_groups_get_no_gradient() -> None:
    """A batch of chests alone moves the chest group and leaves the brain group's parameters untouched."""
    model = make_model(RECIPE).eval()
    loss = multi_task_loss(
        model(torch.randn(4, 1, 32, 32)), _truth([0] * 4, [0, 1, 0, 1]), RECIPE, class_weights=WEIGHTS
    )
    loss.backward()
    brain = [value.grad for value in model.groups["brain"].parameters()]
    assert all(grad is None or not grad.any() for grad in brain)
    assert any(value.grad is not None and value.grad.any() for value in model.groups["chest"].parameters())


def test_group_loss_is_that_of_its_own_images() -> None:
    """In a mixed batch the value is 0.3 x router + each group's loss over its own images, computed apart."""
    model = make_model(RECIPE).eval()
    output = model(torch.randn(4, 1, 32, 32))
    truth = _truth([0, 1, 0, 1], [1, 2, 0, 0])
    router = torch.nn.functional.cross_entropy(output.router, truth.regions)
    chest = torch.nn.functional.cross_entropy(output.groups["chest"].logits[[0, 2]], torch.tensor([1, 0]))
    brain = torch.nn.functional.cross_entropy(output.groups["brain"].logits[[1, 3]], torch.tensor([2, 0]))
    value = multi_task_loss(output, truth, RECIPE, class_weights=WEIGHTS)
    torch.testing.assert_close(value, 0.3 * router + chest + brain)


def test_class_weights_balance() -> None:
    """Nine of one class and one of the other count alike with weights of inverse frequency."""
    logits = torch.tensor([[2.0, 0.0]] * 10)
    terms = torch.tensor([0] * 9 + [1])
    weights = torch.tensor([1 / (2 * 0.9), 1 / (2 * 0.1)])
    each = [group_loss(logits[:1], torch.tensor([term]), weights=torch.ones(2)) for term in (0, 1)]
    assert float(group_loss(logits, terms, weights=weights)) == pytest.approx(float(sum(each)) / 2)


def test_lesion_loss_falls_when_attention_rests_inside() -> None:
    """Attention within the lesion costs less than attention outside; without masks the loss is 0."""
    model = make_model(RECIPE).eval()
    output = model(torch.randn(2, 1, 32, 32))
    truth = _truth([1, 1], [1, 2], has_lesion=True)
    inside, outside = torch.full((2, 3, 2, 2), -9.0), torch.full((2, 3, 2, 2), -9.0)
    inside[..., 0, 0] = 0.0
    outside[..., 1, 1] = 0.0

    def loss_with(attention: torch.Tensor) -> float:
        brain = output.groups["brain"]._replace(log_attention=attention.flatten(2).log_softmax(2).unflatten(2, (2, 2)))
        loss = lesion_loss(output._replace(groups={**output.groups, "brain": brain}), truth, RECIPE)
        return float(loss.detach())

    assert loss_with(inside) < loss_with(outside) - 0.5
    assert lesion_loss(output, _truth([1, 1], [1, 2]), RECIPE).item() == 0.0
