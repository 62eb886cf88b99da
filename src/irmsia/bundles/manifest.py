"""The manifest of a bundle (contract section 5): what the sealed model is, and the digest of every file of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from irmsia.findings.rules import ModelRules
from irmsia.imaging.preprocess import PreprocessSpec

Finite = Annotated[float, Field(allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PartName = Literal["train", "validation", "test", "external"]

INT8_MODEL_FILE = "models/model.int8.onnx"
"""Where a bundle keeps its INT8 network, if it has one."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Part):
    """Digest and size of one file of the bundle."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class Metric(_Part):
    """A measured number with its 95 % interval; ``n`` images in ``groups`` patients or clusters.

    ``region`` and ``term``: what it is of; null where it concerns all of them.
    """

    name: str
    value: Finite
    low: Finite
    high: Finite
    n: int
    groups: int
    part: PartName
    region: str | None = None
    term: str | None = None


class PartSize(_Part):
    """How many images of how many patients or clusters one part holds of one term."""

    part: PartName
    region: str
    term: str
    images: Annotated[int, Field(ge=0)]
    groups: Annotated[int, Field(ge=0)]


class HowMade(_Part):
    """What is needed to make the bundle again; ``parts``: what it was made and measured on, where its maker says."""

    software: str
    seed: int
    samples_seen: int
    data_digest: Sha256
    sealed_digest: Sha256
    libraries: dict[str, str]
    parameters: int
    architecture: str
    parts: tuple[PartSize, ...] = ()


class ManifestFields(_Part):
    """Everything a bundle's maker states; `Manifest` adds the digests. Schema version 1.

    ``statements``: what only the maker can say, by item of the CLAIM checklist (`irmsia.bundles.claim`).
    """

    schema_version: Literal[1] = 1
    task: Literal["classification"] = "classification"
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,31}$")]
    licence: str
    created: str
    model_file: str = "models/model.onnx"
    preprocessing: PreprocessSpec
    rules: ModelRules
    limitations: tuple[str, ...]
    metrics: tuple[Metric, ...]
    how_made: HowMade
    statements: dict[str, str] = Field(default_factory=dict)


class Manifest(ManifestFields):
    """``files`` lists every file of the bundle but manifest.json and signature.json, by POSIX path."""

    files: dict[str, FileEntry]
