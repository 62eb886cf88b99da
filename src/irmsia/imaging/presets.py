"""Named grey windows: by kind of image and, for MR, by the guessed sequence. Conventions of viewers, not medicine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from irmsia.errors import InvalidRequestError
from irmsia.imaging.types import Window

PresetName = Literal[
    "default", "soft_tissue", "lung", "bone", "brain", "mediastinum", "xray", "mammography", "ultrasound", "mr"
]
"""``default``: the one that suits the image."""


@dataclass(frozen=True, slots=True)
class Preset:
    """One row of the table: exactly one of ``window``, ``percentiles`` or neither for the whole range of the bits.

    ``modalities``: those it is for; a file without a modality may have it too. ``window``: in Hounsfield units.
    ``foreground``: percentiles of the values other than the most frequent one, the air beside a breast.
    """

    about: str
    modalities: frozenset[str]
    window: Window | None = None
    percentiles: tuple[float, float] | None = None
    foreground: bool = False


_CT = frozenset({"CT"})
PRESETS: dict[str, Preset] = {
    "soft_tissue": Preset("CT: organs of the trunk", _CT, Window(40.0, 400.0)),
    "lung": Preset("CT: lung", _CT, Window(-600.0, 1500.0)),
    "bone": Preset("CT: bone", _CT, Window(400.0, 1800.0)),
    "brain": Preset("CT: brain", _CT, Window(40.0, 80.0)),
    "mediastinum": Preset("CT: mediastinum", _CT, Window(50.0, 350.0)),
    "xray": Preset(
        "X-ray: collimator edges and markers cut off",
        frozenset({"CR", "DX", "RF", "XA", "PX", "IO", "RG"}),
        percentiles=(1.0, 99.0),
    ),
    "mammography": Preset(
        "breast X-ray: the air beside the breast left out", frozenset({"MG"}), percentiles=(1.0, 99.8), foreground=True
    ),
    "ultrasound": Preset("ultrasound: as the device made it", frozenset({"US", "IVUS"})),
    "mr": Preset("MR: percentiles that suit the guessed sequence", frozenset({"MR"}), percentiles=(0.5, 99.5)),
}

MR_PERCENTILES: dict[str, tuple[float, float]] = {
    "T1": (1.0, 99.0),
    "T2": (1.0, 99.5),
    "FLAIR": (1.0, 99.5),
    "PD": (1.0, 99.0),
    "STIR": (1.0, 99.5),
    "DWI": (1.0, 99.8),
    "ADC": (1.0, 99.0),
    "T2_STAR": (1.0, 99.0),
    "ANGIO": (5.0, 99.9),
}
"""By the label of `irmsia.imaging.sequence`; what shines in a sequence (fluid, restricted diffusion, vessels) stays
below white.
"""


def default_preset(modality: str | None, region: str | None, *, hounsfield: bool) -> str | None:
    """The preset that suits an image, or null: then the automatic window does. CT: only of Hounsfield units."""
    if modality == "CT":
        return None if not hounsfield else "brain" if region == "brain" else "soft_tissue"
    return next((name for name, preset in PRESETS.items() if modality in preset.modalities), None)


def find_preset(name: str, modality: str | None, sequence: str | None) -> Preset:
    """The row ``name`` as it holds for one image; MR percentiles are those of its ``sequence``.

    Raises:
        InvalidRequestError: the preset is for another modality.
    """
    preset = PRESETS[name]
    if modality is not None and modality not in preset.modalities and preset.window is None:
        meant = ", ".join(sorted(preset.modalities))
        raise InvalidRequestError(f"the preset {name} is for {meant}; this image is {modality[:16]}")
    if name == "mr" and sequence in MR_PERCENTILES:
        return Preset(preset.about, preset.modalities, percentiles=MR_PERCENTILES[sequence])
    return preset
