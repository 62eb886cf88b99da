"""Whole files to start from: real ones where the data folder is at hand, made ones without it."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from pydicom.uid import RLELossless

from irmsia.imaging.phantoms import qa_set
from tests.imaging.niftis import nifti, texture
from tests.imaging.samples import NATIVE, gradient, make_dataset, write

FORMATS = ("DICOM", "PNG", "JPEG", "TIFF", "NIFTI")
LARGEST = 700_000
"""Larger seeds add time and no new structure."""

_FOLDERS = {
    "DICOM": ("dicom/misc_pydicom", "dicom/misc_fodicom", "dicom/wg04_compression", "dicom/more_highdicom",
              "dicom/more_dicomparser", "dicom/mr_mosaic_orientation", "dicom/made_corrupt", "hostile"),
    "PNG": ("odd_images", "breast_ultrasound_busi/malignant"),
    "JPEG": ("odd_images", "chest_xray_pneumonia/NORMAL", "brain_mri_tumor/glioma"),
    "TIFF": ("odd_images",),
    "NIFTI": ("nifti", "dicom/reference_nifti"),
}  # fmt: skip
_MOST_OF_A_FOLDER = 120
_MAGIC = {"PNG": b"\x89PNG", "JPEG": b"\xff\xd8\xff", "TIFF": (b"II*\0", b"MM\0*")}


@dataclass(frozen=True)
class Seed:
    """One file: its name below the data folder, or what it was made of."""

    name: str
    data: bytes


Corpus = dict[str, tuple[Seed, ...]]


def read_corpus(data: Path | None) -> Corpus:
    """Seeds by format: made ones, and beside them the real ones below ``data``; the same list in every run."""
    made = make_corpus()
    if data is None:
        return made
    return {name: (*made[name], *_real(data, name)) for name in FORMATS}


def make_corpus() -> Corpus:
    """Small files of every kind, made here."""
    return {
        "DICOM": tuple(_dicom()),
        "PNG": tuple(_png()),
        "JPEG": tuple(_jpeg()),
        "TIFF": tuple(_tiff()),
        "NIFTI": tuple(_nifti()),
    }


def _real(data: Path, kind: str) -> Iterator[Seed]:
    for folder in _FOLDERS[kind]:
        files = sorted(path for path in (data / folder).rglob("*") if path.is_file() and "_mask" not in path.name)
        for path in files[:_MOST_OF_A_FOLDER]:
            if path.stat().st_size <= LARGEST and _is_a(path, kind):
                yield Seed(str(path.relative_to(data)), path.read_bytes())


def _is_a(path: Path, kind: str) -> bool:
    if kind == "NIFTI":
        return path.name.endswith((".nii", ".nii.gz", ".hdr"))
    if kind == "DICOM":
        return path.suffix in {".dcm", ""} or path.name.isdecimal()
    with path.open("rb") as file:
        return file.read(4).startswith(_MAGIC[kind])


def _dicom() -> Iterator[Seed]:
    for phantom in qa_set()[:4]:
        yield Seed(f"phantom {phantom.name}", phantom.data)
    colour = np.stack([gradient(), gradient()[::-1], gradient().T[:24, :24].repeat(2, 1)[:, :32]], -1)[None]
    deep = gradient().astype(np.uint16)[None, :, :, None] * np.uint16(16)
    several = np.concatenate([deep, deep // 2, deep // 3]).astype(np.int16)
    for syntax in (*NATIVE, RLELossless):
        for name, frames in (("colour", colour), ("deep", deep), ("several", several)):
            yield Seed(f"made {name} {syntax}", write(make_dataset(frames), syntax, frames=frames))
    windowed = make_dataset(deep, WindowCenter="100", WindowWidth="50", RescaleSlope="2", RescaleIntercept="-5")
    yield Seed("made windowed", write(windowed))


def _png() -> Iterator[Seed]:
    grey = gradient(90, 70)
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], -1)
    yield from (_saved("grey", grey, "PNG"), _saved("colour", colour, "PNG"))
    yield _saved("deep", grey.astype(np.uint16) * 257, "PNG")
    yield _saved("bilevel", grey > 99, "PNG")
    buffer = io.BytesIO()
    PillowImage.fromarray(colour).convert("P", palette=PillowImage.Palette.ADAPTIVE).save(buffer, "PNG")
    yield Seed("made palette PNG", buffer.getvalue())


def _jpeg() -> Iterator[Seed]:
    grey = gradient(90, 70)
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], -1)
    yield from (_saved("grey", grey, "JPEG"), _saved("colour", colour, "JPEG"))
    yield _saved("progressive", colour, "JPEG", progressive=True)
    yield _saved("restarts", colour, "JPEG", restart_marker_rows=1)


def _tiff() -> Iterator[Seed]:
    grey = gradient(90, 70)
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], -1)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield _saved(f"colour {compression}", colour, "TIFF", compression=compression)
    yield _saved("deep", grey.astype(np.uint16) * 257, "TIFF")
    yield _saved("float", grey.astype(np.float32) / 7, "TIFF")
    yield _saved("bilevel", grey > 99, "TIFF", compression="group4")
    pages = [PillowImage.fromarray(grey), PillowImage.fromarray(grey[::-1])]
    yield _saved("pages", grey, "TIFF", save_all=True, append_images=pages)


def _nifti() -> Iterator[Seed]:
    placed = {"sform_code": 1, "srow": (-2.0, 0, 0, 30, 0, 3.0, 0, -20, 0, 0.5, 4.0, 7), "qform_code": 1}
    for kind in ("u1", "i2", "f4", "f8"):
        for version, order in ((1, "<"), (1, ">"), (2, "<")):
            data = nifti(texture((20, 18, 6, 2), kind), version=version, order=order, scl_slope=0.5, **placed)
            yield Seed(f"made {kind} NIfTI-{version} {order}", data)
            yield Seed(f"made {kind} NIfTI-{version} {order} gzip", gzip.compress(data, mtime=0))
    yield Seed("made colour NIfTI", nifti(texture((20, 18, 6, 3), "uint8"), samples=3))


def _saved(name: str, array: NDArray[np.generic], kind: str, **options: object) -> Seed:
    buffer = io.BytesIO()
    PillowImage.fromarray(array).save(buffer, kind, **options)
    return Seed(f"made {name} {kind}", buffer.getvalue())
