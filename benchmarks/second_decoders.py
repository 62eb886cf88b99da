"""What others say of a file's frames: pydicom with each plug-in it finds, Pillow, tifffile, nibabel. In a child.

Some of them end the process on some files, so that none runs in this one.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irmsia.imaging.digest import frame_digest
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.read import read_image
from irmsia.imaging.types import ImageFormat, ImageInfo

LIMITS = ReadLimits()
EQUAL, REFUSES, DIES = "equal", "refuses", "dies"
_LOSSY_NEAR = 3.0
_OTHERS = {ImageFormat.TIFF: "tifffile", ImageFormat.NIFTI: "nibabel"}
_COLOUR_IS_CONVERTED = frozenset(
    {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
)  # the contract asks for RGB there


@dataclass(frozen=True)
class Opinion:
    """``verdict``: equal, refuses, dies, or by how much the values differ."""

    decoder: str
    verdict: str


class SecondDecoders:
    """One child at a time, started again when a decoder ended it."""

    def __init__(self) -> None:
        self._pool = self._start()

    def __enter__(self) -> SecondDecoders:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown()

    def ask(self, path: Path, info: ImageInfo) -> list[Opinion]:
        """Every installed decoder's opinion of a file that our reader read as ``info``; [] where there is no other."""
        names = decoder_names(info)
        try:
            return self._pool.submit(compare_all, path, names, info).result() if names else []
        except BrokenProcessPool:
            self._pool = self._start()
            return [self._ask_alone(path, name, info) for name in names]

    def _ask_alone(self, path: Path, name: str, info: ImageInfo) -> Opinion:
        try:
            return Opinion(name, self._pool.submit(compare, path, name, info).result())
        except BrokenProcessPool:
            self._pool = self._start()
            return Opinion(name, DIES)

    @staticmethod
    def _start() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def decoder_names(info: ImageInfo) -> list[str]:
    """Installed decoders, other than ours, that claim to read such a file."""
    if info.error:
        return []
    if info.format is not ImageFormat.DICOM:
        return [_OTHERS.get(info.format or ImageFormat.PNG, "Pillow")]
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    try:
        decoder = get_decoder(UID(info.transfer_syntax or ""))
    except NotImplementedError:
        return []
    plugins = sorted(decoder.available_plugins)
    return [f"pydicom {plugin}" for plugin in plugins] or ["pydicom native"]


def compare_all(path: Path, names: list[str], info: ImageInfo) -> list[Opinion]:
    """Opinions of one file."""
    return [Opinion(name, compare(path, name, info)) for name in names]


def compare(path: Path, name: str, info: ImageInfo) -> str:
    """One decoder's verdict on one file that our reader read as ``info``."""
    warnings.simplefilter("ignore")
    try:
        other = _decode(path, name, info)
    except Exception:  # noqa: BLE001 - each decoder has its own errors
        return REFUSES
    shape = info.shape or ()
    if other.size != int(np.prod(shape)):
        return "another size"
    frames = other.reshape(shape)
    if tuple(frame_digest(frame.astype(info.dtype)) for frame in frames) == info.frame_sha256:
        return EQUAL
    ours = read_image(path.read_bytes(), LIMITS).pixels
    return f"within {float(np.abs(frames.astype(np.float64) - ours.astype(np.float64)).max()):g}"


def _decode(path: Path, name: str, info: ImageInfo) -> NDArray[Any]:
    if name == "tifffile":
        import tifffile

        return np.asarray(tifffile.imread(path, key=range((info.shape or (1,))[0])))
    if name == "nibabel":
        import nibabel

        stored = np.asarray(nibabel.load(path).dataobj.get_unscaled())  # type: ignore[attr-defined] - of any image
        return stored.transpose()  # (x, y, z, t) to frames over slice, then time
    if name == "Pillow":
        return _by_pillow(path, info)
    return _by_pydicom(path, name.removeprefix("pydicom "), info)


def _by_pillow(path: Path, info: ImageInfo) -> NDArray[Any]:
    from PIL import Image

    with Image.open(path) as image:
        if image.mode != "P":
            return np.asarray(image)
        return np.asarray(image.convert("RGBA" if (info.shape or (0,) * 4)[3] == 4 else "RGB"))


def _by_pydicom(path: Path, plugin: str, info: ImageInfo) -> NDArray[Any]:
    import pydicom
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    dataset = pydicom.dcmread(path, force=True)
    decoder = get_decoder(UID(info.transfer_syntax or ""))
    dataset.file_meta.TransferSyntaxUID = UID(info.transfer_syntax or "")
    raw = info.transfer_syntax not in _COLOUR_IS_CONVERTED
    plugin_of = {} if plugin == "native" else {"decoding_plugin": plugin}
    stored, _ = decoder.as_array(dataset, raw=raw, **plugin_of)
    return _clean(np.asarray(stored), dataset)


def _clean(stored: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Bits outside BitsStored removed and the sign extended, as the digest asks."""
    if stored.dtype.kind == "f" or dataset.BitsAllocated == 1:
        return stored
    allocated, bits = int(dataset.BitsAllocated), int(dataset.BitsStored)
    shift = int(dataset.HighBit) - bits + 1
    codes = stored.astype(np.int64)
    if allocated != bits and shift:
        codes >>= shift
    codes &= (1 << bits) - 1
    if dataset.PixelRepresentation:
        codes = np.where(codes >> (bits - 1), codes - (1 << bits), codes)
    return codes


def is_good(opinion: Opinion, *, lossless: bool) -> bool:
    """Equal; for a lossy file near."""
    if opinion.verdict == EQUAL:
        return True
    return not lossless and opinion.verdict.startswith("within ") and _distance(opinion) <= _LOSSY_NEAR


def _distance(opinion: Opinion) -> float:
    return float(opinion.verdict.removeprefix("within "))


def iter_files(folder: Path) -> Iterator[Path]:
    """All files below a folder, by path."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
