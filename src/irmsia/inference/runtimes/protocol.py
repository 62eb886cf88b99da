"""What runs a network, whoever made it: bytes in, compiled network out, one session a thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[np.float32]]


class Precision(StrEnum):
    """Number format of inference."""

    F32 = "f32"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class Plan:
    """How to compile: number format, sessions that run at once, processor threads of each."""

    precision: Precision
    sessions: int = 1
    threads: int = 1


class Session(Protocol):
    """One thread's way into a compiled network."""

    def infer(self, batch: NDArray[np.float32]) -> Tensors:
        """Outputs by name for ``batch`` (N, 1, S, S); the arrays belong to the caller."""
        ...


class Compiled(Protocol):
    """A network made ready for this processor."""

    def open_session(self) -> Session:
        """A session for one thread. Sessions of several threads run at once."""
        ...

    def export(self, scratch: Path) -> bytes | None:
        """What `Runtime.restore` makes the same of; null where that gains nothing or cannot be done.

        ``scratch``: a folder of this user alone, for a library that writes files only.
        """
        ...


class Runtime(Protocol):
    """A library that runs ONNX networks."""

    @property
    def version(self) -> str:
        """Of the library."""
        ...

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What it computes in on this processor; INT8 means networks that hold INT8 weights."""
        ...

    @property
    def accelerated(self) -> bool:
        """Whether it computes on a graphics card, where many images together cost little more than one."""
        ...

    def compile(self, model: bytes, plan: Plan) -> Compiled:
        """Make the network ``model`` (ONNX) ready.

        Raises:
            BundleRejectedError: the runtime does not take the network.
            InvalidRequestError: it does not compute in that precision on this processor.
        """
        ...

    def restore(self, blob: bytes, plan: Plan) -> Compiled:
        """What `Compiled.export` gave for the same plan. ``blob`` must be trusted: libraries do not check it.

        Raises:
            BundleRejectedError: the runtime does not take it.
        """
        ...


def check_precision(runtime: Runtime, name: str, precision: Precision) -> None:
    """Nothing when ``runtime`` computes in ``precision`` here.

    Raises:
        InvalidRequestError: it would silently compute in another one.
    """
    from irmsia.errors import InvalidRequestError

    if precision not in runtime.precisions:
        raise InvalidRequestError(f"{name} does not compute in {precision} on this processor")
