"""Near-duplicates are found through re-encoding, resizing, brightness and small shifts; others are not joined."""

import cv2
import numpy as np
import pytest

from irmsia.datasets.duplicates import aligned_correlation, difference_hash, near_duplicate_groups, perceptual_hash


def _picture(seed: int, side: int = 128) -> np.ndarray:
    order = np.random.default_rng(seed)
    coarse = order.integers(0, 255, (8, 8)).astype(np.uint8)
    fine = order.normal(0, 6, (side, side))
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + fine, 0, 255).astype(np.uint8)


def _as_jpeg(grey: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)


COPIES = {
    "re-encoded": _as_jpeg,
    "resized": lambda grey: cv2.resize(grey, (90, 90), interpolation=cv2.INTER_AREA),
    "brighter": lambda grey: np.clip(grey * 0.8 + 30, 0, 255).astype(np.uint8),
    "shifted": lambda grey: np.roll(grey, (2, -2), axis=(0, 1)),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
def test_copy_joins_its_original(copy) -> None:  # type: ignore[no-untyped-def]
    """Every kind of copy falls into its original's group, for each of eight pictures, and into no other."""
    originals = [_picture(seed) for seed in range(8)]
    groups = near_duplicate_groups([*originals, *[copy(picture) for picture in originals]])
    assert groups == [*range(8), *range(8)]


def test_groups_link_through_a_third() -> None:
    """What is near the same image is one group, even where the two ends differ; order does not change that."""
    first = _picture(1)
    images = [first, _picture(2), _as_jpeg(first), np.roll(_as_jpeg(first), 3, axis=0)]
    assert near_duplicate_groups(images) == [0, 1, 0, 0]
    backwards = near_duplicate_groups(images[::-1])
    assert [backwards[3], backwards[1], backwards[0]] == [0, 0, 0]
    assert backwards[2] != 0


def test_constant_image_joins_nothing() -> None:
    """A blank picture has no structure to compare."""
    blank = np.full((64, 64), 90, np.uint8)
    assert aligned_correlation(blank, blank) == 0.0
    assert near_duplicate_groups([blank, blank]) == [0, 1]


def test_hashes_have_their_width_and_follow_the_picture() -> None:
    """64 and 256 bits; a re-encoded copy stays within the contract's distances, another picture does not."""
    one, other = _picture(1), _picture(2)
    assert perceptual_hash(one) < 2**64
    assert difference_hash(one) < 2**256
    assert (perceptual_hash(one) ^ perceptual_hash(_as_jpeg(one))).bit_count() <= 4
    assert (perceptual_hash(one) ^ perceptual_hash(other)).bit_count() > 4
    assert (difference_hash(one) ^ difference_hash(other)).bit_count() > 16
