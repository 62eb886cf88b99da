"""ONNX Runtime: TensorRT or CUDA where the installed build and the machine have them, else the processor.

The processor computes in f32, or in INT8 where the network holds INT8 weights; it has no bf16 kernels.
"""

from __future__ import annotations

import functools
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Graphics cards round f32 products to 10 bits unless told otherwise; then f32 would not be f32.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")

import onnxruntime  # must follow the line above
from onnxruntime.capi import onnxruntime_pybind11_state as state

from irmsia.errors import BundleRejectedError, InternalError
from irmsia.inference.runtimes.protocol import Compiled, Plan, Precision, Session, Tensors, check_precision
from irmsia.inference.runtimes.registry import register_runtime
from irmsia.telemetry import get_logger, log_event

_NAME = "onnxruntime"
_CPU = "CPUExecutionProvider"
_ACCELERATORS = ("TensorrtExecutionProvider", "CUDAExecutionProvider")
"""In order of preference."""

_FATAL_ONLY = 4
_ERRORS = (
    RuntimeError,
    ValueError,
    state.EPFail,
    state.EngineError,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)

_log = get_logger(__name__)

# Its own messages hold paths; what matters comes back as an exception. The reporter exists in some builds only.
onnxruntime.set_default_logger_severity(_FATAL_ONLY)
onnxruntime.disable_telemetry_events()


@register_runtime(_NAME)
class OnnxRuntime:
    """One session of the library a network; its threads are shared by all of ours.

    Args:
        available: execution providers to choose from; null asks the library.
    """

    def __init__(self, available: Sequence[str] | None = None) -> None:
        known = onnxruntime.get_available_providers() if available is None else available
        self._providers = (*(name for name in _ACCELERATORS if name in known), _CPU)

    @property
    def version(self) -> str:
        """Of the library, and what it may compute on."""
        return f"{onnxruntime.__version__} {'+'.join(name.removesuffix(_SUFFIX) for name in self._providers)}"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """See the module: no bf16."""
        return Precision.F32, Precision.INT8

    @property
    def accelerated(self) -> bool:
        """Whether another provider than the processor's is asked first."""
        return self._providers[0] != _CPU

    def compile(self, model: bytes, plan: Plan) -> Compiled:
        """See `irmsia.inference.runtimes.protocol.Runtime.compile`."""
        check_precision(self, _NAME, plan.precision)
        session = self._open(model, plan)
        # What was kept is restored on the processor alone, so nothing is kept where a card may serve next time.
        return _Compiled(session, model if self._providers == (_CPU,) else None, plan)

    def restore(self, blob: bytes, plan: Plan) -> Compiled:
        """See `irmsia.inference.runtimes.protocol.Runtime.restore`."""
        options = _options(plan)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = _make_session(blob, options, (_CPU,))
        except _ERRORS as error:
            raise BundleRejectedError("ONNX Runtime does not take what was kept of the network") from error
        return _Compiled(session, None, plan)

    def _open(self, model: bytes, plan: Plan) -> Any:
        """The session with the first provider that works here."""
        for index, wanted in enumerate(self._providers):
            try:
                session = _make_session(model, _options(plan), self._providers[index:])
            except _ERRORS as error:
                if wanted == _CPU:
                    raise BundleRejectedError("ONNX Runtime does not take the network") from error
                continue
            # A provider whose driver is missing may also be left out silently.
            taken = session.get_providers()[0]
            if taken != self._providers[0]:
                _tell_fallback(self._providers[0], taken)
            return session
        raise InternalError("no execution provider is left")


_SUFFIX = "ExecutionProvider"


@functools.cache
def _tell_fallback(wanted: str, taken: str) -> None:
    """Log once a process; the models made later fare no better."""
    log_event(_log, logging.WARNING, "execution provider does not work here", wanted=wanted, taken=taken)


def _make_session(model: bytes, options: Any, providers: Sequence[str]) -> Any:
    # Its own fallback prints on standard output, where answers go.
    return onnxruntime.InferenceSession(model, options, providers=list(providers), enable_fallback=0)


def _options(plan: Plan) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = plan.threads
    options.inter_op_num_threads = 1
    # Threads that wait actively would take the processor from the decoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class _Compiled:
    def __init__(self, session: Any, model: bytes | None, plan: Plan) -> None:
        self._session = session
        self._model = model
        self._plan = plan

    def open_session(self) -> Session:
        return _Session(self._session)

    def export(self, scratch: Path) -> bytes | None:
        if self._model is None:
            return None
        with tempfile.TemporaryDirectory(dir=scratch, suffix=".tmp") as folder:
            path = Path(folder) / "model.onnx"
            options = _options(self._plan)
            options.optimized_model_filepath = str(path)
            _make_session(self._model, options, (_CPU,))
            return path.read_bytes()


class _Session:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [output.name for output in session.get_outputs()]

    def infer(self, batch: NDArray[np.float32]) -> Tensors:
        feed = {self._session.get_inputs()[0].name: np.ascontiguousarray(batch)}
        return dict(zip(self._names, self._session.run(self._names, feed), strict=True))
