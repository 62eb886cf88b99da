from __future__ import annotations

import numpy as np
import pytest

from irmsia.errors import InvalidRequestError
from irmsia.findings.fit import fit_group


def draw(count: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits of three classes that stand ``scale`` apart, and their targets."""
    random = np.random.default_rng(4)
    targets = random.integers(0, 3, count)
    return random.normal(0, 1, (count, 3)) + scale * (np.arange(3) == targets[:, None]), targets


TERMS = ("normal", "breast_benign_lesion", "breast_malignant_lesion")


@pytest.mark.parametrize(("scale", "separable"), [(2.0, False), (60.0, True)])
def test_a_group_in_one_call(scale: float, separable: bool) -> None:
    """Overlapping and perfectly separable validation data both give a whole, finite group."""
    logits, targets = draw(120, scale)
    names = [str(row) for row in range(120)]
    group = fit_group("breast", TERMS, logits, targets=targets, groups=names, keys=names)
    assert group.operating_points[0].separable is separable
    assert sum(group.prior) == pytest.approx(1)
    assert sum(group.conformal.n) == 120
    assert group.model_validate_json(group.model_dump_json()) == group


def test_nothing_but_normals_is_a_typed_error() -> None:
    """Without a single abnormal image no operating point can be fixed, and the fit says so."""
    with pytest.raises(InvalidRequestError, match="positives and negatives"):
        fit_group("breast", TERMS, np.zeros((3, 3)), targets=[0, 0, 0], groups=list("abc"), keys=list("abc"))
