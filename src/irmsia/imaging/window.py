"""VOI: which grey window a picture is seen through, and the formulas of DICOM PS3.3 C.11.2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from irmsia.errors import InvalidRequestError
from irmsia.imaging.presets import PRESETS, PresetName, default_preset, find_preset
from irmsia.imaging.types import Interpretation, Lut, Window

Tone = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Maps values one by one."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
CT_PRESETS: dict[str, Window] = {name: row.window for name, row in PRESETS.items() if row.window is not None}
"""Usual CT windows, Hounsfield units."""


class VoiSpec(BaseModel):
    """Which VOI is asked for.

    ``file``: the file's own, else automatic. ``preset``: a row of `irmsia.imaging.presets`. ``window``: ``center``
    and ``width`` in modality values. ``percentile``: stretch between two percentiles. ``automatic``: as if the file had
    no VOI.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["file", "preset", "window", "percentile", "automatic"] = "file"
    preset: PresetName | None = None
    center: Finite | None = None
    width: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"
    low_percentile: Percent = 0.5
    high_percentile: Percent = 99.5

    @model_validator(mode="after")
    def _fits_method(self) -> VoiSpec:
        if (self.method == "preset") != (self.preset is not None):
            raise ValueError("preset is given with method preset, and only then")
        has_window = self.center is not None and self.width is not None
        if (self.method == "window") != has_window or (self.center is None) != (self.width is None):
            raise ValueError("center and width are given with method window, and only then")
        if self.width is not None and not is_usable(Window(0.0, self.width, self.function)):
            raise ValueError("a LINEAR window is at least 1 wide (DICOM PS3.3 C.11.2.1.2.1)")
        if self.low_percentile >= self.high_percentile:
            raise ValueError("the low percentile lies below the high one")
        return self


class VoiSource(StrEnum):
    """Where the VOI that was used comes from."""

    REQUESTED = "REQUESTED"
    FILE_LUT = "FILE_LUT"
    FILE_WINDOW = "FILE_WINDOW"
    AUTOMATIC = "AUTOMATIC"
    NONE = "NONE"
    """Colour: no VOI applies, the whole range is shown."""


@dataclass(frozen=True, slots=True)
class VoiUsed:
    """The VOI behind a picture. ``reason`` is for people; ``stretched``: fitted to the values of this frame.

    ``center`` and ``width`` in modality values, null for a table.
    """

    source: VoiSource
    reason: str
    center: float | None = None
    width: float | None = None
    function: str | None = None
    stretched: bool = False

    @property
    def automatic(self) -> bool:
        """True when neither the request nor the file chose."""
        return self.source is VoiSource.AUTOMATIC


@dataclass(frozen=True, slots=True)
class Range:
    """What the automatic VOI needs of a frame, in modality values.

    ``full``: the whole range of an 8-bit file outside DICOM, else null. ``percentiles``: of the unpadded values;
    ``foreground``: of those but the most frequent one. ``whole``: all that the stored bits can hold, null for floats.
    ``modality``, ``region`` and ``sequence`` (a guess) choose among presets.
    """

    full: tuple[float, float] | None
    percentiles: Callable[[float, float], tuple[float, float]]
    foreground: Callable[[float, float], tuple[float, float]] | None = None
    whole: tuple[float, float] | None = None
    modality: str | None = None
    region: str | None = None
    sequence: str | None = None


def window_tone(window: Window) -> Tone:
    """The formula of ``window`` with output 0..1 (DICOM PS3.3 C.11.2.1.2.1 and C.11.2.1.3)."""
    formula = _FORMULAS.get(window.function, _linear)
    return lambda values: formula(values, window.center, window.width)


def lut_tone(lut: Lut) -> Tone:
    """The VOI LUT with output 0..1; inputs outside are clamped (DICOM PS3.3 C.11.2.1.1)."""
    top = float(2**lut.bits - 1) if lut.bits is not None else float(lut.values.max())
    scaled = np.clip(lut.values / (top or 1.0), 0.0, 1.0)
    return lambda values: look_up(values, lut.first, scaled)


def stretch_tone(low: float, high: float) -> Tone:
    """Linear from ``low`` = 0 to ``high`` = 1; a step where both are equal."""
    if high <= low:
        return lambda values: (values > low).astype(np.float64)
    return lambda values: np.clip((values - low) / (high - low), 0.0, 1.0)


