"""Images that are none of the starter's: real ones of the data folder by family, photographs, made text and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from irmsia.errors import InputError
from irmsia.imaging.render import encode_png, render_grey
from irmsia.imaging.types import Image, ImageInfo

Grey = NDArray[np.uint8]
Colour = NDArray[np.uint8]

CT_HEAD = "CT head"
MOSAIC = "MR mosaic"
EPI = "brain EPI (other sequence)"
OWN_ELSEWHERE = "own region, other source"
ABDOMEN = "abdomen CT and MR"
OTHER_CT = "other CT"
OTHER_MR = "other MR"
ULTRASOUND = "other ultrasound"
RADIOGRAPH = "other radiographs"
SEGMENTATION = "segmentations"
OTHER = "NM, PET, slides, light, patterns"
PHOTOGRAPHS = "colour photographs"
TEXT = "text pages"
NOISE = "noise and patterns"

FOREIGN = (
    CT_HEAD, MOSAIC, ABDOMEN, OTHER_CT, OTHER_MR, ULTRASOUND, RADIOGRAPH, SEGMENTATION, OTHER, PHOTOGRAPHS, TEXT, NOISE,
)  # fmt: skip
"""Families that the goals speak of, in the order of the table."""

MADE = (PHOTOGRAPHS, TEXT, NOISE)
"""Of these, what is no medical image at all."""

APART = (EPI, OWN_ELSEWHERE)
"""Reported, but no goal: pictures of a region that the starter is for, from elsewhere."""

# Told by looking at the pictures, because their tags say nothing or something else.
_BY_STEM = {
    "GH064": OWN_ELSEWHERE,
    "GH1261": OWN_ELSEWHERE,
    "mr": OWN_ELSEWHERE,
    "MR1": OWN_ELSEWHERE,
    "RG1": OWN_ELSEWHERE,
    "GH1308": ABDOMEN,
    "explicit_VR-UN": ABDOMEN,
    "MR-SIEMENS-DICOM-WithOverlays": ABDOMEN,
    "dx_image": RADIOGRAPH,
}
_BY_FOLDER = {"ct_head_gantry_tilt": CT_HEAD, "mr_mosaic_orientation": MOSAIC, "more_dcm_qa_nih": EPI}
_BY_MODALITY = {
    "CT": OTHER_CT,
    "MR": OTHER_MR,
    "US": ULTRASOUND,
    "CR": RADIOGRAPH,
    "DX": RADIOGRAPH,
    "SEG": SEGMENTATION,
}
_LEFT_OUT = {"made_corrupt", "reference_nifti"}

_WORDS = (
    "lesion",
    "report",
    "patient",
    "normal",
    "region",
    "slice",
    "image",
    "findings",
    "of",
    "the",
    "with",
    "no",
    "mm",
    "left",
)


@dataclass(frozen=True)
class ForeignImage:
    """One picture that the starter should refuse.

    Attributes:
        family: one of the names above.
        group: series, photograph or kind it comes from; images of one group are no independent draws.
        png: the picture alone, as a grey or RGB file without tags.
        dicom: the file with its tags, else null.
        name: the file's, or which of its kind.
    """

    family: str
    group: str
    png: bytes
    dicom: bytes | None = None
    name: str = ""


def family_of(path: Path, info: ImageInfo) -> str:
    """Return the family of a DICOM file: by its folder, by what its picture shows, else by its modality."""
    for folder, family in _BY_FOLDER.items():
        if folder in path.parts:
            return family
    seen = _BY_STEM.get(_picture_name(path))
    return seen or _BY_MODALITY.get(info.modality or "", OTHER)


def group_of(path: Path, info: ImageInfo) -> str:
    """Return the series; files that are encodings of one published picture share their name's first part."""
    if "wg04_compression" in path.parts or "misc_pydicom" in path.parts:
        return _picture_name(path).split("_")[0]
    return info.identity.series_instance_uid or _picture_name(path)


def _picture_name(path: Path) -> str:
    stem = path.name.removesuffix(".dcm")
    encodings = ("_J2KI", "_J2KR", "_JLSL", "_JLSN", "_JPLL", "_JPLY", "_REF", "_RLE", "_UNCI")
    return next((stem.removesuffix(ending) for ending in encodings if stem.endswith(ending)), stem)


def dicom_images(folder: Path, read: Callable[[bytes], Image]) -> Iterator[ForeignImage]:
    """Yield the first frame of every readable DICOM file below ``folder``; pixels that came before are left out."""
    seen: set[str] = set()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or _LEFT_OUT & set(path.parts):
            continue
        content = path.read_bytes()
        try:
            image = read(content)
        except InputError:
            continue
        if image.info.modality is None and image.info.format != "DICOM":
            continue
        first = image.info.frame_sha256[0]
        if first not in seen:
            seen.add(first)
            png = encode_png(render_grey(image, image.indices[0]))
            yield ForeignImage(family_of(path, image.info), group_of(path, image.info), png, content, path.name)


