"""Contrast-limited adaptive histogram equalisation, for preprocessing and for viewing."""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class ClaheSpec(BaseModel):
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994) of 256 levels, at stored resolution.

    Not of 65536: OpenCV's clip limit is relative to the pixels a level, and with so many levels nothing is left of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    clip_limit: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 2.0
    tiles: Annotated[int, Field(ge=1, le=64)] = 8


def apply_clahe(values: NDArray[np.float32], spec: ClaheSpec) -> NDArray[np.float32]:
    """Equalise a picture 0..1, (rows, columns) or (rows, columns, 3), each channel by itself."""
    equaliser = cv2.createCLAHE(spec.clip_limit, (spec.tiles, spec.tiles))
    levels = np.rint(values * 255.0).astype(np.uint8)
    planes = [levels] if levels.ndim == 2 else list(cv2.split(levels))
    equalised = np.stack([equaliser.apply(plane) for plane in planes], axis=-1)
    return np.asarray(equalised.reshape(values.shape).astype(np.float32) / np.float32(255.0))
