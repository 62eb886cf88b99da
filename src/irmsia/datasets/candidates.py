"""Proposes pairs of pictures that may be copies: every picture against every window of every other, mirrored or not.

Two steps, both exhaustive in pairs and bounded in memory: coarse descriptors leave each picture some hundred others,
finer ones of these leave it a dozen. Time grows with the square of the pictures: 10,000 take seconds, 100,000 minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from irmsia.datasets.look import Floats, Window, WindowSet, flip

MIRRORS = (0, 1, 2, 3)

_COARSE = WindowSet((0.0, 0.1), 8, 0.77)
_FINE = WindowSet((0.0, 0.05, 0.1, 0.15, 0.2), 16, 0.77)
_COARSE_KEPT = 96
_FINE_KEPT = 12
_COARSE_CELLS = 1 << 23
_COARSE_ROWS = 256
_FINE_ROWS = 32
_LEAST_COARSE = 0.55
_LEAST_FINE = 0.80

Indices = NDArray[np.int64]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Candidate:
    """Picture ``inner``, mirrored by ``mirror``, looks like ``window`` of picture ``outer``.

    Attributes:
        outer, inner: indices of the pictures.
        mirror: 0..3, see `irmsia.datasets.look.flip`.
        window: of ``outer``.
        score: correlation of the descriptors, -1..1.
    """

    outer: int
    inner: int
    mirror: int
    window: Window
    score: float


def propose(thumbs: Floats, *, workers: int = 1) -> list[Candidate]:
    """Return candidates sorted by pair, one for each unordered pair: the better scored of its two directions.

    Args:
        thumbs: (n, 32, 32) of `irmsia.datasets.look.make_thumb`; pictures without structure are in no pair.
        workers: threads.
    """
    if len(thumbs) < 2:
        return []
    best: dict[tuple[int, int], Candidate] = {}
    with ThreadPoolExecutor(workers) as pool:
        neighbours = _coarse_neighbours(thumbs, pool, workers)
        whole = np.stack(_mirrored_wholes(thumbs, _FINE))
        starts = range(0, len(thumbs), _FINE_ROWS)
        for found in _mapped(pool, workers, lambda start: _fine_block(thumbs, whole, neighbours, start), starts):
            for candidate in found:
                key = (min(candidate.outer, candidate.inner), max(candidate.outer, candidate.inner))
                if key not in best or candidate.score > best[key].score:
                    best[key] = candidate
    return [best[key] for key in sorted(best)]


def _coarse_neighbours(thumbs: Floats, pool: ThreadPoolExecutor, workers: int) -> list[Indices]:
    """For each picture the indices of those that look most like it, as its whole or as its part."""
    count = len(thumbs)
    kept = min(_COARSE_KEPT, count)
    whole = [np.ascontiguousarray(described.T) for described in _mirrored_wholes(thumbs, _COARSE)]
    rows = min(_COARSE_ROWS, max(16, _COARSE_CELLS // count))
    as_part = _Best(count, kept)
    as_whole: list[Indices] = []
    starts = range(0, count, rows)
    blocks = _mapped(pool, workers, lambda start: _coarse_scores(thumbs[start : start + rows], whole, start), starts)
    for start, scores in zip(starts, blocks, strict=True):
        as_part.add(start, scores)
        as_whole.extend(_largest(row, kept) for row in scores)
    return [np.union1d(row, as_part.of(index)) for index, row in enumerate(as_whole)]


def _coarse_scores(block: Floats, whole: Sequence[Floats], start: int) -> Floats:
    """(rows, n): best correlation of any window of the block's pictures with any mirrored whole picture."""
    scores = np.full((len(block), whole[0].shape[1]), -np.inf, np.float32)
    product = np.empty_like(scores)
    for described in _COARSE.describe(block):
        for mirrored in whole:
            np.maximum(scores, np.matmul(described, mirrored, out=product), out=scores)
    own = np.arange(len(block))
    scores[own, start + own] = -np.inf
    return scores


class _Best:
    """For every column of a matrix that comes in blocks of rows, the rows of its largest values."""

    def __init__(self, columns: int, kept: int) -> None:
        self._kept = kept
        self._scores = np.full((columns, kept), -np.inf, np.float32)
        self._rows = np.zeros((columns, kept), np.int32)

    def add(self, start: int, block: Floats) -> None:
        numbers = np.broadcast_to(np.arange(start, start + len(block), dtype=np.int32), block.T.shape)
        scores = np.concatenate([self._scores, block.T], axis=1)
        chosen = np.argpartition(scores, scores.shape[1] - self._kept, axis=1)[:, -self._kept :]
        self._scores = np.take_along_axis(scores, chosen, axis=1)
        self._rows = np.take_along_axis(np.concatenate([self._rows, numbers], axis=1), chosen, axis=1)

    def of(self, column: int) -> Indices:
        return np.asarray(self._rows[column, self._scores[column] >= _LEAST_COARSE], np.int64)


def _largest(row: Floats, kept: int) -> Indices:
    chosen = np.argpartition(row, len(row) - kept)[-kept:]
    return np.asarray(chosen[row[chosen] >= _LEAST_COARSE], np.int64)


def _fine_block(thumbs: Floats, whole: Floats, neighbours: Sequence[Indices], start: int) -> list[Candidate]:
    """The best candidates of some pictures: windows of these against the whole of their neighbours."""
    described = np.stack(list(_FINE.describe(thumbs[start : start + _FINE_ROWS])), axis=1)
    return [
        candidate
        for index, windows in enumerate(described, start)
        for candidate in _fine_candidates(index, windows, whole, neighbours[index])
    ]


def _fine_candidates(index: int, windows: Floats, whole: Floats, others: Indices) -> Iterator[Candidate]:
    if not len(others):
        return
    wanted = whole[:, others].reshape(-1, whole.shape[2])
    scores = (windows @ wanted.T).reshape(len(windows), len(MIRRORS), len(others))
    best = scores.max(axis=(0, 1))
    for place in np.argsort(-best, kind="stable")[:_FINE_KEPT]:
        if best[place] < _LEAST_FINE:
            return
        window, mirror = divmod(int(scores[:, :, place].argmax()), len(MIRRORS))
        yield Candidate(index, int(others[place]), MIRRORS[mirror], _FINE.windows[window], float(best[place]))


def _mirrored_wholes(thumbs: Floats, windows: WindowSet) -> list[Floats]:
    """For each mirroring (n, d) descriptors of whole pictures."""
    whole = WindowSet((0.0,), windows.side, 1.0)
    return [next(whole.describe(np.ascontiguousarray(flip(thumbs, mirror), np.float32))) for mirror in MIRRORS]


def _mapped(pool: ThreadPoolExecutor, workers: int, make: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Results in order; no more of them wait in memory than there are workers."""
    for start in range(0, len(items), workers):
        yield from pool.map(make, items[start : start + workers])
