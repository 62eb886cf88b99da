"""The figures that a classification bundle is judged by, from answered images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irmsia.evaluation.bootstrap import Estimate, group_bootstrap
from irmsia.evaluation.metrics import accuracy, auroc, balanced_accuracy, recall, share

NORMAL = "normal"


@dataclass(frozen=True, slots=True)
class AnsweredImage:
    """One image with its truth and what the model answered.

    Attributes:
        region: true region.
        term: true term.
        group: patient or cluster.
        routed: the router's largest region.
        probabilities: calibrated, of the true region's terms.
        decision: ACCEPT, REFER or REFUSE.
        reason: of a decision other than ACCEPT.
        present: whether an abnormal term was PRESENT; False on REFUSE.
    """

    region: str
    term: str
    group: str
    routed: str
    probabilities: dict[str, float]
    decision: str
    reason: str | None
    present: bool

    def said(self) -> str:
        """Return the most probable term."""
        return max(self.probabilities, key=lambda term: self.probabilities[term])


@dataclass(frozen=True, slots=True)
class Figure:
    """A named estimate."""

    name: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class _Table:
    """Answered images as columns, so that a thousand draws cost little: all (n,), ``probabilities`` by term."""

    terms: tuple[str, ...]
    truth: NDArray[np.str_]
    said: NDArray[np.str_]
    decision: NDArray[np.str_]
    routed: NDArray[np.bool_]
    present: NDArray[np.bool_]
    probabilities: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, images: Sequence[AnsweredImage]) -> "_Table":
        terms = tuple(images[0].probabilities)
        shared = [term for term in terms if all(term in image.probabilities for image in images)]
        return cls(
            terms=terms,
            truth=np.array([image.term for image in images]),
            said=np.array([image.said() for image in images]),
            decision=np.array([image.decision for image in images]),
            routed=np.array([image.routed == image.region for image in images]),
            present=np.array([image.present for image in images]),
            probabilities={term: np.array([image.probabilities[term] for image in images]) for term in shared},
        )

    def take(self, chosen: NDArray[np.int64]) -> "_Table":
        return _Table(
            terms=self.terms,
            truth=self.truth[chosen],
            said=self.said[chosen],
            decision=self.decision[chosen],
            routed=self.routed[chosen],
            present=self.present[chosen],
            probabilities={term: values[chosen] for term, values in self.probabilities.items()},
        )


Metric = Callable[[_Table], float]


def measure(images: Sequence[AnsweredImage], *, seed: int = 0) -> list[Figure]:
    """Return every figure of every region, with intervals by patient or cluster."""
    figures = _figures("", images, {"router accuracy": lambda table: share(table.routed)}, seed)
    for region in dict.fromkeys(image.region for image in images):
        own = [image for image in images if image.region == region]
        figures += _figures(f"{region} ", own, _metrics(tuple(own[0].probabilities)), seed)
    return figures


def _figures(prefix: str, images: Sequence[AnsweredImage], metrics: dict[str, Metric], seed: int) -> list[Figure]:
    table, groups = _Table.of(images), [image.group for image in images]
    return [
        Figure(
            f"{prefix}{name}",
            group_bootstrap(groups, lambda chosen, metric=metric: metric(table.take(chosen)), seed=seed),  # type: ignore[misc]
        )
        for name, metric in metrics.items()
    ]


def _metrics(terms: tuple[str, ...]) -> dict[str, Metric]:
    """Return the metrics that suit a region's terms."""
    metrics: dict[str, Metric] = {f"{term} AUROC": _auroc_of(term) for term in terms if term != NORMAL}
    metrics["balanced accuracy"] = lambda table: balanced_accuracy(table.truth, table.said)
    metrics["accuracy"] = lambda table: accuracy(table.truth, table.said)
    metrics |= {f"{term} recall": _recall_of(term) for term in terms}
    metrics |= {"sensitivity": _sensitivity, "specificity": _specificity}
    metrics |= {f"{decision} share": _share_of(decision) for decision in ("ACCEPT", "REFER", "REFUSE")}
    metrics["right among ACCEPT"] = _right_among_accepted
    return metrics


def _right_among_accepted(table: _Table) -> float:
    """Of the accepted images, the share whose most probable term is the truth; NaN where none is accepted."""
    return share((table.said == table.truth)[table.decision == "ACCEPT"])


def _auroc_of(term: str) -> Metric:
    return lambda table: auroc(table.truth == term, table.probabilities[term])


def _recall_of(term: str) -> Metric:
    return lambda table: recall(table.truth, table.said, term)


def _share_of(decision: str) -> Metric:
    return lambda table: share(table.decision == decision)


def _sensitivity(table: _Table) -> float:
    """At the operating point, among answered (not refused) abnormal images."""
    return share(table.present[(table.decision != "REFUSE") & (table.truth != NORMAL)])


def _specificity(table: _Table) -> float:
    """At the operating point, among answered (not refused) normal images."""
    return share(~table.present[(table.decision != "REFUSE") & (table.truth == NORMAL)])
