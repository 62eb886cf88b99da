"""What runs a network, whoever made it: bytes in, compiled network out, one session a thread."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[np.float32]]


class Precision(StrEnum):
    """Number format of inference. ``AUTO``: bf16 where the processor has it, else f32."""

    F32 = "f32"
    BF16 = "bf16"
    INT8 = "int8"
    AUTO = "auto"


class Session(Protocol):
    """One thread's way into a compiled network."""

    def infer(self, batch: NDArray[np.float32]) -> Tensors:
        """Outputs by name for ``batch`` (N, 1, S, S); the arrays belong to the caller."""
        ...


class Compiled(Protocol):
    """A network made ready for this processor."""

    @property
    def precision(self) -> Precision:
        """What it computes in; never AUTO."""
        ...

    def open_session(self) -> Session:
        """A session for one thread. Sessions of several threads run at once."""
        ...


class Runtime(Protocol):
    """A library that runs ONNX networks."""

    def compile(self, model: bytes, *, precision: Precision, sessions: int, threads: int) -> Compiled:
        """Make ``model`` ready for ``sessions`` sessions at once, each on ``threads`` processor threads.

        Raises:
            BundleRejectedError: the runtime does not take the network.
        """
        ...
