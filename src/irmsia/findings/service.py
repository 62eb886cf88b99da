"""What a running service says of itself: its models and its health. Both travel over every wire like the answer."""

from __future__ import annotations

from dataclasses import dataclass

from irmsia.findings.types import ModelRef


@dataclass(frozen=True, slots=True)
class IntendedUseRow:
    """One row of a model's intended use (rule 4). Ages in years, both ends included; null means any."""

    modalities: tuple[str, ...]
    region: str
    age_min: float | None = None
    age_max: float | None = None


@dataclass(frozen=True, slots=True)
class TermGroup:
    """The terms one region's head answers; ``kind``: exclusive or independent."""

    region: str
    kind: str
    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model that can be asked for. ``id``: SHA-256 of the manifest; ``active``: it answers when none is named."""

    id: str
    name: str
    version: str
    task: str
    active: bool
    ready: bool
    licence: str = ""
    runtime: str | None = None
    precision: str | None = None
    groups: tuple[TermGroup, ...] = ()
    intended_use: tuple[IntendedUseRow, ...] = ()
    limitations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """``ready``: requests are taken. ``reason`` says in a few words why not.

    ``problem``: what is wrong all the same, such as a new model that could not take over from the old one.
    ``waiting`` and ``capacity`` count requests in the queue; ``running`` those being worked on; ``uptime_s`` seconds.
    """

    ready: bool
    reason: str | None = None
    model: ModelRef | None = None
    software: str | None = None
    waiting: int = 0
    running: int = 0
    capacity: int = 0
    uptime_s: float = 0.0
    problem: str | None = None
