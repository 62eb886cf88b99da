"""The bundle's network in torch again, from the weights in its ONNX file: what needs gradients or eager torch uses it.

Needs the ``train`` extra. Ask `is_available` first where torch may be absent.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from irmsia.bundles.load import Bundle
from irmsia.errors import InternalError

if TYPE_CHECKING:
    from irmsia.networks.diagnostic import MultiHeadDiagnosticModel

NEEDED = "needs torch: pip install -e '.[train]'"

_PREFIX = "model."
_HALF = ".fp16"
_TRAINING_AID = "lesion."


def is_available() -> bool:
    """Whether torch and timm are installed."""
    return find_spec("torch") is not None and find_spec("timm") is not None


def stored_weights(model: bytes) -> dict[str, NDArray[np.float32]]:
    """Return the weights of the bundle's ONNX file by the name of the torch parameter, as float32."""
    weights = {}
    for tensor in onnx.load_model_from_string(model).graph.initializer:
        if tensor.name.startswith(_PREFIX):
            name = tensor.name.removeprefix(_PREFIX).removesuffix(_HALF)
            weights[name] = numpy_helper.to_array(tensor).astype(np.float32)
    return weights


def torch_network(bundle: Bundle) -> MultiHeadDiagnosticModel:
    """Return the network in evaluation mode at fp32, its batch norms fused as in the bundle.

    The lesion aid's head is not in a bundle: its output stays zero.

    Raises:
        InternalError: the bundle's weights are not those of the architecture that its manifest names.
    """
    import torch

    from irmsia.networks.diagnostic import HeadSpec, MultiHeadDiagnosticModel
    from irmsia.training.export import fuse_batch_norm
    from irmsia.training.fit_foreign import make_foreign_head

    manifest = bundle.manifest
    by_region = {group.region: group for group in manifest.rules.groups}
    heads = tuple(HeadSpec(region, len(by_region[region].terms)) for region in manifest.rules.router.regions)
    size = manifest.preprocessing.resize.size
    raw = MultiHeadDiagnosticModel(manifest.how_made.architecture, heads)
    weights = stored_weights(bundle.model())
    if any(name.startswith("foreign.") for name in weights):
        raw.foreign = make_foreign_head(raw, size)
    network = fuse_batch_norm(raw, torch.zeros(1, 1, size, size))
    wanted = network.state_dict()
    stored = {name: values for name, values in weights.items() if name in wanted}
    state = {name: torch.from_numpy(values.copy()) for name, values in stored.items()}
    aid = {name: torch.zeros_like(value) for name, value in wanted.items() if name.startswith(_TRAINING_AID)}
    try:
        network.load_state_dict(state | aid)
    except RuntimeError as error:
        raise InternalError("the bundle's weights are not those of the architecture it names") from error
    if not isinstance(network, MultiHeadDiagnosticModel):
        raise InternalError("fusing changed the network's type")
    return network.eval()
