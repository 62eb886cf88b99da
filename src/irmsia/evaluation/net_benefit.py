"""Decision curves: what acting on a probability is worth at each threshold.

(Vickers and Elkin, Med. Decis. Making 26, 2006.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from irmsia.evaluation.resampling import Mask
from irmsia.findings.arrays import Array

THRESHOLDS = np.arange(1, 100) / 100


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit by threshold, each (T,): of acting on the model, of acting on everybody; on nobody it is 0.

    True positives less false positives weighed by the odds of the threshold, a share of all images. It holds at the
    prevalence of these images only.
    """

    threshold: Array
    model: Array
    everybody: Array


def decision_curve(event: Mask, probability: Array) -> DecisionCurve:
    """Of acting where ``probability`` (n,) reaches the threshold, for thresholds of .01 to .99."""
    odds = THRESHOLDS / (1 - THRESHOLDS)
    acted = probability[None] >= THRESHOLDS[:, None]
    true, false = (acted & event).mean(axis=1), (acted & ~event).mean(axis=1)
    prevalence = event.mean()
    return DecisionCurve(
        threshold=THRESHOLDS, model=true - odds * false, everybody=prevalence - odds * (1 - prevalence)
    )
