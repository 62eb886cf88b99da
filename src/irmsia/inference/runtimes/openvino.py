"""OpenVINO on the processor. It takes bf16 by itself where the processor has it, so the precision is always stated."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irmsia.errors import BundleRejectedError
from irmsia.inference.runtimes.protocol import Compiled, Plan, Precision, Session, Tensors, check_precision
from irmsia.inference.runtimes.registry import register_runtime

# The library's converter comes with a usage reporter. It falls back to an empty one when that cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is Python's own mark for "absent"

import openvino  # noqa: E402  # must follow the line above

_NAME = "openvino"
_DEVICE = "CPU"


@register_runtime(_NAME)
class OpenVinoRuntime:
    """Compiles for the processor, one stream a session."""

    def __init__(self) -> None:
        self._core = openvino.Core()

    @property
    def version(self) -> str:
        """Of the library, with its build."""
        return str(openvino.get_version())

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Bf16 only where the processor has it: elsewhere the library computes in f32 whatever is asked."""
        able = self._core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        return Precision.F32, *([Precision.BF16] if "BF16" in able else []), Precision.INT8

    @property
    def accelerated(self) -> bool:
        """Never: it is asked for the processor alone."""
        return False

    def compile(self, model: bytes, plan: Plan) -> Compiled:
        """See `irmsia.inference.runtimes.protocol.Runtime.compile`."""
        check_precision(self, _NAME, plan.precision)
        try:
            network = self._core.read_model(model, b"")
            return _Compiled(self._core.compile_model(network, _DEVICE, _options(plan)))
        except RuntimeError as error:
            raise BundleRejectedError("OpenVINO does not take the network") from error

    def restore(self, blob: bytes, plan: Plan) -> Compiled:
        """See `irmsia.inference.runtimes.protocol.Runtime.restore`."""
        try:
            return _Compiled(self._core.import_model(io.BytesIO(blob), _DEVICE, _options(plan)))
        except RuntimeError as error:
            raise BundleRejectedError("OpenVINO does not take what was kept of the network") from error


def _options(plan: Plan) -> dict[str, str]:
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if plan.precision is Precision.BF16 else "f32",
        "NUM_STREAMS": str(plan.sessions),
        # The library counts the threads of all streams together.
        "INFERENCE_NUM_THREADS": str(plan.sessions * plan.threads),
        # Several processes share the processor; pinned threads would stand on the same cores.
        "ENABLE_CPU_PINNING": "NO",
    }


class _Compiled:
    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def open_session(self) -> Session:
        return _Session(self._compiled.create_infer_request())

    def export(self, scratch: Path) -> bytes | None:
        blob = self._compiled.export_model()
        return bytes(blob.getvalue() if isinstance(blob, io.BytesIO) else blob)


class _Session:
    def __init__(self, request: Any) -> None:
        self._request = request

    def infer(self, batch: NDArray[np.float32]) -> Tensors:
        # One image at a time. The library (2026.4) adds the bias of a fused ReduceSum by row where there are several
        # rows, so a logit in a batch is off by whole units.
        rows = [self._infer_one(batch[row : row + 1]) for row in range(len(batch))]
        return rows[0] if len(rows) == 1 else {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _infer_one(self, image: NDArray[np.float32]) -> Tensors:
        results = self._request.infer({0: image}, share_inputs=True)
        # The request keeps its output buffers for the next image.
        return {port.any_name: np.array(values, np.float32) for port, values in results.items()}
