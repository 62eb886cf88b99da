"""How far shortcuts alone get, beside the network: ``python -m benchmarks.shortcuts --data DIR``.

Probes (logistic regression, random forest) see a file's size, bytes, borders or header, never the picture's content.
Which of the two is reported is chosen by grouped cross-validation on training and validation; it is then fitted on both
and asked once about the sealed part, beside the network. Needs scikit-learn (the ``dev`` extra).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.shortcut_features import Features, shortcut_features
from benchmarks.study import SEED, Bounds, Page, Study, Table, bar, bounds_of, parts_of, run_study
from irmsia.datasets.samples import STARTER_SOURCES, Sample
from irmsia.datasets.split import Part, group_key
from irmsia.evaluation.metrics import auroc
from irmsia.findings.calibration import apply_calibration

COMMAND = ".venv/bin/python -m benchmarks.shortcuts --data ../shared/data --write docs/results/shortcuts.md"
SETS = ("size", "bytes", "size and bytes", "borders", "metadata", "all of these")
_JOINED = {"size and bytes": ("size", "bytes"), "all of these": ("size", "bytes", "borders", "metadata")}
_FOLDS = 5

Matrix = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Target:
    """A question with two answers: is the term of an image of ``region`` one of ``positive``?"""

    name: str
    region: str
    positive: tuple[str, ...]


TARGETS = (
    Target("chest: pneumonia against normal", "chest", ("pneumonia",)),
    Target("brain: any tumour against normal", "brain", ("glioma", "meningioma", "pituitary_tumor")),
    Target("breast: malignant against the rest", "breast", ("breast_malignant_lesion",)),
)


@dataclass(frozen=True)
class Probed:
    """One image: what a probe sees of it, its part, and its file for the network."""

    sample: Sample
    part: Part
    features: Features

    @property
    def group(self) -> str:
        """Patient or cluster."""
        return group_key(self.sample)


def matrix_of(images: Sequence[Probed], name: str) -> Matrix:
    """Return (n, d) features of one set of `SETS`."""
    return np.stack([np.concatenate([one.features[part] for part in _JOINED.get(name, (name,))]) for one in images])


def make_probes() -> dict[str, Callable[[], Any]]:
    """Return makers of the two probes, with fixed seeds."""
    return {
        "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        "random forest": lambda: RandomForestClassifier(200, min_samples_leaf=3, random_state=SEED),
    }


def cross_validate(features: Matrix, truth: NDArray[Any], groups: Sequence[str], make: Callable[[], Any]) -> Matrix:
    """Return (n, classes) probabilities of images that the fitted probe has not seen, nor another of their group."""
    classes = np.unique(truth)
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=SEED)
    out = np.zeros((len(truth), len(classes)))
    for fitted, left in folds.split(features, truth, groups):
        probe = make().fit(features[fitted], truth[fitted])
        out[np.ix_(left, np.searchsorted(classes, probe.classes_))] = probe.predict_proba(features[left])
    return out


def shuffle_by_group(truth: Flags, groups: Sequence[str]) -> Flags:
    """Return labels that whole groups have drawn from each other: what is left to learn is the protocol's own leak."""
    names = list(dict.fromkeys(groups))
    first = {name: truth[list(groups).index(name)] for name in names}
    drawn = np.random.default_rng(SEED).permutation([first[name] for name in names])
    given = dict(zip(names, drawn, strict=True))
    return np.array([given[group] for group in groups])


def auroc_of(truth: Flags, score: Matrix, groups: Sequence[str]) -> Bounds:
    """AUROC with its interval by group."""
    return bounds_of(groups, lambda chosen: auroc(truth[chosen], score[chosen]))


def gain_of(truth: Flags, network: Matrix, probe: Matrix, groups: Sequence[str]) -> Bounds:
    """AUROC of the network less that of the probe, on the same images, resampled together."""
    return bounds_of(groups, lambda chosen: auroc(truth[chosen], network[chosen]) - auroc(truth[chosen], probe[chosen]))


def probe_target(target: Target, images: Sequence[Probed], network: dict[str, float]) -> Table:
    """Return the table of one question."""
    own = [one for one in images if one.sample.region == target.region]
    seen, sealed = [one for one in own if one.part != "test"], [one for one in own if one.part == "test"]
    truth, unseen = (np.array([one.sample.term in target.positive for one in part]) for part in (seen, sealed))
    groups, sealed_groups = [one.group for one in seen], [one.group for one in sealed]
    scores = np.array([network[one.sample.path] for one in sealed])
    table = Table(
        target.name,
        ("looks at", "probe", "AUROC, cross-validated", "AUROC, sealed part", "network less probe"),
        note=f"Network on the sealed part: AUROC {auroc_of(unseen, scores, sealed_groups)}, {len(sealed)} images, "
        f"{len(set(sealed_groups))} groups; probes fitted on {len(seen)} images of {len(set(groups))} groups.",
    )
    for name in SETS:
        features, asked = matrix_of(seen, name), matrix_of(sealed, name)
        best, inner = _best(features, truth, groups)
        said = make_probes()[best]().fit(features, truth).predict_proba(asked)[:, 1]
        outer = auroc_of(unseen, said, sealed_groups)
        table.rows.append((name, best, inner, outer, gain_of(unseen, scores, said, sealed_groups)))
    table.rows.append(_shuffled_row(seen, truth, groups))
    return table


