"""What a decoder child does to tell a file by its pixels: it gives measures, so that no pixels travel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from irmsia.datasets.fingerprint import Guess, known_looks, measure
from irmsia.datasets.survey import first_frame
from irmsia.errors import NoPixelDataError
from irmsia.imaging.frames import OneFrame
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.read import Reading


@dataclass(frozen=True, slots=True)
class FingerprintTask:
    """Measure the first frame of one file; a task of `irmsia.imaging.guard.DecoderPool.run`."""

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Callable[[int, int], None]) -> Any:
        """The measures as plain numbers. Raises `InputError` leaves. Later frames are not decoded."""
        reading = Reading(data, limits, key, digest_input=False)
        for image in reading.images(OneFrame(), tick):
            return measure(first_frame(image)).tolist()
        raise NoPixelDataError("the file holds no frame")


def guess_from(answer: Any) -> Guess | None:
    """What the package's looks make of a child's answer; null of one that is no fingerprint."""
    try:
        features = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    looks = known_looks()
    if features.shape != looks.centre.shape or not np.isfinite(features).all():
        return None
    return looks.guess(features)
