"""ONNX Runtime takes the best execution provider that works, says once what does not, and prints nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest

from irmsia.errors import BundleRejectedError
from irmsia.inference.runtimes import onnxruntime as module
from irmsia.inference.runtimes.onnxruntime import OnnxRuntime
from irmsia.inference.runtimes.protocol import Plan, Precision
from tests.bundles.tiny import SIZE, make_network

CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))
NETWORK = make_network().SerializeToString()
IMAGE = np.zeros((1, 1, SIZE, SIZE), np.float32)
PLAN = Plan(Precision.F32)


@pytest.fixture(autouse=True)
def _untold() -> Iterator[None]:
    """What was logged once may be logged again."""
    module._tell_fallback.cache_clear()
    yield
    module._tell_fallback.cache_clear()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, ...]]]:
    """Return a maker of drivers that fail or are silently left out; what was asked of the library is listed."""

    def install(failing: Sequence[str] = (), silent: Sequence[str] = ()) -> list[tuple[str, ...]]:
        seen: list[tuple[str, ...]] = []
        make = onnxruntime.InferenceSession

        class Session:
            def __init__(self, model: bytes, options: object, providers: list[str], enable_fallback: int) -> None:
                assert enable_fallback == 0
                seen.append(tuple(providers))
                if providers[0] in failing:
                    raise RuntimeError("/usr/lib/libcudnn.so: no such file")
                self._inner = make(model, options, providers=[CPU])
                self._taken = [name for name in providers if name not in silent]

            def get_providers(self) -> list[str]:
                return self._taken

            def __getattr__(self, name: str) -> Any:
                return getattr(self._inner, name)

        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        return seen

    return install


@pytest.mark.parametrize(
    ("available", "first"),
    [((CPU,), (CPU,)), ((CPU, CUDA), (CUDA, CPU)), ((CUDA, "Other", CPU, TENSORRT), (TENSORRT, CUDA, CPU))],
)
def test_the_best_provider_is_asked_first(
    asked: Callable[..., list[tuple[str, ...]]], available: tuple[str, ...], first: tuple[str, ...]
) -> None:
    """TensorRT, then CUDA, then the processor; never one that nobody chose."""
    seen = asked()
    OnnxRuntime(available).compile(NETWORK, PLAN)
    assert seen == [first]


@pytest.mark.parametrize("how", ["failing", "silent"])
def test_the_fallback_is_logged_once(
    asked: Callable[..., list[tuple[str, ...]]],
    how: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A driver that fails or is left out: the processor answers, one line says so, no path is in it."""
    asked(**{how: (TENSORRT, CUDA)})
    runtime = OnnxRuntime((TENSORRT, CUDA, CPU))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert runtime.compile(NETWORK, PLAN).open_session().infer(IMAGE)["router"].shape == (1, 2)
    assert [record.getMessage() for record in caplog.records] == ["execution provider does not work here"]
    assert caplog.records[0].irmsia_fields == {"wanted": TENSORRT, "taken": CPU}  # type: ignore[attr-defined]
    assert capfd.readouterr().out == ""


def test_cuda_is_taken_where_tensorrt_fails(
    asked: Callable[..., list[tuple[str, ...]]], caplog: pytest.LogCaptureFixture
) -> None:
    """One step down, not all the way."""
    seen = asked(failing=(TENSORRT,))
    with caplog.at_level(logging.WARNING):
        OnnxRuntime((CPU, CUDA, TENSORRT)).compile(NETWORK, PLAN)
    assert seen == [(TENSORRT, CUDA, CPU), (CUDA, CPU)]
    assert caplog.records[0].irmsia_fields == {"wanted": TENSORRT, "taken": CUDA}  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_real_provider_that_cannot_start_falls_back(caplog: pytest.LogCaptureFixture) -> None:
    """The library itself, asked for what its build does not hold, leaves it out: the processor answers, one line."""
    with caplog.at_level(logging.WARNING):
        answer = OnnxRuntime((CUDA, CPU)).compile(NETWORK, PLAN).open_session().infer(IMAGE)
    assert np.isfinite(answer["router"]).all()
    assert len(caplog.records) == (CUDA not in onnxruntime.get_available_providers())


def test_a_bad_network_is_no_fault_of_the_provider(
    asked: Callable[..., list[tuple[str, ...]]], caplog: pytest.LogCaptureFixture
) -> None:
    """BUNDLE_REJECTED, and no line that blames a driver."""
    asked(failing=(CUDA,))
    with caplog.at_level(logging.WARNING), pytest.raises(BundleRejectedError):
        OnnxRuntime((CUDA, CPU)).compile(b"junk", PLAN)
    assert caplog.records == []


def test_nothing_is_kept_where_a_card_may_serve(asked: Callable[..., list[tuple[str, ...]]], tmp_path: Any) -> None:
    """What is restored runs on the processor: kept beside a card that failed today, it would hide it tomorrow."""
    asked(failing=(CUDA,))
    assert OnnxRuntime((CUDA, CPU)).compile(NETWORK, PLAN).export(tmp_path) is None
    assert OnnxRuntime((CPU,)).compile(NETWORK, PLAN).export(tmp_path) is not None


def test_the_version_names_what_it_may_compute_on() -> None:
    """A network compiled for the processor is another one than one compiled for a card."""
    assert OnnxRuntime((CPU,)).version == f"{onnxruntime.__version__} CPU"
    assert OnnxRuntime((CUDA, CPU)).version.endswith(" CUDA+CPU")
