"""One wrong bit in a weight of the packaged network is caught on every runtime, behind the digests that come first."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from benchmarks.bitflips import MUST, Proof, bit_names, flip_largest, make_proof, weight_names
from irmsia.bundles.load import load_bundle, open_bundle
from irmsia.bundles.read import read_folder
from irmsia.bundles.signing import read_trust
from irmsia.bundles.store import STARTER
from irmsia.errors import BundleRejectedError
from irmsia.inference.runtimes.registry import runtime_names

PHANTOMS = 4
LAYERS = (
    "model.backbone.conv1.0.weight.fp16",
    "model.backbone.layer1.1.conv2.weight.fp16",
    "model.backbone.layer2.0.downsample.1.weight.fp16",
    "model.backbone.layer4.0.conv1.weight.fp16",
    "model.router.value.weight.fp16",
    "model.groups.phantom.value.weight.fp16",
    "model.groups.phantom.bias",
)
"""One of each kind; `benchmarks.bitflips` sweeps all of them, every bit."""


@pytest.fixture(scope="module")
def proof() -> Proof:
    """Return the packaged starter with four of its golden phantoms, read once."""
    return make_proof(load_bundle(STARTER, read_trust(None)), PHANTOMS)


@pytest.mark.parametrize("runtime", runtime_names())
def test_the_untouched_network_passes(proof: Proof, runtime: str) -> None:
    """What the next tests catch is the bit, nothing else."""
    assert proof.count == PHANTOMS
    assert not proof.sees(proof.bundle.model(), runtime)


@pytest.mark.parametrize("runtime", runtime_names())
@pytest.mark.parametrize("layer", LAYERS)
def test_a_sign_or_exponent_bit_is_caught(proof: Proof, layer: str, runtime: str) -> None:
    """In memory, after every digest was checked: four phantoms see it in each kind of layer."""
    network = proof.bundle.model()
    for label in MUST:
        flipped = flip_largest(network, layer, bit_names(network, layer).index(label))
        assert flipped is None or proof.sees(flipped, runtime), label


def test_a_flip_changes_one_bit_of_one_weight() -> None:
    """The instrument itself: one word differs, in one bit, where the largest weight stands."""
    network = (STARTER / "models/model.onnx").read_bytes()
    layer = LAYERS[0]
    flipped = flip_largest(network, layer, 0)
    assert flipped is not None
    before, after = (_words(data, layer) for data in (network, flipped))
    (place,) = np.flatnonzero(before != after)
    assert before[place] ^ after[place] == 1 << 15
    assert place == np.abs(before.view(np.float16)).argmax()
    for other in weight_names(network)[1:4]:
        np.testing.assert_array_equal(_words(network, other), _words(flipped, other))


def _words(network: bytes, name: str) -> np.ndarray:
    graph = onnx.load_model_from_string(network).graph
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(tensor).reshape(-1)
    return values.view(np.uint16 if values.dtype == np.float16 else np.uint32)


@pytest.mark.parametrize("place", [0.001, 0.3, 0.999])
@pytest.mark.parametrize("bit", [0, 4, 7])
def test_any_bit_of_the_file_is_caught_by_its_digest(place: float, bit: int) -> None:
    """The lowest mantissa bits, which no golden record can see, never reach a runtime from a file."""
    files = dict(read_folder(STARTER))
    network = bytearray(files["models/model.onnx"])
    network[int(place * len(network))] ^= 1 << bit
    with pytest.raises(BundleRejectedError, match="not the file that was signed"):
        open_bundle(files | {"models/model.onnx": bytes(network)}, read_trust(None))
