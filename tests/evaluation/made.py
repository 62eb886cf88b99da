"""Predictions made for tests, with truth that is known to agree with the probabilities."""

from __future__ import annotations

import numpy as np

from irmsia.evaluation.answered import AnsweredImage, Predictions, make_predictions

TERMS = ("normal", "glioma", "meningioma")


def make_images(count: int, *, seed: int = 0, a_group: int = 2, terms: tuple[str, ...] = TERMS) -> list[AnsweredImage]:
    """Images whose truth is drawn from their own probabilities: a calibrated model. ``a_group`` images a group."""
    noise = np.random.default_rng(seed)
    powers = np.exp(2 * noise.normal(size=(count, len(terms))))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    drawn = (noise.random((count, 1)) > np.cumsum(probabilities, axis=1)).sum(axis=1).clip(max=len(terms) - 1)
    return [
        AnsweredImage(
            region="brain",
            term=terms[drawn[row]],
            group=f"g{row // a_group}",
            probabilities=dict(zip(terms, probabilities[row].tolist(), strict=True)),
            id=f"i{row}",
            routed="brain" if row % 17 else "chest",
            decision=("ACCEPT", "REFER", "ACCEPT", "REFUSE")[row % 4],
            reason=(None, "AMBIGUOUS", None, "OUT_OF_DISTRIBUTION")[row % 4],
            present=bool(probabilities[row, 0] < 0.5),
            conformal_set=tuple(term for term, p in zip(terms, probabilities[row], strict=True) if p > 0.1),
        )
        for row in range(count)
    ]


def make_table(count: int, *, seed: int = 0, a_group: int = 2, terms: tuple[str, ...] = TERMS) -> Predictions:
    """`make_images` as columns."""
    return make_predictions(make_images(count, seed=seed, a_group=a_group, terms=terms))
