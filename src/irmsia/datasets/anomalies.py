"""The ten classes of anomaly, their fixed indices, and the words that mean each (``anomaly_types.csv``).

To teach the platform another word, add it to a row of the table; the indices are part of every trained detector and
never change.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

from irmsia.datasets.phrases import Found, Meaning, Phrases
from irmsia.datasets.record import Told
from irmsia.errors import InvalidRequestError

NORMAL = "normal"
OTHER_ANOMALY = "other_anomaly"
ANOMALIES = (
    NORMAL,
    "tumor",
    "infection",
    "hemorrhage",
    "fracture",
    "edema",
    "atelectasis",
    "pneumothorax",
    "consolidation",
    OTHER_ANOMALY,
)
"""In the order of their indices, 0 to 9."""

_SEVERAL = 0.5


def anomaly_index(anomaly: str) -> int:
    """The fixed index of a class, 0 to 9; `InvalidRequestError` for another word."""
    if anomaly not in ANOMALIES:
        raise InvalidRequestError(f"there is no such anomaly; there are {', '.join(ANOMALIES)}")
    return ANOMALIES.index(anomaly)


def anomaly_of(name: str, where: str = "label") -> Told | None:
    """What a label, a name or a code of the vocabulary means; null where no word of it is known.

    A word behind a "no" or a "without" means normal. Where a label names several classes, the surest word decides,
    and of equally sure ones the first, with half the confidence.

    Args:
        name: ``Viral Pneumonia``, ``pituitary_tumor``, ``No Finding``, ``Edema|Effusion``.
        where: what it is, for the reason.
    """
    found = [_meant(one) for one in anomaly_phrases().find(name)]
    if not found:
        return None
    best = max(found, key=lambda meaning: meaning.confidence)  # the first of the surest
    rivals = {meaning.value for meaning in found if meaning.confidence >= best.confidence} - {best.value}
    reason = f'{where} says "{best.phrase}"'
    if rivals:
        return Told(best.value, f"{reason}, and {' and '.join(sorted(rivals))} as well", best.confidence * _SEVERAL)
    return Told(best.value, reason, best.confidence)


@cache
def anomaly_phrases() -> Phrases:
    """All words of the table."""
    return Phrases(_meanings())


def _meanings() -> list[Meaning]:
    text = resources.files(__package__).joinpath("anomaly_types.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    if any(ANOMALIES[int(row["index"])] != row["type"] for row in rows):
        raise ValueError("the table of anomalies has an index that is not that of its class")
    return [
        Meaning(row["type"], phrase, float(row["confidence"])) for row in rows for phrase in row["phrases"].split("|")
    ]


def _meant(found: Found) -> Meaning:
    if not found.negated or found.meaning.value == NORMAL:
        return found.meaning
    return Meaning(NORMAL, f"no {found.meaning.phrase}", found.meaning.confidence)
