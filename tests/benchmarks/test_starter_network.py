"""The network rebuilt in torch from the bundle answers as it is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.grad_cam import GradCam
from benchmarks.starter_network import torch_network
from benchmarks.study import open_study
from irmsia.bundles.store import STARTER
from irmsia.imaging.phantoms import qa_set


def test_rebuilt_logits_and_maps_are_the_served_ones(tmp_path: Path) -> None:
    """On phantoms, every region's logits and maps agree within 1e-3 of a logit; so do those beside Grad-CAM."""
    study = open_study(tmp_path, STARTER)
    network = torch_network(study.bundle)
    tensor = study.judge.judge(qa_set()[1].data).prepared.tensor
    served = study.judge.infer(tensor[None])
    with torch.no_grad():
        rebuilt = network(torch.from_numpy(tensor)[None])
    np.testing.assert_allclose(rebuilt.router.numpy(), served["router"], atol=1e-3)
    for region, pooled in rebuilt.groups.items():
        np.testing.assert_allclose(pooled.logits.numpy(), served[f"logits_{region}"], atol=1e-3)
        np.testing.assert_allclose(pooled.maps.numpy(), served[f"maps_{region}"], atol=1e-3)
    cells, logits = GradCam(network)(tensor, "phantom", 1)
    assert cells.shape == served["maps_phantom"].shape[2:]
    np.testing.assert_allclose(logits, served["logits_phantom"][0], atol=1e-3)
