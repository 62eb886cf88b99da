"""Tasks that stand for hostile inputs: they crash, hang or swell in the child that runs them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import cv2
import numpy as np

from irmsia.imaging.decode_task import Tick
from irmsia.imaging.limits import ReadLimits


@dataclass(frozen=True)
class Crash:
    """Ends its process by a signal, as a decoder's bug would."""

    signal: int = signal.SIGSEGV

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> None:
        os.kill(os.getpid(), self.signal)
        time.sleep(60)


@dataclass(frozen=True)
class Hang:
    """Never ends, and says nothing."""

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> None:
        time.sleep(600)


@dataclass(frozen=True)
class Slow:
    """Takes long, but each frame is quick."""

    frames: int
    seconds_a_frame: float

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> int:
        for index in range(self.frames):
            tick(index, self.frames)
            time.sleep(self.seconds_a_frame)
        return self.frames


@dataclass(frozen=True)
class Liar:
    """Says of its progress what is no progress."""

    index: object
    total: object

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> int:
        time.sleep(0.15)
        tick(self.index, self.total)  # type: ignore[arg-type]  # that is the lie
        return 0


@dataclass(frozen=True)
class Swell:
    """Takes ``size`` bytes of memory and touches each page."""

    size: int

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> int:
        return int(np.ones(self.size, np.uint8)[:: 1 << 12].sum())


@dataclass(frozen=True)
class Bug:
    """Raises what nobody expects, with something in its text that must not get out."""

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> None:
        raise KeyError("Doe^Jane")


_kept: list[np.ndarray] = []


@dataclass(frozen=True)
class Keep:
    """Keeps ``size`` bytes of memory for ever, as a codec that leaks."""

    size: int

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> int:
        _kept.append(np.ones(self.size, np.uint8))
        return _kept[-1].size


@dataclass(frozen=True)
class OpenCvSwell:
    """Asks OpenCV for more than ``size`` bytes."""

    size: int

    def run(self, data: memoryview, limits: ReadLimits, key: bytes | None, tick: Tick) -> int:
        return int(cv2.resize(np.ones((1, 16), np.uint8), (1 << 14, self.size >> 14)).size)
