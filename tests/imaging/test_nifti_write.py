"""What is written as NIfTI is what was read: for nibabel, for us, byte for byte again; and no text of a study."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irmsia.errors import ChecksumMismatchError, UnsupportedError
from irmsia.imaging.digest import frame_digest
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.nifti_write import check_written, iter_nifti, nifti_bytes
from irmsia.imaging.series import LookTask
from irmsia.imaging.types import Spacing
from irmsia.imaging.volume import Volume, read_volume
from tests.imaging.niftis import CODES, texture
from tests.imaging.slices import make_slice, series

LIMITS = ReadLimits()


def _write(volume: Volume, *, packed: bool = False) -> bytes:
    return b"".join(iter_nifti(volume, packed=packed))


def _check(volume: Volume, data: bytes) -> None:
    digests = [frame_digest(plane) for plane in volume.planes()]
    check_written(volume, digests, LookTask().run(memoryview(data), LIMITS, None, lambda done, of: None))


def _ras(volume: Volume) -> Any:
    """(column, row, slice) to RAS+."""
    return (np.diag([-1, -1, 1, 1]) @ volume.affine)[:, [2, 1, 0, 3]]


@settings(max_examples=50, deadline=None)
@given(
    turn=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: sum(x * x for x in q) > 0.1),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(1, 3)),
    kind=st.sampled_from(sorted(CODES)),
    steps=st.tuples(st.floats(0.2, 8), st.floats(0.2, 8), st.floats(0.2, 8)),
    mirrored=st.booleans(),
    packed=st.booleans(),
)
def test_nibabel_sees_the_same_volume(
    turn: list[float],
    sizes: tuple[int, int, int, int],
    kind: str,
    steps: tuple[float, float, float],
    mirrored: bool,
    packed: bool,
) -> None:
    """Law: voxels, types, scale, sform and qform, whatever the directions and their handedness; and so do we."""
    affine = np.eye(4)
    affine[:3, :3] = nibabel.quaternions.quat2mat(np.asarray(turn) / np.linalg.norm(turn)) * steps
    affine[:3, 0] *= -1.0 if mirrored else 1.0
    affine[:3, 3] = (-20.0, 31.0, 7.5)
    voxels = texture(sizes, kind)
    volume = Volume(
        voxels=voxels if sizes[3] > 1 else voxels[..., 0],
        slope=0.5,
        intercept=-3.0,
        affine=affine,
        exact=True,
        origins=affine[:3, 3] + np.arange(sizes[0])[:, None] * affine[:3, 0],
        spacing=Spacing(*steps),
        time_step_s=1.5 if sizes[3] > 1 else None,
    )
    data = _write(volume, packed=packed)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data) if packed else data)
    theirs = np.asarray(image.dataobj.get_unscaled())
    turned = volume.voxels.transpose((2, 1, 0, 3)[: volume.voxels.ndim])
    assert theirs.dtype == voxels.dtype
    assert np.array_equal(theirs.reshape(turned.shape), turned)
    assert (image.dataobj.slope, image.dataobj.inter) == (0.5, -3.0)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert np.allclose(image.get_sform(), _ras(volume), atol=1e-4)
    assert np.allclose(image.get_qform(), _ras(volume), atol=1e-4)
    assert image.header.get_xyzt_units() == (("mm", "sec") if sizes[3] > 1 else ("mm", "unknown"))
    _check(volume, data)


def test_a_sheared_volume_is_written_by_sform_alone() -> None:
    """A qform holds no shear; the sform is exact."""
    files = [make_slice(texture((4, 5)) + np.int16(k), (0, 0.9 * k, 2.0 * k), number=k + 1) for k in range(4)]
    volume = read_volume(files, LIMITS)
    image = nibabel.Nifti1Image.from_bytes(_write(volume))
    assert volume.is_tilted
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)
    assert np.allclose(image.affine, _ras(volume), atol=1e-5)
    _check(volume, _write(volume))


def test_an_uneven_volume_claims_no_place() -> None:
    """No affine fits, so none is written: both codes are 0, and the voxels are all there."""
    volume = read_volume(series([0, 2, 5, 6]), LIMITS)
    data = _write(volume)
    image = nibabel.Nifti1Image.from_bytes(data)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)
    assert image.header.get_zooms() == (3.0, 2.0, 2.0)
    _check(volume, data)


def test_the_same_volume_gives_the_same_bytes_and_no_text() -> None:
    """No time, no name, no description: nothing of the study goes along (I5, A7)."""
    words = {"PatientName": "Planted^Name", "StudyDescription": "Planted study", "SeriesDescription": "Planted series"}
    volume = read_volume(series([0, 2, 4], **words), LIMITS)
    packed = _write(volume, packed=True)
    assert packed == _write(read_volume(series([0, 2, 4], **words), LIMITS), packed=True)
    plain = gzip.decompress(packed)
    assert plain == _write(volume)
    assert len(plain) == nifti_bytes(volume.voxels.nbytes)
    assert packed[4:8] == bytes(4)  # the time of the gzip header
    assert not packed[3]  # and no name in it
    assert not any(plain[4:40])  # data_type, db_name
    assert not any(plain[148:252])  # descrip, aux_file
    assert not any(plain[328:344])  # intent_name
    assert not any(plain[348:352])  # no extension
    assert b"Planted" not in plain


def test_what_nifti_cannot_hold_is_refused() -> None:
    """A side above 32,767 and a type without a code."""
    volume = read_volume(series([0, 2]), LIMITS)
    long = replace(volume, voxels=np.zeros((1, 1, 40_000), np.uint8))
    wide = replace(volume, voxels=volume.voxels.astype(np.int64))
    for odd in (long, wide):
        with pytest.raises(UnsupportedError):
            _write(odd)


def test_a_wrong_file_is_not_taken_for_the_right_one() -> None:
    """Planted: a voxel, the scale, the type, the size, a place, a direction, a spacing that differ are all seen."""
    volume = read_volume(series([0, 2, 4], RescaleSlope="2"), LIMITS)
    _check(volume, _write(volume))
    changed = volume.voxels.copy()
    changed[1, 2, 3] += 1
    moved, turned, wider = (volume.affine.copy() for _ in range(3))
    moved[0, 3] += 0.5
    turned[:3, :3] = turned[:3, :3] @ np.diag([1, -1, 1])
    wider[:3, 1] *= 1.01
    faults = [
        replace(volume, voxels=changed),
        replace(volume, slope=2.001),
        replace(volume, intercept=1.0),
        replace(volume, voxels=volume.voxels.astype(np.int32)),
        replace(volume, voxels=volume.voxels[:, :3].copy()),
        replace(volume, voxels=volume.voxels[::-1].copy()),
        replace(volume, affine=moved),
        replace(volume, affine=turned),
        replace(volume, affine=wider),
        replace(volume, exact=False),
    ]
    for fault in faults:
        with pytest.raises(ChecksumMismatchError):
            _check(volume, _write(fault))