def photographs() -> Iterator[ForeignImage]:
    """Yield the two photographs that scikit-learn ships: whole, at three scales, and nine crops; two groups."""
    from sklearn.datasets import load_sample_images

    for number, photograph in enumerate(load_sample_images().images):
        for place, view in enumerate(_views(np.asarray(photograph))):
            yield ForeignImage(PHOTOGRAPHS, f"photograph {number}", encode_png(view), name=f"{number}, view {place}")


def _views(picture: Colour) -> Iterator[Colour]:
    for scale in (1.0, 0.5, 0.25):
        yield cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    for row in range(3):
        for column in range(3):
            top, left = row * height // 2, column * width // 2
            yield np.ascontiguousarray(picture[top : top + height, left : left + width])


def text_pages(count: int = 40) -> Iterator[ForeignImage]:
    """Yield pages of made-up words in built-in fonts, dark on light and light on dark; each its own group."""
    for number in range(count):
        page = _page(np.random.default_rng((7, number)))
        yield ForeignImage(TEXT, f"page {number}", encode_png(page), name=f"page {number}")


def _page(draw: np.random.Generator) -> Grey:
    height, width, size = (int(draw.integers(*span)) for span in ((200, 700), (200, 700), (9, 28)))
    paper, ink = (245, 15) if draw.random() < 0.7 else (10, 240)
    sheet = Picture.new("L", (width, height), paper)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=size)
    for row in range(size, height - size, round(size * 1.5)):
        words = " ".join(draw.choice(_WORDS, size=int(draw.integers(1, max(2, width // (5 * size))))))
        pen.text((size, row), words, fill=ink, font=font)
    return np.asarray(sheet, np.uint8).copy()


def noise_images(each: int = 6) -> Iterator[ForeignImage]:
    """Yield pictures of noise and patterns, ``each`` of every kind; a kind is one group."""
    for kind, make in _NOISES.items():
        for number in range(each):
            draw = np.random.default_rng((11, number))
            picture = make(draw, int(draw.integers(96, 400)))
            yield ForeignImage(NOISE, kind, encode_png(picture), name=f"{kind} {number}")


def _to_grey(values: NDArray[np.float64]) -> Grey:
    low, high = float(values.min()), float(values.max())
    return np.asarray(np.rint(255 * (values - low) / max(high - low, 1e-12)), np.uint8)


def _pink(draw: np.random.Generator, size: int) -> Grey:
    """Noise whose amplitude falls as 1 / frequency, as in natural pictures."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
    spectrum = np.fft.fft2(draw.normal(size=(size, size))) / np.maximum(frequency, 1 / size)
    return _to_grey(np.real(np.fft.ifft2(spectrum)))


def _smooth(draw: np.random.Generator, size: int) -> Grey:
    return _to_grey(cv2.GaussianBlur(draw.normal(size=(size, size)), (0, 0), size / 20))


def _stripes(draw: np.random.Generator, size: int) -> Grey:
    place = np.arange(size) * draw.uniform(0.05, 0.6)
    return _to_grey(np.sin(place[:, None] * draw.random() + place[None, :]))


def _boxes(draw: np.random.Generator, size: int) -> Grey:
    side = int(draw.integers(4, 24))
    return _to_grey((np.indices((size, size)) // side).sum(axis=0).astype(np.float64) % 2)


def _circles(draw: np.random.Generator, size: int) -> Grey:
    sheet = np.zeros((size, size), np.uint8)
    for _ in range(int(draw.integers(3, 15))):
        centre = tuple(int(place) for place in draw.integers(0, size, 2))
        cv2.circle(sheet, centre, int(draw.integers(4, size // 4)), int(draw.integers(60, 256)), -1)
    return sheet


_NOISES: dict[str, Callable[[np.random.Generator, int], Grey]] = {
    "uniform": lambda draw, size: draw.integers(0, 256, (size, size), dtype=np.uint8),
    "gaussian": lambda draw, size: np.clip(draw.normal(128, 40, (size, size)), 0, 255).astype(np.uint8),
    "salt and pepper": lambda draw, size: np.where(draw.random((size, size)) < 0.1, 255, 0).astype(np.uint8),
    "speckle": lambda draw, size: _to_grey(draw.rayleigh(1.0, (size, size))),
    "pink": _pink,
    "smooth": _smooth,
    "gradient": lambda draw, size: _to_grey(np.add.outer(np.arange(size) * draw.random(), np.arange(size) * 1.0)),
    "stripes": _stripes,
    "boxes": _boxes,
    "circles": _circles,
}
