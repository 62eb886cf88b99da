"""Images made by hand, without any reader."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from irmsia.imaging.phantoms import Phantom
from irmsia.imaging.types import Image, ImageFormat, ImageInfo, Interpretation, Window


def make_image(pixels: Any, format: ImageFormat = ImageFormat.PNG, **look: Any) -> Image:
    """One frame: (rows, columns) grey or (rows, columns, samples); ``look`` goes to `Interpretation`."""
    array = np.asarray(pixels)
    samples = array[..., None] if array.ndim == 2 else array
    if "bits_stored" not in look and samples.dtype.kind in "iu":
        look["bits_stored"] = 8 * samples.dtype.itemsize
    return Image(ImageInfo(format=format), Interpretation(**look), samples[None].copy(), (0,))


def make_dicom_image(pixels: Any, **look: Any) -> Image:
    """`make_image` of format DICOM, MONOCHROME2 unless told."""
    return make_image(pixels, ImageFormat.DICOM, **{"photometric": "MONOCHROME2", **look})


def make_texture(rows: int, columns: int, top: int, seed: int = 0) -> NDArray[np.int64]:
    """A picture without symmetry, whole numbers 0..top."""
    noise = np.random.default_rng(seed).random((rows, columns))
    ramp = np.add.outer(np.arange(rows) / rows, 0.5 * np.arange(columns) / columns) / 1.5
    return np.asarray(np.rint((0.8 * ramp + 0.2 * noise) * top), dtype=np.int64)


def image_of_phantom(phantom: Phantom) -> Image:
    """As pydicom alone reads it, so that the phantom is checked by another reader than ours."""
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(phantom.data))
    padding = dataset.get("PixelPaddingValue")
    return make_dicom_image(
        dataset.pixel_array,
        photometric=dataset.PhotometricInterpretation,
        bits_stored=dataset.BitsStored,
        slope=float(dataset.get("RescaleSlope", 1)),
        intercept=float(dataset.get("RescaleIntercept", 0)),
        units="HU" if dataset.Modality == "CT" else None,
        padding=None if padding is None else (float(padding), float(padding)),
        windows=(Window(float(dataset.WindowCenter), float(dataset.WindowWidth)),),
        inverted=dataset.PhotometricInterpretation == "MONOCHROME1",
    )
