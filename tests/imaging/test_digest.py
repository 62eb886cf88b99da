"""The frame digest is of the values, not of how they lie in memory or in the file."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from pydicom.uid import RLELossless

from irmsia.imaging.digest import frame_digest
from irmsia.imaging.read import inspect, read_image
from tests.imaging.samples import LIMITS, NATIVE, make_dataset, write

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32]


def _shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))


def _pixels() -> st.SearchStrategy[NDArray[Any]]:
    arrays = st.sampled_from(_TYPES).flatmap(lambda kind: npst.arrays(kind, _shapes()))
    return arrays.filter(lambda values: values.dtype.kind == "u" or values.shape[3] == 1)


def test_digest_of_known_values() -> None:
    """Row-major, samples interleaved, little-endian, nothing else."""
    frame = np.array([[[1], [2]], [[3], [65535]]], dtype=np.uint16)
    assert frame_digest(frame) == hashlib.sha256(bytes([1, 0, 2, 0, 3, 0, 255, 255])).hexdigest()


@given(values=npst.arrays(np.uint16, (3, 4, 3)))
@QUICK
def test_digest_does_not_depend_on_memory_layout(values: NDArray[Any]) -> None:
    """Big-endian, Fortran order and strides of the same values give the same digest."""
    expected = frame_digest(values)
    assert frame_digest(values.astype(">u2")) == expected
    assert frame_digest(np.asfortranarray(values)) == expected
    assert frame_digest(np.repeat(values, 2, axis=1)[:, ::2]) == expected


@given(pixels=_pixels())
@QUICK
def test_digest_does_not_depend_on_the_transfer_syntax(pixels: NDArray[Any]) -> None:
    """The same values written native (four ways) and RLE read back as themselves with one list of digests."""
    expected = tuple(frame_digest(frame) for frame in pixels)
    for syntax in (*NATIVE, RLELossless):
        image = read_image(write(make_dataset(pixels), syntax, frames=pixels), LIMITS)
        assert image.info.error is None
        assert image.info.frame_sha256 == expected
        np.testing.assert_array_equal(image.pixels, pixels)
        assert image.pixels.dtype == pixels.dtype


@given(pixels=_pixels(), data=st.data())
@QUICK
def test_digests_do_not_depend_on_the_frames_that_are_kept(pixels: NDArray[Any], data: st.DataObject) -> None:
    """Every frame is digested whichever are asked for, and those asked for are the right ones."""
    file = write(make_dataset(pixels), frames=pixels)
    kept = data.draw(st.lists(st.integers(0, len(pixels) - 1), unique=True))
    image = read_image(file, LIMITS, frames=lambda total: kept)
    assert image.info.frame_sha256 == inspect(file, LIMITS).frame_sha256
    assert image.indices == tuple(kept)
    for index in kept:
        np.testing.assert_array_equal(image.frame(index), pixels[index])


@given(
    values=npst.arrays(np.uint16, (1, 5, 7, 1)), stored=st.integers(1, 16), low=st.integers(0, 15), signed=st.booleans()
)
@QUICK
def test_bits_outside_bits_stored_do_not_count(values: NDArray[Any], stored: int, low: int, signed: bool) -> None:
    """Shift by HighBit - BitsStored + 1, mask, extend the sign: other bits never reach value or digest."""
    low = min(low, 16 - stored)
    dataset = make_dataset(values, stored=stored, HighBit=low + stored - 1, PixelRepresentation=int(signed))
    wanted = (values.astype(np.int64) >> low) & ((1 << stored) - 1)
    if signed:
        wanted = np.where(wanted >= 1 << (stored - 1), wanted - (1 << stored), wanted)
    image = read_image(write(dataset, frames=values), LIMITS)
    np.testing.assert_array_equal(image.pixels, wanted)
    assert image.pixels.dtype == (np.int16 if signed else np.uint16)


def test_pixels_of_a_read_image_cannot_be_written() -> None:
    """An Image is immutable."""
    image = read_image(write(make_dataset(np.zeros((1, 2, 2, 1), np.uint8))), LIMITS)
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0, 0, 0, 0] = 1