def _best(features: Matrix, truth: Flags, groups: Sequence[str]) -> tuple[str, Bounds]:
    """The probe of greater cross-validated AUROC."""
    scores = {name: cross_validate(features, truth, groups, make)[:, 1] for name, make in make_probes().items()}
    best = max(scores, key=lambda name: auroc(truth, scores[name]))
    return best, auroc_of(truth, scores[best], groups)


def _shuffled_row(seen: Sequence[Probed], truth: Flags, groups: Sequence[str]) -> tuple[object, ...]:
    labels = shuffle_by_group(truth, groups)
    make = make_probes()["random forest"]
    score = cross_validate(matrix_of(seen, "all of these"), labels, groups, make)[:, 1]
    return "all of these, labels shuffled", "random forest", auroc_of(labels, score, groups), "-", "-"


def probe_source(images: Sequence[Probed]) -> Table:
    """Return how well the collection that an image comes from is told (macro AUROC and accuracy, three sources)."""
    table = Table(
        "The source: which of the three collections",
        ("looks at", "AUROC, sealed part", "right, sealed part"),
        note="Each region is one collection, so whoever tells the source tells the region: the router's score says "
        "little about regions of other sources.",
    )
    seen, sealed = [one for one in images if one.part != "test"], [one for one in images if one.part == "test"]
    truth, unseen = (np.array([one.sample.source for one in part]) for part in (seen, sealed))
    groups = [one.group for one in sealed]
    for name in SETS:
        probe = make_probes()["random forest"]().fit(matrix_of(seen, name), truth)
        chances = probe.predict_proba(matrix_of(sealed, name))
        right = probe.classes_[chances.argmax(axis=1)] == unseen
        table.rows.append((name, _macro(unseen, chances, groups), bounds_of(groups, lambda c, r=right: r[c].mean())))
    return table


def _macro(truth: NDArray[np.str_], chances: Matrix, groups: Sequence[str]) -> Bounds:
    """Mean over the sources of the AUROC of each against the others."""
    kinds = [truth == name for name in np.unique(truth)]
    return bounds_of(
        groups,
        lambda chosen: float(np.mean([auroc(is_it[chosen], chances[chosen, k]) for k, is_it in enumerate(kinds)])),
    )


def network_scores(study: Study, images: Sequence[Probed]) -> dict[str, float]:
    """Return the network's calibrated probability of each sealed image's question, refused or not, by path."""
    found = {}
    for one in bar([one for one in images if one.part == "test"], "network"):
        target = next(target for target in TARGETS if target.region == one.sample.region)
        outputs = study.judge.judge((study.data / one.sample.path).read_bytes()).outputs
        group = study.judge.rules.group(target.region)
        chances = apply_calibration(outputs.logits[target.region], group.calibration, group.kind)
        found[one.sample.path] = float(sum(chances[group.terms.index(term)] for term in target.positive))
    return found


def measure(study: Study) -> Page:
    """Probe everything and lay out the page."""
    listed = parts_of(study, STARTER_SOURCES)
    images = [
        Probed(sample, part, shortcut_features((study.data / sample.path).read_bytes()))
        for sample, part in bar(listed, "files")
    ]
    opened = study.open_sealed()
    network = network_scores(study, images)
    return Page(
        title="Shortcuts: what file size, borders and headers tell without the picture",
        command=COMMAND,
        bundle=study.bundle.id,
        intro=(
            "A score means what it adds to these. Intervals are 95 %, over patients (chest) or near-duplicate clusters "
            "(brain, breast). Of the network, the calibrated probability is taken, refused or not."
        ),
        tables=[*(probe_target(target, images, network) for target in TARGETS), probe_source(images)],
        notes=[
            "The files are copies of the published ones, resized and written again; the originals' sizes and headers "
            "tell more.",
            "The network sees the aspect (as padding) and the borders, not the bytes and headers.",
            "Brain: normal and tumour slices come from different sources and sequences, so whatever tells the source "
            "tells the label; no figure of this table can part the two.",
            "Labels shuffled by whole groups: what cross-validation then finds is its own leak, .5 means none.",
            opened,
        ],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study."""
    return run_study(measure, name="shortcuts", says=__doc__, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
