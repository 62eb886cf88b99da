"""OpenVINO on the processor. It takes bf16 by itself where the processor has it, so the precision is always stated."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import BundleRejectedError
from irmsia.inference.runtimes.protocol import Compiled, Precision, Session, Tensors
from irmsia.inference.runtimes.registry import register_runtime

# The library's converter comes with a usage reporter. It falls back to an empty one when that cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is Python's own mark for "absent"

import openvino  # noqa: E402  # must follow the line above

_DEVICE = "CPU"


@register_runtime("openvino")
class OpenVinoRuntime:
    """Compiles for the processor, one stream a session."""

    def __init__(self) -> None:
        self._core = openvino.Core()

    def compile(self, model: bytes, *, precision: Precision, sessions: int, threads: int) -> Compiled:
        """See `irmsia.inference.runtimes.protocol.Runtime.compile`."""
        exact = self._resolve(precision)
        hint = "bf16" if exact is Precision.BF16 else "f32"
        options = {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": str(sessions),
            # The library counts the threads of all streams together.
            "INFERENCE_NUM_THREADS": str(sessions * threads),
            # Several processes share the processor; pinned threads would stand on the same cores.
            "ENABLE_CPU_PINNING": "NO",
        }
        try:
            compiled = self._core.compile_model(self._core.read_model(model, b""), _DEVICE, options)
        except RuntimeError as error:
            raise BundleRejectedError("OpenVINO does not take the network") from error
        return _Compiled(compiled, exact)

    def _resolve(self, precision: Precision) -> Precision:
        if precision is not Precision.AUTO:
            return precision
        able = self._core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        return Precision.BF16 if "BF16" in able else Precision.F32


class _Compiled:
    def __init__(self, compiled: Any, precision: Precision) -> None:
        self._compiled = compiled
        self._precision = precision

    @property
    def precision(self) -> Precision:
        return self._precision

    def open_session(self) -> Session:
        return _Session(self._compiled.create_infer_request())


class _Session:
    def __init__(self, request: Any) -> None:
        self._request = request

    def infer(self, batch: NDArray[np.float32]) -> Tensors:
        results = self._request.infer({0: batch}, share_inputs=True)
        # The request keeps its output buffers for the next image.
        return {port.any_name: np.array(values, np.float32) for port, values in results.items()}