def look_up(values: NDArray[np.float64], first: int, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """``table[round(value) - first]``, both ends clamped."""
    index = np.clip(np.rint(values) - first, 0, len(table) - 1).astype(np.intp)
    found: NDArray[np.float64] = table[index]
    return found


def is_usable(window: Window) -> bool:
    """Whether the width suits the function: at least 1 for LINEAR, above 0 for the others."""
    least = 1.0 if window.function not in ("LINEAR_EXACT", "SIGMOID") else np.finfo(np.float64).tiny
    return bool(np.isfinite(window.center) and np.isfinite(window.width) and window.width >= least)


def choose_voi(spec: VoiSpec, interpretation: Interpretation, span: Range) -> tuple[Tone, VoiUsed]:
    """The VOI by the order of contract section 1: asked for, the file's LUT, its first window, automatic.

    Raises:
        InvalidRequestError: a preset that is not for this image.
    """
    if spec.method == "preset":
        return _preset(spec, interpretation, span)
    if spec.method == "window":
        window = Window(spec.center or 0.0, spec.width or 1.0, spec.function)
        return window_tone(window), _used(window, VoiSource.REQUESTED, "window asked for")
    if spec.method == "percentile":
        return _stretch(spec, span, VoiSource.REQUESTED, "asked for")
    if spec.method == "automatic":
        return _automatic(spec, span, "asked for")
    return _from_file(spec, interpretation, span)


def _preset(spec: VoiSpec, interpretation: Interpretation, span: Range) -> tuple[Tone, VoiUsed]:
    hounsfield = interpretation.units == "HU"
    name = spec.preset
    if name == "default":
        chosen = default_preset(span.modality, span.region, hounsfield=hounsfield)
        if chosen is None:
            return _automatic(spec, span, "no preset suits this image")
    else:
        chosen = str(name)
    preset = find_preset(chosen, span.modality, span.sequence)
    why = f"preset {chosen} asked for"
    if preset.window is not None:
        if not hounsfield:
            raise InvalidRequestError(f"the preset {chosen} needs Hounsfield units; this image has none")
        return window_tone(preset.window), _used(preset.window, VoiSource.REQUESTED, why)
    if preset.percentiles is None:
        return _whole(span, why)
    if chosen == "mr":
        why += f", sequence guessed as {span.sequence}" if span.sequence else ", sequence not known"
    return _preset_stretch(span, preset.percentiles, foreground=preset.foreground, why=why)


def _preset_stretch(span: Range, between: tuple[float, float], *, foreground: bool, why: str) -> tuple[Tone, VoiUsed]:
    of = span.foreground if foreground and span.foreground is not None else span.percentiles
    low, high = of(*between)
    reason = f"{why}: P{between[0]:g}..P{between[1]:g} of the values{' but the background' if foreground else ''}"
    return stretch_tone(low, high), _stretched(low, high, VoiSource.REQUESTED, reason)


def _whole(span: Range, why: str) -> tuple[Tone, VoiUsed]:
    low, high = span.whole or span.percentiles(0.0, 100.0)
    used = VoiUsed(
        VoiSource.REQUESTED,
        f"{why}: the whole range of the stored bits" if span.whole else f"{why}: all values",
        (low + high) / 2,
        high - low,
        "LINEAR_EXACT",
        stretched=span.whole is None,
    )
    return stretch_tone(low, high), used


def _from_file(spec: VoiSpec, interpretation: Interpretation, span: Range) -> tuple[Tone, VoiUsed]:
    if interpretation.voi_luts and interpretation.voi_luts[0].values.size:
        used = VoiUsed(VoiSource.FILE_LUT, "first VOI LUT of the file")
        return lut_tone(interpretation.voi_luts[0]), used
    if not interpretation.windows:
        return _automatic(spec, span, "the file has no VOI")
    window = interpretation.windows[0]
    if not is_usable(window):
        return _automatic(spec, span, "the file's window has no usable width")
    return window_tone(window), _used(window, VoiSource.FILE_WINDOW, "first window of the file")


def _automatic(spec: VoiSpec, span: Range, why: str) -> tuple[Tone, VoiUsed]:
    if span.full is None:
        return _stretch(spec, span, VoiSource.AUTOMATIC, why)
    low, high = span.full
    used = VoiUsed(VoiSource.AUTOMATIC, f"{why}: whole range of 8 bits", (low + high) / 2, high - low, "LINEAR_EXACT")
    return stretch_tone(low, high), used


def _stretch(spec: VoiSpec, span: Range, source: VoiSource, why: str) -> tuple[Tone, VoiUsed]:
    low, high = span.percentiles(spec.low_percentile, spec.high_percentile)
    reason = f"{why}: P{spec.low_percentile:g}..P{spec.high_percentile:g} of the values"
    return stretch_tone(low, high), _stretched(low, high, source, reason)


def _stretched(low: float, high: float, source: VoiSource, reason: str) -> VoiUsed:
    return VoiUsed(source, reason, (low + high) / 2, high - low, "LINEAR_EXACT", stretched=True)


def _used(window: Window, source: VoiSource, reason: str) -> VoiUsed:
    return VoiUsed(source, reason, window.center, window.width, window.function)


def _linear(values: NDArray[np.float64], center: float, width: float) -> NDArray[np.float64]:
    middle, half = center - 0.5, (width - 1.0) / 2.0
    if half <= 0.0:
        return (values > middle).astype(np.float64)
    return np.clip((values - middle) / (width - 1.0) + 0.5, 0.0, 1.0)


def _linear_exact(values: NDArray[np.float64], center: float, width: float) -> NDArray[np.float64]:
    return np.clip((values - center) / width + 0.5, 0.0, 1.0)


def _sigmoid(values: NDArray[np.float64], center: float, width: float) -> NDArray[np.float64]:
    exponent = np.clip(-4.0 * (values - center) / width, -700.0, 700.0)
    return np.asarray(1.0 / (1.0 + np.exp(exponent)), dtype=np.float64)


_FORMULAS: dict[str, Callable[[NDArray[np.float64], float, float], NDArray[np.float64]]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}
