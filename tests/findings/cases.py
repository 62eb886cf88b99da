"""A small rule set in the shape of the starter's, and outputs that give wanted probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from irmsia.findings.decision import NetworkOutputs
from irmsia.findings.refusal import Mahalanobis, RefusalScores
from irmsia.findings.rules import (
    Calibration,
    Conformal,
    IntendedUse,
    LabelGroup,
    ModelRules,
    OperatingPoint,
    Refusal,
    Router,
    Statistic,
)

REGIONS = ("chest", "brain", "breast", "phantom")
TERMS = {
    "chest": ("normal", "pneumonia"),
    "brain": ("normal", "glioma", "meningioma", "pituitary_tumor"),
    "breast": ("normal", "breast_benign_lesion", "breast_malignant_lesion"),
    "phantom": ("normal", "phantom_lesion_bright", "phantom_lesion_dark"),
}
BAND = OperatingPoint(low=0.4, high=0.6, point=0.5, separable=False)


def make_group(
    region: str, *, point: OperatingPoint = BAND, quantile: float = 0.3, kind: str = "exclusive", **changes: Any
) -> LabelGroup:
    """A group with T = 1 and no bias; a term is in the set when p >= 1 - ``quantile``."""
    terms: tuple[str, ...] = changes.pop("terms", TERMS.get(region, ()))
    size = len(terms)
    space = size + (kind == "independent")
    fields: dict[str, Any] = {
        "region": region,
        "kind": kind,
        "terms": terms,
        "calibration": Calibration(temperature=1, bias=(0.0,) * size),
        "prior": (1 / size,) * size,
        "operating_points": (point,) * (size if kind == "independent" else 1),
        "conformal": Conformal(coverage=0.95, quantiles=(quantile,) * space, pooled=(False,) * space, n=(40,) * space),
    }
    return LabelGroup(**(fields | changes))


def make_rules(**changes: Any) -> ModelRules:
    """The rules of a starter: four regions, two statistics over slices [0, 2) and [2, 3), thresholds 2."""
    limits = {region: 2.0 for region in REGIONS if region != "phantom"}
    fields: dict[str, Any] = {
        "router": Router(regions=REGIONS, threshold=0.8),
        "groups": tuple(make_group(region) for region in REGIONS),
        "refusal": Refusal(
            file="refusal.safetensors",
            statistics=(
                Statistic(name="early", start=0, stop=2, thresholds=limits),
                Statistic(name="grid", start=2, stop=3, thresholds=limits),
            ),
        ),
        "intended_use": (
            IntendedUse(modalities=("CR", "DX"), region="chest", age_min=0, age_max=17),
            IntendedUse(modalities=("MR",), region="brain"),
            IntendedUse(modalities=("US",), region="breast"),
        ),
    }
    return ModelRules(**(fields | changes))


def make_scorer() -> RefusalScores:
    """Scores that are the root mean square of the slice itself, for every region but phantom."""
    sizes = {"early": 2, "grid": 1}
    return RefusalScores(
        slices={"early": (0, 2), "grid": (2, 3)},
        scores={
            (name, region): Mahalanobis(np.zeros(size), np.eye(size, dtype=np.float32))
            for name, size in sizes.items()
            for region in REGIONS
            if region != "phantom"
        },
    )


def to_logits(probabilities: tuple[float, ...]) -> np.ndarray:
    """Logits whose softmax is ``probabilities``."""
    return np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), 1e-300))


def make_outputs(
    region: str,
    probabilities: tuple[float, ...],
    *,
    certainty: float = 0.94,
    statistics: tuple[float, ...] = (0.5, 0.5, 0.5),
) -> NetworkOutputs:
    """Outputs routed to ``region`` with ``certainty`` whose head gives ``probabilities``; other heads are even."""
    rest = (1 - certainty) / (len(REGIONS) - 1)
    logits = {name: np.zeros(len(terms)) for name, terms in TERMS.items()}
    logits[region] = to_logits(probabilities)
    return NetworkOutputs(
        router=to_logits(tuple(certainty if name == region else rest for name in REGIONS)),
        logits=logits,
        statistics=np.asarray(statistics, dtype=np.float64),
    )
