"""Every runtime runs the network as ONNX defines it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from irmsia.bundles.load import Bundle
from irmsia.errors import BundleRejectedError, InvalidRequestError
from irmsia.inference.model import make_model
from irmsia.inference.runtimes.protocol import Plan, Precision
from irmsia.inference.runtimes.registry import make_runtime, register_runtime, resolve_runtime, runtime_names
from tests.bundles.tiny import SIZE, make_network
from tests.inference.conftest import seal

IMAGES = np.random.default_rng(5).normal(0, 1, (3, 1, SIZE, SIZE)).astype(np.float32)


@pytest.mark.parametrize("name", runtime_names())
def test_every_runtime_agrees_with_the_reference(name: str) -> None:
    """At f32 each output of each runtime equals ONNX's own reference evaluation, in a batch and alone."""
    network = make_network()
    session = make_runtime(name).compile(network.SerializeToString(), Plan(Precision.F32)).open_session()
    names = [output.name for output in network.graph.output]
    expected = dict(zip(names, ReferenceEvaluator(network).run(None, {"image": IMAGES}), strict=True))
    together = session.infer(IMAGES)
    assert set(together) == set(names)
    for name, values in expected.items():
        np.testing.assert_allclose(together[name], values, atol=2e-5)
        for index in range(len(IMAGES)):
            np.testing.assert_allclose(session.infer(IMAGES[index : index + 1])[name][0], values[index], atol=2e-5)


@pytest.mark.parametrize("name", runtime_names())
def test_sessions_do_not_disturb_each_other(name: str) -> None:
    """Four threads with a session each get what one alone gets, and keep it after the next image."""
    compiled = make_runtime(name).compile(make_network().SerializeToString(), Plan(Precision.F32, sessions=4))
    alone = [compiled.open_session().infer(image[None])["router"] for image in IMAGES]

    def run(index: int) -> list[np.ndarray]:
        session = compiled.open_session()
        return [session.infer(IMAGES[(index + step) % 3][None])["router"] for step in range(20)]

    with ThreadPoolExecutor(4) as pool:
        for index, rows in enumerate(pool.map(run, range(4))):
            for step, row in enumerate(rows):
                np.testing.assert_array_equal(row, alone[(index + step) % 3])


@pytest.mark.parametrize("name", runtime_names())
def test_a_network_that_is_none_is_rejected(name: str) -> None:
    """Whatever slips past the graph check ends as BUNDLE_REJECTED."""
    with pytest.raises(BundleRejectedError):
        make_runtime(name).compile(b"junk", Plan(Precision.F32))
    with pytest.raises(BundleRejectedError):
        make_runtime(name).restore(b"junk", Plan(Precision.F32))


@pytest.mark.parametrize("name", runtime_names())
def test_a_precision_that_is_not_at_hand_is_refused(name: str) -> None:
    """Never another one in its stead: what is stated is what is computed in. Every runtime has f32."""
    runtime = make_runtime(name)
    assert Precision.F32 in runtime.precisions
    network = make_network().SerializeToString()
    for precision in set(Precision) - set(runtime.precisions):
        with pytest.raises(InvalidRequestError, match=f"{name} does not compute in {precision}"):
            runtime.compile(network, Plan(precision))


@pytest.mark.parametrize("name", runtime_names())
def test_what_was_exported_answers_bit_by_bit_alike(name: str, tmp_path: Path) -> None:
    """In each precision: kept, restored, and nothing left in the scratch folder."""
    runtime, network = make_runtime(name), make_network().SerializeToString()
    for precision in runtime.precisions:
        plan = Plan(precision)
        compiled = runtime.compile(network, plan)
        blob = compiled.export(tmp_path)
        assert blob is not None
        before, after = (one.open_session().infer(IMAGES) for one in (compiled, runtime.restore(blob, plan)))
        assert before.keys() == after.keys()
        for output in before:
            np.testing.assert_array_equal(before[output], after[output])
    assert list(tmp_path.iterdir()) == []


def test_auto_takes_the_first_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO; ONNX Runtime where that is not there. A name without its library says what to install."""
    assert resolve_runtime("auto") == "openvino"
    found = importlib.util.find_spec

    def without(*missing: str) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else found(name))

    without("openvino")
    assert resolve_runtime("auto") == "onnxruntime"
    without("onnxruntime")
    with pytest.raises(InvalidRequestError, match=r"pip install 'irmsia\[onnxruntime\]'"):
        make_runtime("onnxruntime")


def test_registry() -> None:
    """A taken name raises; an unknown one is INVALID_REQUEST and lists what there is."""
    make_runtime("openvino")
    with pytest.raises(ValueError, match="registered already"):
        register_runtime("openvino")(lambda: make_runtime("openvino"))
    with pytest.raises(InvalidRequestError, match="there are: onnxruntime, openvino"):
        make_runtime("tensorflow")


def test_no_usage_reporter_is_loaded() -> None:
    """OpenVINO's telemetry is never imported."""
    code = (
        "import sys; from irmsia.inference.runtimes.registry import make_runtime; make_runtime('openvino');"
        "print([n for n, m in sys.modules.items() if n.startswith('openvino_telemetry') and m is not None])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"


def test_serving_with_one_runtime_does_not_load_the_other() -> None:
    """Each costs time and memory: listing both, choosing one and naming its version imports neither."""
    code = (
        "import sys; from irmsia.inference.runtimes import registry;"
        "registry.installed_runtimes(), registry.resolve_runtime('auto'), registry.library_version('onnxruntime');"
        "import irmsia.app.ready;"
        "print([name for name in ('openvino', 'onnxruntime') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"


def test_int8_needs_an_int8_network(bundle: Bundle) -> None:
    """Asked of a bundle that has none it is BUNDLE_REJECTED; where there is one, that one is taken."""
    with pytest.raises(BundleRejectedError, match="INT8"):
        make_model(bundle, precision=Precision.INT8)
    other = seal(more={"models/model.int8.onnx": make_network(seed=9).SerializeToString()})
    image = IMAGES[:1]
    outputs = [
        make_model(model, precision=precision).compiled.open_session().infer(image)["statistics"]
        for model, precision in ((other, Precision.INT8), (seal(make_network(seed=9)), Precision.F32))
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)
