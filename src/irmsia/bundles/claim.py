"""The CLAIM checklist of a bundle, filled from its manifest: what cannot be filled is said to be missing.

Checklist for Artificial Intelligence in Medical Imaging, 2024 update (Radiology: Artificial Intelligence 6, 2024), its
44 items in this project's words. A maker's statement on an item goes before what the manifest tells by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from irmsia import DISCLAIMER
from irmsia.bundles.manifest import ManifestFields

MISSING = "Not stated by the maker."

Fill = Callable[[ManifestFields], str | None]


def claim_rows(fields: ManifestFields) -> Iterator[tuple[str, str, str]]:
    """(number, what is asked for, what this bundle says) of every item."""
    for number, (asked, fill) in enumerate(_ITEMS, start=1):
        stated = fields.statements.get(str(number))
        derived = None if fill is None else fill(fields)
        yield str(number), asked, stated or derived or MISSING


def _title(fields: ManifestFields) -> str:
    return f"This card: {fields.name} {fields.version}, a deep-learning network for {fields.task}."


def _preprocessing(fields: ManifestFields) -> str:
    spec = fields.preprocessing
    size, channels = spec.resize.size, spec.channels
    return (
        f"One specification for training and serving, in the manifest: {channels} channel(s), {size} x {size} pixels."
    )


def _parts(fields: ManifestFields) -> str | None:
    parts = dict.fromkeys(row.part for row in fields.how_made.parts)
    counts = [
        f"{sum(row.images for row in fields.how_made.parts if row.part == part):,} images for {part}" for part in parts
    ]
    return f"{', '.join(counts)}; by term and with their groups under Data." if counts else None


def _disjoint(fields: ManifestFields) -> str:
    return "Patient, or cluster of near-duplicates where no patient is known: no group is in two parts."


def _model(fields: ManifestFields) -> str:
    made = fields.how_made
    return f"{made.architecture}, {made.parameters:,} parameters; the ONNX graph is in the bundle."


def _software(fields: ManifestFields) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(fields.how_made.libraries.items()))
    return f"{fields.how_made.software}; {versions}."


def _initialisation(fields: ManifestFields) -> str:
    return f"From scratch, random with seed {fields.how_made.seed}."


def _training(fields: ManifestFields) -> str:
    return f"{fields.how_made.samples_seen:,} samples seen; data digest and seed under Data and How it was made."


def _metrics(fields: ManifestFields) -> str | None:
    names = dict.fromkeys(metric.name for metric in fields.metrics)
    return f"Under Measured: {', '.join(names)}." if names else None


def _uncertainty(fields: ManifestFields) -> str | None:
    if not fields.metrics:
        return None
    return (
        "95 % intervals by patient or cluster beside every figure; no test of significance, since nothing is compared."
    )


def _internal(fields: ManifestFields) -> str | None:
    tested = [metric.n for metric in fields.metrics if metric.part == "test"]
    return f"A sealed test part of the same sources, at most {max(tested):,} images a figure." if tested else None


def _external(fields: ManifestFields) -> str:
    outside = [metric for metric in fields.metrics if metric.part == "external"]
    return "Figures of part `external` under Measured." if outside else "None: no figure holds for another hospital."


def _performance(fields: ManifestFields) -> str | None:
    return "Under Measured." if fields.metrics else None


def _limitations(fields: ManifestFields) -> str | None:
    return "Under Limitations." if fields.limitations else None


_ITEMS: tuple[tuple[str, Fill | None], ...] = (
    ("title that names the kind of AI", _title),
    ("structured summary", lambda fields: "Purpose, Data, Measured and Limitations of this card."),
    ("background and intended clinical role", lambda fields: f"{DISCLAIMER} See Intended use."),
    ("aims and hypotheses", None),
    ("prospective or retrospective", None),
    ("goal of the study", None),
    ("sources of the data", None),
    ("which images were taken and which not", None),
    ("preprocessing", _preprocessing),
    ("choice of parts of the data", None),
    ("de-identification", None),
    ("missing data", None),
    ("how the images were acquired", None),
    ("definition of the reference standard", None),
    ("why this reference standard", None),
    ("who made the reference standard", None),
    ("annotation of the test part", None),
    ("variation between and within readers", None),
    ("how parts were assigned", _parts),
    ("level at which parts are disjoint", _disjoint),
    ("intended size of the test part", None),
    ("the model", _model),
    ("software", _software),
    ("initial weights", _initialisation),
    ("training", _training),
    ("choice of the final model", None),
    ("ensembles", None),
    ("measures of performance", _metrics),
    ("uncertainty and significance", _uncertainty),
    ("robustness", None),
    ("explanations", None),
    ("testing on internal data", _internal),
    ("testing on external data", _external),
    ("registration of a trial", lambda fields: "None: this is no clinical trial."),
    ("numbers included and excluded", _parts),
    ("who the patients of each part are", None),
    ("performance with uncertainty", _performance),
    ("diagnostic accuracy and its precision", _performance),
    ("analysis of failures", None),
    ("limitations", _limitations),
    ("implications for practice", lambda fields: f"None. {DISCLAIMER}"),
    ("protocol", None),
    ("availability of software, model and data", lambda fields: f"Licence of the weights: {fields.licence}."),
    ("funding", None),
)
