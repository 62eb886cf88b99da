"""What a bundle fixes about its answers: label groups, calibration, thresholds, intended use. Part of the manifest.

All of it is fixed on validation data when the bundle is built and never touched again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from irmsia.findings.vocabulary import NORMAL, PHANTOM_REGION, has_term

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Rules(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Calibration(_Rules):
    """p = softmax(logits / temperature + bias), or the sigmoid for independent groups. ``bias``: one a term."""

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    bias: tuple[Finite, ...]


class OperatingPoint(_Rules):
    """Two thresholds fixed on validation (contract section 2). Referral band: [low, high], empty where separable."""

    low: Probability
    high: Probability
    point: Probability
    separable: bool


class Conformal(_Rules):
    """Split-conformal quantiles of the score 1 - p(true), one a term of `conformal_space`.

    A term is in the set when 1 - p <= quantile. ``pooled``: the term's class had too few groups for a quantile of its
    own; ``n``: the groups it had.
    """

    coverage: Probability
    quantiles: tuple[Probability, ...]
    pooled: tuple[bool, ...]
    n: tuple[int, ...]


class LabelGroup(_Rules):
    """The terms one region's head answers, in the order of its logits."""

    region: str
    kind: Literal["exclusive", "independent"]
    terms: tuple[str, ...]
    calibration: Calibration
    prior: tuple[Probability, ...]
    operating_points: tuple[OperatingPoint, ...]
    """One on p(abnormal) for an exclusive group, one a term for an independent group."""
    conformal: Conformal

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = len(self.terms)
        exclusive = self.kind == "exclusive"
        _require(count >= (2 if exclusive else 1), f"group {self.region!r} has too few terms")
        _require(len(set(self.terms)) == count, f"group {self.region!r} names a term twice")
        unknown = [term for term in self.terms if not has_term(term)]
        _require(not unknown, f"group {self.region!r} has terms outside the vocabulary: {unknown}")
        _require((NORMAL in self.terms) == exclusive, f"{NORMAL!r} is a term of every exclusive group and of no other")
        _require(len(self.calibration.bias) == len(self.prior) == count, "bias and prior need one entry a term")
        _require(
            len(self.operating_points) == (1 if exclusive else count),
            "operating points: one for an exclusive group, one a term for an independent group",
        )
        space = len(conformal_space(self.terms, self.kind))
        lengths = {len(self.conformal.quantiles), len(self.conformal.pooled), len(self.conformal.n)}
        _require(lengths == {space}, f"conformal quantiles of group {self.region!r} need {space} entries")
        return self


def conformal_space(terms: Sequence[str], kind: Literal["exclusive", "independent"]) -> tuple[str, ...]:
    """What a conformal set is made of: the terms, and for an independent group ``normal`` (no finding) after them."""
    return (*terms, NORMAL) if kind == "independent" else tuple(terms)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


class Router(_Rules):
    """One softmax over ``regions``; refused below ``threshold`` (rule 5)."""

    regions: tuple[str, ...]
    threshold: Probability

    @model_validator(mode="after")
    def _check(self) -> Self:
        _require(len(set(self.regions)) == len(self.regions), "the router names a region twice")
        return self


class Statistic(_Rules):
    """One feature statistic: a slice [start, stop) of the network's ``statistics`` and its threshold a region."""

    name: str
    start: Annotated[int, Field(ge=0)]
    stop: int
    thresholds: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _require(self.stop > self.start, f"statistic {self.name!r} is an empty slice")
        return self


class RefusalShare(_Rules):
    """What rules 5 and 6 together refuse of one region's ``n`` validation images.

    ``refused`` counts all of them: ``misrouted`` (to another region or to phantom), below the router's threshold
    (``router``) and beyond the threshold of a feature statistic (``features``); one image may count in several.
    """

    n: int
    refused: int
    misrouted: int
    router: int
    features: int


class Refusal(_Rules):
    """Feature statistics of rule 6. ``file`` (safetensors, in the bundle) holds the parameters of each score."""

    file: str
    statistics: tuple[Statistic, ...]
    validation: dict[str, RefusalShare] = Field(default_factory=dict)


class IntendedUse(_Rules):
    """One row of rule 4. Ages in years, both ends included; null means any."""

    modalities: tuple[str, ...]
    region: str
    age_min: float | None = None
    age_max: float | None = None


class ModelRules(_Rules):
    """Everything that turns network outputs into a verdict."""

    router: Router
    groups: tuple[LabelGroup, ...]
    refusal: Refusal
    intended_use: tuple[IntendedUse, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        regions = [group.region for group in self.groups]
        _require(sorted(regions) == sorted(self.router.regions), "one label group for every region of the router")
        names = [statistic.name for statistic in self.refusal.statistics]
        _require(len(set(names)) == len(names), "a refusal statistic is named twice")
        judged = {region for region in regions if region != PHANTOM_REGION}
        for statistic in self.refusal.statistics:
            missing = sorted(judged - set(statistic.thresholds))
            _require(not missing, f"statistic {statistic.name!r} has no threshold for {missing}")
        return self

    def group(self, region: str) -> LabelGroup:
        """The label group of ``region``; KeyError when there is none."""
        for group in self.groups:
            if group.region == region:
                return group
        raise KeyError(region)
