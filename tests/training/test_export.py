"""Export: fused and rounded first, then the ONNX graph equals torch; fp16 storage changes nothing."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from irmsia.errors import InternalError
from irmsia.networks.diagnostic import HeadSpec, MultiHeadDiagnosticModel
from irmsia.training.export import ExportedOutputs, export_onnx, fuse_batch_norm, output_names, sealed_network
from tests.training.made import SIZE

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # torch's own exporter


@pytest.fixture(scope="module")
def model() -> MultiHeadDiagnosticModel:
    """Return a network whose norms do something."""
    torch.manual_seed(5)
    made = MultiHeadDiagnosticModel("resnet18d_w8", (HeadSpec("chest", 2), HeadSpec("brain", 3)))
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # fresh norms do nothing, so fusing wrongly would not show
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            module.running_mean = torch.randn_like(module.running_mean) * 0.2
            module.running_var = torch.rand_like(module.running_var) + 0.5
    return made.eval()


@pytest.fixture(scope="module")
def sealed(model: MultiHeadDiagnosticModel) -> MultiHeadDiagnosticModel:
    """Return it fused and rounded."""
    return sealed_network(model, SIZE)


def test_fusing_changes_nothing(model: MultiHeadDiagnosticModel) -> None:
    """Every norm is folded, and the outputs agree within rounding of fp32."""
    images = torch.randn(3, 1, SIZE, SIZE)
    fused = fuse_batch_norm(model, images)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    for before, after in zip(ExportedOutputs(model)(images), ExportedOutputs(fused)(images), strict=True):
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_a_norm_without_convolution_is_refused() -> None:
    """A norm that cannot be folded must not slip through to rounding."""
    lonely = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.BatchNorm2d(1)).eval()
    with pytest.raises(InternalError):
        fuse_batch_norm(lonely, torch.zeros(1, 1, 4, 4))


def test_rounding_moves_probabilities_little(model: MultiHeadDiagnosticModel, sealed: MultiHeadDiagnosticModel) -> None:
    """fp16 weights change a probability by less than 5e-3, and every large weight is an fp16 number."""
    images = torch.randn(4, 1, SIZE, SIZE)
    with torch.no_grad():
        before, after = model(images).router.softmax(1), sealed(images).router.softmax(1)
    assert float((before - after).abs().max()) < 5e-3
    weights = [value for value in sealed.parameters() if value.numel() >= 64]
    assert all(torch.equal(value, value.half().float()) for value in weights)


def test_onnx_equals_torch(sealed: MultiHeadDiagnosticModel) -> None:
    """All named outputs agree within 1e-5 for batches of 1 and 5; weights are stored as fp16; no path is inside."""
    content = export_onnx(sealed, SIZE)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == list(output_names(sealed))
    for count in (1, 5):
        images = torch.randn(count, 1, SIZE, SIZE)
        expected = ExportedOutputs(sealed)(images)
        for got, want in zip(session.run(None, {"image": images.numpy()}), expected, strict=True):
            np.testing.assert_allclose(got, want.detach().numpy(), atol=1e-5)
    weights = sum(value.numel() for value in sealed.parameters())
    assert len(content) < 2 * weights + 120_000
    graph = onnx.load_model_from_string(content).graph
    assert not any(node.metadata_props for node in graph.node)
    assert b".py" not in content


def test_unrounded_network_is_not_exported(model: MultiHeadDiagnosticModel) -> None:
    """Storing as fp16 must never change a weight."""
    with pytest.raises(InternalError, match="fp16"):
        export_onnx(fuse_batch_norm(model, torch.zeros(1, 1, SIZE, SIZE)), SIZE)  # type: ignore[arg-type]
