"""Checks that every fitting and answering function makes of its arrays: finite, of the right shape, known targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from irmsia.errors import InvalidRequestError

Array = NDArray[np.float64]
Kind = Literal["exclusive", "independent"]


def to_matrix(values: ArrayLike, name: str, *, columns: int | None = None) -> Array:
    """``values`` as finite float64 (N, K) with N >= 1; `InvalidRequestError` otherwise."""
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] == 0 or (columns is not None and matrix.shape[1] != columns):
        wanted = "K" if columns is None else str(columns)
        raise InvalidRequestError(f"{name} must be of shape (N, {wanted}) with N >= 1, got {matrix.shape}")
    check_finite(matrix, name)
    return matrix


def to_vector(values: ArrayLike, name: str) -> Array:
    """``values`` as finite float64 (N,) with N >= 1; `InvalidRequestError` otherwise."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.shape[0] == 0:
        raise InvalidRequestError(f"{name} must be of shape (N,) with N >= 1, got {vector.shape}")
    check_finite(vector, name)
    return vector


def check_finite(values: Array, name: str) -> None:
    """`InvalidRequestError` when ``values`` hold a NaN or an infinity."""
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise InvalidRequestError(f"{name} must be finite, {bad} of {values.size} values are not")


def to_truth(targets: ArrayLike, kind: Kind, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Targets as a boolean (N, K) matrix. Exclusive: (N,) indices of terms; independent: (N, K) of 0 and 1."""
    given = np.asarray(targets)
    rows, columns = shape
    if kind == "independent":
        if given.shape != shape or not np.isin(given, (0, 1)).all():
            raise InvalidRequestError(f"targets of an independent group must be 0 or 1 of shape {shape}")
        return given.astype(bool)
    if given.shape != (rows,) or given.dtype.kind not in "iu":
        raise InvalidRequestError(
            f"targets of an exclusive group must be {rows} whole numbers, got shape {given.shape}"
        )
    if given.min() < 0 or given.max() >= columns:
        raise InvalidRequestError(f"targets must lie within 0..{columns - 1}, got {given.min()}..{given.max()}")
    truth = np.zeros(shape, dtype=bool)
    truth[np.arange(rows), given] = True
    return truth


def check_length(values: Sequence[object], rows: int, name: str) -> None:
    """`InvalidRequestError` unless ``values`` hold one entry a row."""
    if len(values) != rows:
        raise InvalidRequestError(f"{name} must hold one entry a row: {rows}, got {len(values)}")
