"""All that one label group needs, fitted from validation logits in one call."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from irmsia.findings.arrays import Kind, to_matrix
from irmsia.findings.calibration import apply_calibration, class_ratio, fit_calibration
from irmsia.findings.conformal import COVERAGE, fit_conformal
from irmsia.findings.operating import fit_operating_points
from irmsia.findings.rules import LabelGroup


def fit_group(
    region: str,
    terms: Sequence[str],
    logits: ArrayLike,
    *,
    targets: ArrayLike,
    groups: Sequence[str],
    keys: Sequence[str],
    kind: Kind = "exclusive",
    coverage: float = COVERAGE,
) -> LabelGroup:
    """Calibration, prior, operating points and conformal quantiles of ``region`` from validation ``logits`` (N, K).

    ``targets``: (N,) indices into ``terms`` for an exclusive group, (N, K) of 0 and 1 for an independent one.
    ``groups``: the patient or cluster of each image; ``keys``: its digest. All four are fitted on the same images, so
    the coverage is nominal; what it comes to is measured on the test part. Raises `InvalidRequestError`.
    """
    matrix = to_matrix(logits, "logits", columns=len(terms))
    calibration = fit_calibration(matrix, targets, kind)
    probabilities = apply_calibration(matrix, calibration, kind)
    return LabelGroup(
        region=region,
        kind=kind,
        terms=tuple(terms),
        calibration=calibration,
        prior=class_ratio(targets, kind, len(terms)),
        operating_points=fit_operating_points(probabilities, targets, terms, kind),
        conformal=fit_conformal(
            probabilities, targets, terms=terms, groups=groups, keys=keys, kind=kind, coverage=coverage
        ),
    )
