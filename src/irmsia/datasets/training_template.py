"""The training configuration of an organised dataset: a commented YAML file, filled from ``training_config.yaml``."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

from irmsia.datasets.anomalies import ANOMALIES
from irmsia.datasets.organise import is_labelled, labelled_share
from irmsia.datasets.record import Record

_SIZES = (128, 160, 192, 224)
_SIDED = frozenset({"chest", "abdomen", "cardiac"})
_MOSTLY_LABELLED, _HARDLY_LABELLED = 0.8, 0.2


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What the configuration says of the dataset as a whole."""

    name: str
    state: str
    root: str
    seed: int


@dataclass(frozen=True, slots=True)
class _Policy:
    """How much of the classifier and how much of the autoencoder, by the share of labelled images."""

    epochs: int
    autoencoder_epochs: int
    fine_tune_epochs: int
    weights: str
    policy: str


def training_config(facts: DatasetFacts, records: Sequence[Record], train: frozenset[str]) -> str:
    """The text of ``training_config.yaml``.

    Args:
        facts: of the dataset.
        records: organised.
        train: paths of the train part, for the class weights.
    """
    valid = [record for record in records if record.is_valid]
    share = labelled_share(records)
    policy = _policy(share)
    regions = _counts(valid, "region")
    classes = Counter(record.label or "" for record in valid if is_labelled(record) and record.path in train)
    return _template().substitute(
        name=quote(facts.name),
        state=quote(facts.state),
        root=quote(facts.root),
        seed=str(facts.seed),
        images=str(len(valid)),
        labelled_share=f"{share:.4f}",
        regions=_mapping(regions),
        modalities=_mapping(_counts(valid, "modality")),
        kind="classify" if len(classes) > 1 else "anomaly",
        classes=_classes(classes),
        size=str(_size(valid)),
        flip="false" if _SIDED & regions.keys() else "true",
        epochs=str(policy.epochs),
        autoencoder_epochs=str(policy.autoencoder_epochs),
        fine_tune_epochs=str(policy.fine_tune_epochs),
        weights=policy.weights,
        policy=quote(policy.policy),
        anomalies="\n".join(f"    {index}: {name}" for index, name in enumerate(ANOMALIES)),
    )


def quote(text: str) -> str:
    """A double-quoted YAML scalar in ASCII, whatever the text holds."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _policy(share: float) -> _Policy:
    if share > _MOSTLY_LABELLED:
        return _Policy(30, 20, 0, "[0.8, 0.2]", "more than 80 % labelled: the classifier leads")
    if share < _HARDLY_LABELLED:
        return _Policy(20, 50, 20, "[0.5, 0.5]", "less than 20 % labelled: the autoencoder leads, then fine-tuning")
    return _Policy(30, 50, 0, "auto", "a mix: both, weighed on the validation part")


def _template() -> Template:
    return Template(resources.files(__package__).joinpath("training_config.yaml").read_text(encoding="utf-8"))


def _classes(counts: Mapping[str, int]) -> str:
    if not counts:
        return "    []"
    total = sum(counts.values())
    rows = (
        f"    - {{name: {quote(name)}, images: {count}, weight: {total / (len(counts) * count):.4f}}}"
        for name, count in sorted(counts.items())
    )
    return "\n".join(rows)


def _counts(records: Sequence[Record], field: str) -> dict[str, int]:
    told = (getattr(record, field) for record in records)
    return dict(Counter(one.value for one in told if one is not None).most_common())


def _mapping(counts: Mapping[str, int]) -> str:
    return "{" + ", ".join(f"{quote(name)}: {count}" for name, count in counts.items()) + "}"


def _size(records: Sequence[Record]) -> int:
    """The largest usual size that does not enlarge the typical image."""
    sides = [max(record.rows, record.columns) for record in records if record.rows and record.columns]
    typical = statistics.median(sides) if sides else _SIZES[-1]
    return max((size for size in _SIZES if size <= typical), default=_SIZES[0])


def _escaped(char: str) -> str:
    number = ord(char)
    if char in '"\\':
        return f"\\{char}"
    if " " <= char <= "~":
        return char
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
