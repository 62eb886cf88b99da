"""Trivial features of a picture, those that have nothing to do with disease, and a linear model that learns from them.

The model is a ridge regression on one-hot classes over features cut into ten bins each, so that it may bend; classes
weigh equally. No library but numpy: what it finds is a lower bound of what a network could use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from irmsia.datasets.record import Record

_BINS = 10
_FOLDS = 5
_RIDGE = 1.0
_RANGES = {
    "uint8": (0.0, 255.0), "int8": (-128.0, 127.0), "uint16": (0.0, 65_535.0), "int16": (-32_768.0, 32_767.0),
}  # fmt: skip

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def make_features(
    records: Sequence[Record], extra: Mapping[str, Mapping[str, float]]
) -> tuple[tuple[str, ...], Floats]:
    """Names and values (records, names) of trivial features, NaN where unknown; those that nobody has are left out.

    Args:
        records: whose.
        extra: further features by path and name.
    """
    columns = {name: [value_of(record) for record in records] for name, value_of in _FEATURES.items()}
    for name in sorted({name for values in extra.values() for name in values}):
        columns[name] = [extra.get(record.path, {}).get(name, np.nan) for record in records]
    known = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    return tuple(known), np.array(list(known.values()), np.float64).reshape(len(known), len(records)).T


def border_features(grey: NDArray[np.uint8]) -> dict[str, float]:
    """What the outermost tenth of a picture (H, W) looks like, by name: where texts, frames and black edges lie."""
    rows, columns = (max(1, side // 10) for side in grey.shape)
    inner = np.zeros(grey.shape, bool)
    inner[rows:-rows, columns:-columns] = True
    border = grey[~inner].astype(np.float64) / 255
    return {
        "border brightness": float(border.mean()),
        "border contrast": float(border.std()),
        "black border": float((border < 0.02).mean()),
        "white border": float((border > 0.98).mean()),
    }


def cross_validate(features: Floats, classes: Integers, groups: Integers, *, seed: int) -> Integers | None:
    """The class that a model tells for each record which learnt from none of the record's group.

    Args:
        features: (n, features), NaN where unknown.
        classes: (n,) 0 to k - 1.
        groups: (n,) 0 to g - 1; five folds of whole groups.
        seed: of the folds.

    Returns:
        (n,) classes; null where fewer than five groups or no features are there.
    """
    if not len(groups) or groups.max() + 1 < _FOLDS or not features.shape[1]:
        return None
    fold = _folds(classes, groups, seed)[groups]
    told = np.zeros(len(classes), np.int64)
    for number in range(_FOLDS):
        held = fold == number
        if held.any():
            told[held] = _fit_and_tell(features[~held], classes[~held], features[held])
    return told


def _folds(classes: Integers, groups: Integers, seed: int) -> Integers:
    """A fold for each group, about equal in each class: shuffled, ordered by class, dealt out in turn."""
    first = np.unique(groups, return_index=True)[1]
    shuffled = np.random.default_rng(seed).permutation(len(first))
    ordered = shuffled[np.argsort(classes[first][shuffled], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[ordered] = np.arange(len(first)) % _FOLDS
    return fold


def _fit_and_tell(known: Floats, classes: Integers, asked: Floats) -> Integers:
    edges = [_edges(column) for column in known.T]
    seen, count = _binned(known, edges), int(classes.max()) + 1
    sizes = np.bincount(classes, minlength=count)
    weights = len(classes) / np.count_nonzero(sizes) / sizes[classes]
    weighted = seen * weights[:, None]
    normal = weighted.T @ seen + _RIDGE * np.eye(seen.shape[1])
    sums = np.zeros((count, seen.shape[1]))
    np.add.at(sums, classes, weighted)
    solved = np.linalg.solve(normal, sums.T)
    scores = _binned(asked, edges) @ solved
    return np.asarray(np.where(sizes > 0, scores, -np.inf).argmax(axis=1), np.int64)


def _edges(column: Floats) -> Floats:
    """Inner borders of the bins; a feature of few values gets a bin for each."""
    finite = column[np.isfinite(column)]
    values = np.unique(finite)
    if len(values) <= _BINS:
        return np.asarray((values[1:] + values[:-1]) / 2)
    return np.unique(np.quantile(finite, np.linspace(0, 1, _BINS + 1)[1:-1]))


def _binned(values: Floats, edges: Sequence[Floats]) -> Floats:
    """(n, bins of all features + 1): ones where a value lies, the last bin of a feature for what is unknown."""
    blocks = [np.ones((len(values), 1))]
    for column, borders in zip(values.T, edges, strict=True):
        place = np.where(np.isfinite(column), np.searchsorted(borders, np.nan_to_num(column)), len(borders) + 1)
        blocks.append(np.eye(len(borders) + 2)[place])
    return np.concatenate(blocks, axis=1)


def _log(value: float | None) -> float:
    return float(np.log(value)) if value is not None and value > 0 else np.nan


def _scaled(record: Record, which: str) -> float:
    """An intensity over the range of its data type; as it is where the type has none."""
    if record.intensities is None:
        return np.nan
    low, high = _RANGES.get(record.dtype or "", (0.0, 1.0))
    offset = 0.0 if which == "deviation" else low
    return (float(getattr(record.intensities, which)) - offset) / (high - low)


def _ratio(over: float | None, under: float | None) -> float:
    return over / under if over is not None and under else np.nan


_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_FEATURES: dict[str, Callable[[Record], float]] = {
    "rows": lambda record: _log(record.rows),
    "columns": lambda record: _log(record.columns),
    "aspect": lambda record: _ratio(record.rows, record.columns),
    "bytes": lambda record: _log(record.size),
    "bytes per pixel": lambda record: _ratio(
        record.size, (record.rows or 0) * (record.columns or 0) * (record.frames or 1)
    ),
    "data type": lambda record: float(_DTYPES.index(record.dtype)) if record.dtype in _DTYPES else np.nan,
    "channels": lambda record: np.nan if record.samples is None else float(record.samples),
    "frames": lambda record: _log(record.frames),
    "spacing": lambda record: _log(record.spacing_mm[1]),
    "darkest": lambda record: _scaled(record, "minimum"),
    "brightest": lambda record: _scaled(record, "maximum"),
    "brightness": lambda record: _scaled(record, "mean"),
    "contrast": lambda record: _scaled(record, "deviation"),
}
