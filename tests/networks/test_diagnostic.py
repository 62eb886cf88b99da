"""The multi-head network: maps explain the logits exactly, outputs have the promised shapes."""

import pytest
import torch

from irmsia.errors import InvalidRequestError
from irmsia.networks.attention_pooling import AttentionPooling
from irmsia.networks.catalogue import BACKBONES, get_backbone, make_backbone
from irmsia.networks.diagnostic import HeadSpec, MultiHeadDiagnosticModel, feature_statistics

HEADS = (HeadSpec("chest", 2), HeadSpec("brain", 4))


@pytest.fixture
def model() -> MultiHeadDiagnosticModel:
    """Return a small network whose attention is not equal everywhere."""
    torch.manual_seed(3)
    made = MultiHeadDiagnosticModel("resnet18d_w8", HEADS).eval()
    for pooling in made.groups.values():  # equal attention would hide a wrong product
        torch.nn.init.normal_(pooling.attention.weight)
        torch.nn.init.normal_(pooling.bias)
    return made


def test_map_sums_to_logit_minus_bias(model: MultiHeadDiagnosticModel) -> None:
    """The contribution map of every term sums to its logit minus its bias within 1e-4."""
    output = model(torch.randn(3, 1, 64, 64))
    for region, pooled in output.groups.items():
        bias = model.groups[region].bias
        torch.testing.assert_close(pooled.maps.sum((2, 3)), pooled.logits - bias, atol=1e-4, rtol=0)
        assert pooled.maps.std() > 0


def test_attention_weights_sum_to_one(model: MultiHeadDiagnosticModel) -> None:
    """Attention is a distribution over places, for every term."""
    pooled = model(torch.randn(2, 1, 64, 64)).groups["brain"]
    torch.testing.assert_close(pooled.log_attention.exp().sum((2, 3)), torch.ones(2, 4))


def test_output_shapes_and_slices(model: MultiHeadDiagnosticModel) -> None:
    """One router logit a head, one logit a term, maps at stride 16, statistics tiled by the named slices."""
    output = model(torch.randn(2, 1, 96, 96))
    assert output.router.shape == (2, 2)
    assert {region: tuple(pooled.maps.shape) for region, pooled in output.groups.items()} == {
        "chest": (2, 2, 6, 6),
        "brain": (2, 4, 6, 6),
    }
    slices = sorted(model.statistic_slices().values())
    assert slices[0][0] == 0
    assert slices[0][1] == slices[1][0]
    assert slices[1][1] == output.statistics.shape[1]


def test_each_image_is_answered_alone(model: MultiHeadDiagnosticModel) -> None:
    """A batch gives what each image gives by itself."""
    images = torch.randn(3, 1, 64, 64)
    together = model(images)
    for index in range(3):
        alone = model(images[index : index + 1])
        torch.testing.assert_close(alone.router[0], together.router[index], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.statistics[0], together.statistics[index], atol=1e-5, rtol=1e-4)


def test_pooling_starts_as_the_mean() -> None:
    """Before training all places count alike: the logit is the linear score of the mean feature."""
    pooling = AttentionPooling(5, 3)
    features = torch.randn(2, 5, 4, 4)
    expected = torch.einsum("nc,kc->nk", features.mean((2, 3)), pooling.value.weight.flatten(1))
    torch.testing.assert_close(pooling(features).logits, expected, atol=1e-5, rtol=1e-4)


def test_statistics_see_a_turned_image() -> None:
    """Means and spreads are blind to rotation, the coarse grid is not."""
    level = torch.rand(1, 4, 12, 12)
    plain, turned = feature_statistics(level)[0], feature_statistics(level.rot90(1, (2, 3)))[0]
    torch.testing.assert_close(plain[:8], turned[:8])
    assert not torch.allclose(plain[8:], turned[8:])


def test_grid_cells_are_local_means() -> None:
    """Each of the 3 x 3 cells is the mean of its own part of the level, row by row."""
    level = torch.zeros(1, 1, 6, 6)
    level[0, 0, 2:4, 4:6] = 1.0
    grid = feature_statistics(level)[0, 2:]
    assert grid.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("name", [row.name for row in BACKBONES])
def test_every_backbone_keeps_its_promise(name: str) -> None:
    """Each row gives an early level at stride 8 and a last one at stride 16, within 7 million parameters."""
    module, (early, last) = make_backbone(name)
    shapes = [tuple(level.shape) for level in module.eval()(torch.zeros(1, 1, 64, 64))]
    assert shapes == [(1, early, 8, 8), (1, last, 4, 4)]
    assert sum(value.numel() for value in module.parameters()) <= 7_000_000


def test_backbone_names_are_unique_and_unknown_ones_refused() -> None:
    """A name stands for one row; another name is a clear error that lists the known ones."""
    names = [row.name for row in BACKBONES]
    assert len(set(names)) == len(names)
    with pytest.raises(InvalidRequestError, match="resnet10t"):
        get_backbone("nonesuch")
