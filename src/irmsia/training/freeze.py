"""Freezes on validation data all that turns outputs into verdicts: calibration, thresholds, conformal, refusal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irmsia.findings.fit import fit_group
from irmsia.findings.fit_refusal import StatisticPlan, fit_refusal_scores, fit_refusal_thresholds
from irmsia.findings.refusal import RefusalScores
from irmsia.findings.rules import IntendedUse, LabelGroup, ModelRules
from irmsia.training.cases import CaseRow
from irmsia.training.predict import Predictions
from irmsia.training.recipe import Recipe, RegionTerms

REFUSAL_FILE = "refusal.safetensors"

_GRID_COMPONENTS = 64


@dataclass(frozen=True, slots=True)
class Frozen:
    """Rules for the manifest and the parameters of the refusal scores."""

    rules: ModelRules
    scorer: RefusalScores


@dataclass(frozen=True, slots=True)
class PartOutputs:
    """Outputs of one part's cases, row by row."""

    rows: Sequence[CaseRow]
    predictions: Predictions

    def own(self, region: str) -> NDArray[np.int64]:
        """Return the positions of a region's rows."""
        return np.array([index for index, row in enumerate(self.rows) if row.region == region], dtype=np.int64)


def freeze(
    recipe: Recipe,
    train: PartOutputs,
    validation: PartOutputs,
    *,
    slices: dict[str, tuple[int, int]],
    intended_use: tuple[IntendedUse, ...],
) -> Frozen:
    """Return everything that is fixed on validation data.

    Args:
        recipe: names regions and terms.
        train: the refusal statistics' centres and spreads come from it, nothing else does.
        validation: thresholds and calibration come from it, at its natural class ratio.
        slices: of the network's ``statistics`` output, by name.
        intended_use: rows of rule 4.
    """
    scorer = fit_refusal_scores(
        train.predictions.statistics, [row.region for row in train.rows], statistic_plans(slices)
    )
    router, refusal = fit_refusal_thresholds(
        validation.predictions.router,
        validation.predictions.statistics,
        [row.region for row in validation.rows],
        scorer=scorer,
        router_regions=recipe.region_names(),
        file=REFUSAL_FILE,
    )
    groups = tuple(_group(region, validation) for region in recipe.regions)
    return Frozen(ModelRules(router=router, groups=groups, refusal=refusal, intended_use=intended_use), scorer)


def statistic_plans(slices: dict[str, tuple[int, int]]) -> tuple[StatisticPlan, ...]:
    """Return how each slice is scored: means and spreads by distance, the rest by what sees how things lie.

    That is the head that was fitted on made-up foreign images, or, without one, the grid of means. The fewer scores
    share the budget of false refusals, the more each can spend.
    """
    spread = StatisticPlan("mean_std", *slices["mean_std"], method="mahalanobis")
    if "foreign" in slices:
        return spread, StatisticPlan("foreign", *slices["foreign"], method="mahalanobis")
    return spread, StatisticPlan("grid", *slices["grid"], method="pca_residual", components=_GRID_COMPONENTS)


def _group(region: RegionTerms, validation: PartOutputs) -> LabelGroup:
    own = validation.own(region.region)
    rows = [validation.rows[index] for index in own]
    return fit_group(
        region.region,
        region.terms,
        validation.predictions.logits[region.region][own],
        targets=np.array([region.terms.index(row.term) for row in rows]),
        groups=[row.group for row in rows],
        keys=[row.frame_sha256 for row in rows],
        coverage=region.coverage,
    )
