"""Near-duplicate images: perceptual hashes find candidates, alignment and normalised correlation decide.

The unit of splitting is the patient; a set without patient ids is split by clusters of near-duplicates
instead (spec validity.md), so that a slice and its neighbour never stand on both sides of a split.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

_HASH_SIDE = 8
_DCT_SIDE = 32
_DIFFERENCE_SIDE = 16
_ALIGN_SIDE = 64
_ALIGN_MARGIN = 6


@dataclass(frozen=True, slots=True)
class DuplicateRule:
    """When two images count as near-duplicates.

    Attributes:
        max_hamming: candidates are pairs whose 64-bit perceptual hashes differ in at most so many bits.
        min_correlation: a candidate is a near-duplicate from this normalised correlation on, after alignment.
    """

    max_hamming: int = 16
    min_correlation: float = 0.87


def perceptual_hash(grey: Grey) -> int:
    """Return the 64-bit perceptual hash of a grey image.

    The signs of the 8 x 8 lowest frequencies of the cosine transform of a 32 x 32 reduction, against their
    median (Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010).

    Args:
        grey: (H, W) uint8, any size.
    """
    small = cv2.resize(grey, (_DCT_SIDE, _DCT_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_HASH_SIDE, :_HASH_SIDE]
    return _to_int(low > np.median(low))


def difference_hash(grey: Grey) -> int:
    """Return the 256-bit difference hash: is a pixel of a 16 x 17 reduction darker than its right neighbour?

    Args:
        grey: (H, W) uint8, any size.
    """
    small = cv2.resize(grey, (_DIFFERENCE_SIDE + 1, _DIFFERENCE_SIDE), interpolation=cv2.INTER_AREA)
    return _to_int(small[:, 1:] > small[:, :-1])


def aligned_correlation(first: Grey, second: Grey) -> float:
    """Return the greatest normalised correlation of two images over small shifts, -1..1.

    Both are reduced to 64 x 64; the centre of the first slides over the second, so shifts of up to a tenth
    of the side are undone. A constant image correlates with nothing (0).
    """
    return _correlation(_reduce(first), _reduce(second))


def near_duplicate_groups(images: Sequence[Grey], rule: DuplicateRule | None = None) -> list[int]:
    """Return a group number for each image: near-duplicates, and what they link to, share one.

    Args:
        images: (H, W) uint8 each, sizes may differ.
        rule: when a pair counts as a near-duplicate; the defaults where None.

    Returns:
        For each image the index of the first image of its group, so the result does not depend on hashing order.
    """
    rule = rule or DuplicateRule()
    reduced = [_reduce(image) for image in images]
    parent = list(range(len(images)))
    for left, right in _candidates([perceptual_hash(image) for image in images], rule.max_hamming):
        root_left, root_right = _root(parent, left), _root(parent, right)
        if root_left != root_right and _correlation(reduced[left], reduced[right]) >= rule.min_correlation:
            parent[max(root_left, root_right)] = min(root_left, root_right)
    return [_root(parent, index) for index in range(len(images))]


def _to_int(bits: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits.ravel()).tobytes(), "big")


def _reduce(grey: Grey) -> NDArray[np.float32]:
    return cv2.resize(grey, (_ALIGN_SIDE, _ALIGN_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    centre = first[_ALIGN_MARGIN:-_ALIGN_MARGIN, _ALIGN_MARGIN:-_ALIGN_MARGIN]
    if centre.std() < 1e-6 or second.std() < 1e-6:
        return 0.0
    return float(cv2.matchTemplate(second, centre, cv2.TM_CCOEFF_NORMED).max())


def _candidates(hashes: Sequence[int], max_hamming: int) -> Iterator[tuple[int, int]]:
    """Yield the index pairs (left < right) whose 64-bit hashes are close."""
    words = np.array(hashes, dtype=np.uint64)
    for left in range(len(words) - 1):
        distance = np.bitwise_count(words[left + 1 :] ^ words[left])
        for offset in np.flatnonzero(distance <= max_hamming):
            yield left, left + 1 + int(offset)


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
