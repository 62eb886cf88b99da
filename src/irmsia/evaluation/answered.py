"""What is judged: images with their truth and what somebody, a bundle or a foreign model, said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import InvalidRequestError
from irmsia.evaluation.resampling import Mask
from irmsia.findings.arrays import Array
from irmsia.findings.types import Decision
from irmsia.findings.vocabulary import NORMAL

SUM_TOLERANCE = 1e-3
"""How far the probabilities of one image may sum from 1."""


@dataclass(frozen=True, slots=True)
class AnsweredImage:
    """One image with its truth and what was answered. What nobody said is null.

    Attributes:
        region: true region.
        term: true term.
        group: patient or cluster.
        probabilities: calibrated, of the true region's terms, also on a refusal.
        id: names the image in the output.
        routed: the region that the model found.
        decision: ACCEPT, REFER or REFUSE.
        reason: of a decision other than ACCEPT.
        present: whether an abnormal term was PRESENT; False on REFUSE.
        conformal_set: of the true region's terms.
    """

    region: str
    term: str
    group: str
    probabilities: dict[str, float]
    id: str = ""
    routed: str | None = None
    decision: str | None = None
    reason: str | None = None
    present: bool | None = None
    conformal_set: tuple[str, ...] | None = None

    def said(self) -> str:
        """Return the most probable term."""
        return max(self.probabilities, key=lambda term: self.probabilities[term])


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answered images of one region as columns.

    Attributes:
        region: of all images.
        terms: (K,) in the order of the probabilities; one of them holds for each image.
        groups: (n,) patients or clusters.
        truth: (n,) index of the true term.
        probabilities: (n, K), rows sum to 1.
        routed: (n,) whether the region was found, null where nobody routed.
        decisions: (n,) `Decision`, null where nobody decided.
        present: (n,) whether an abnormal term was PRESENT, null where nobody said.
        sets: (n, K) conformal sets, null where there are none.
    """

    region: str
    terms: tuple[str, ...]
    groups: tuple[str, ...]
    truth: NDArray[np.int64]
    probabilities: Array
    routed: Mask | None = None
    decisions: NDArray[np.str_] | None = None
    present: Mask | None = None
    sets: Mask | None = None

    @property
    def said(self) -> NDArray[np.int64]:
        """(n,) index of the most probable term; of equal ones the first."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def abnormal(self) -> Array | None:
        """(n,) 1 - p(normal); null where no term is ``normal``."""
        return 1.0 - self.probabilities[:, self.terms.index(NORMAL)] if NORMAL in self.terms else None

    @property
    def diseased(self) -> Mask | None:
        """(n,) whether the truth is another term than ``normal``; null where no term is."""
        return self.truth != self.terms.index(NORMAL) if NORMAL in self.terms else None


def split_by_region(images: Sequence[AnsweredImage]) -> list[Predictions]:
    """The images of each region as columns, regions in order of appearance.

    Raises:
        InvalidRequestError: what `make_predictions` finds.
    """
    regions: dict[str, list[AnsweredImage]] = {}
    for image in images:
        regions.setdefault(image.region, []).append(image)
    return [make_predictions(own) for own in regions.values()]


def make_predictions(images: Sequence[AnsweredImage]) -> Predictions:
    """Answered images of one region as columns.

    Raises:
        InvalidRequestError: probabilities of other terms than the first image's, not within 0..1 or not of sum 1; a
            truth that is no term; fewer than two terms; a column that only some images fill.
    """
    terms = tuple(images[0].probabilities)
    _check(images, terms)
    probabilities = np.array([[image.probabilities[term] for term in terms] for image in images], dtype=np.float64)
    _check_probabilities(probabilities)
    sets, decisions = _column(images, "conformal_set"), _column(images, "decision")
    routed, present = _column(images, "routed"), _column(images, "present")
    return Predictions(
        region=images[0].region,
        terms=terms,
        groups=tuple(image.group for image in images),
        truth=np.array([terms.index(image.term) for image in images], dtype=np.int64),
        probabilities=probabilities,
        routed=None if routed is None else np.array(routed) == images[0].region,
        decisions=None if decisions is None else np.array([Decision(decision).value for decision in decisions]),
        present=None if present is None else np.array(present, dtype=bool),
        sets=None if sets is None else np.array([[term in held for term in terms] for held in sets], dtype=np.bool_),
    )


def _check(images: Sequence[AnsweredImage], terms: tuple[str, ...]) -> None:
    if len(terms) < 2:
        raise InvalidRequestError("probabilities of at least two terms are needed: one of them holds for each image")
    for row, image in enumerate(images, start=1):
        if set(image.probabilities) != set(terms):
            raise InvalidRequestError(f"image {row} of its region has probabilities of other terms than the first")
        if image.term not in terms:
            raise InvalidRequestError(f"the truth of image {row} of its region is none of the terms")
        if not set(image.conformal_set or ()) <= set(terms):
            raise InvalidRequestError(f"the set of image {row} of its region holds something that is none of the terms")


def _check_probabilities(probabilities: Array) -> None:
    inside = ((probabilities >= 0) & (probabilities <= 1)).all(axis=1)  # a NaN is not inside
    good = inside & (np.abs(np.nan_to_num(probabilities).sum(axis=1) - 1) <= SUM_TOLERANCE)
    if not good.all():
        row = int(np.argmin(good)) + 1
        raise InvalidRequestError(f"the probabilities of image {row} of its region are not within 0..1 with sum 1")


def _column(images: Sequence[AnsweredImage], name: str) -> list[Any] | None:
    """One field of every image, null where no image has it."""
    values = [getattr(image, name) for image in images]
    missing = sum(value is None for value in values)
    if missing == len(values):
        return None
    if missing:
        raise InvalidRequestError(f"{name} is there for some images of a region and not for {missing} others")
    return values
