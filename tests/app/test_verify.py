"""Verification finds real images in a folder, covers every runtime and precision, and decides what may serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from irmsia.app.ready import gate_records, model_maker
from irmsia.app.verify import Target, list_targets, require_ok, run_gate, served_targets, verify_model
from irmsia.bundles.golden import GoldenRecord
from irmsia.bundles.load import Bundle
from irmsia.errors import BundleRejectedError, InvalidRequestError
from irmsia.imaging.decode_task import PreparedInput
from irmsia.imaging.preprocess import PreprocessSpec
from irmsia.inference import verify
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.runtimes.registry import installed_runtimes, make_runtime
from irmsia.settings.tree import EngineSettings, Settings
from tests.bundles.tiny import SPEC, make_network, make_rules
from tests.inference.conftest import seal
from tests.inference.golden import by_digest, make_records
from tests.inference.reading import InProcessDecoder, make_png

IMAGES = by_digest(*(make_png(seed) for seed in range(2)))
RULES = make_rules()
PREPARE = InProcessDecoder().prepare
needs_bf16 = pytest.mark.skipif(
    Precision.BF16 not in make_runtime("openvino").precisions, reason="this processor has no bf16"
)


@pytest.fixture(scope="module")
def records() -> tuple[GoldenRecord, ...]:
    """Return two phantoms and two images."""
    return make_records(make_network(), RULES, SPEC, IMAGES, phantoms=2)


@pytest.fixture
def bundle(records: tuple[GoldenRecord, ...], monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """Return a bundle for which two records of a kind are enough."""
    gate = verify.verify_models
    monkeypatch.setattr("irmsia.app.verify.verify_models", lambda *given, **options: gate(*given, **options, minimum=2))
    return seal(records=records)


def settings_of(home: Path, **engine: object) -> Settings:
    """A tree with this home."""
    return Settings(home=home, engine=EngineSettings(**engine))  # type: ignore[arg-type]


def test_a_folder_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    """A mistyped folder must not pass as "the images are not at hand"."""
    with pytest.raises(InvalidRequestError, match="--data") as caught:
        verify_model(Settings(home=tmp_path), None, data=tmp_path / "typo")
    assert str(tmp_path) not in caught.value.message


def test_all_means_every_runtime_in_every_precision(bundle: Bundle) -> None:
    """INT8 only where the bundle holds such a network; what is not at hand is wrong usage."""
    found = {(target.runtime, target.precision) for target in list_targets(bundle, "all", "all")}
    assert found == {(name, p) for name in installed_runtimes() for p in make_runtime(name).precisions if p != "int8"}
    with_int8 = seal(more={"models/model.int8.onnx": make_network().SerializeToString()})
    assert Target("onnxruntime", Precision.INT8) in list_targets(with_int8, "all", "all")
    assert list_targets(bundle, "onnxruntime", "f32") == [Target("onnxruntime", Precision.F32)]
    assert list_targets(bundle, "auto", "f32") == [Target("openvino", Precision.F32)]
    with pytest.raises(InvalidRequestError, match="bf16"):
        list_targets(bundle, "onnxruntime", "bf16")
    with pytest.raises(InvalidRequestError, match="tensorflow"):
        list_targets(bundle, "tensorflow", "all")


def test_the_gate_proves_what_may_serve(bundle: Bundle, tmp_path: Path) -> None:
    """f32 first; bf16 too unless the settings say f32."""
    able = make_runtime("openvino").precisions
    wanted = [p for p in (Precision.F32, Precision.BF16) if p in able]
    assert [target.precision for target in served_targets(settings_of(tmp_path), bundle)] == wanted
    only = settings_of(tmp_path, precision="f32", runtime="onnxruntime")
    assert served_targets(only, bundle) == [Target("onnxruntime", Precision.F32)]


@needs_bf16
def test_bf16_serves_once_the_gate_passed_here(bundle: Bundle, tmp_path: Path) -> None:
    """Before it f32, after it bf16, after a failure f32 again; f32 where the settings say so."""
    settings = settings_of(tmp_path)
    assert model_maker(settings, 1)(bundle).precision is Precision.F32
    reports = run_gate(settings, bundle, PREPARE)
    assert [(report.precision, report.ok) for report in reports] == [(Precision.F32, True), (Precision.BF16, True)]
    assert model_maker(settings, 1)(bundle).precision is Precision.BF16
    assert model_maker(settings_of(tmp_path, precision="f32"), 1)(bundle).precision is Precision.F32
    assert model_maker(settings_of(tmp_path, runtime="onnxruntime"), 1)(bundle).precision is Precision.F32
    assert model_maker(settings, 1)(seal(make_network(seed=7))).precision is Precision.F32

    def wrong(source: bytes, spec: PreprocessSpec) -> PreparedInput:
        return PREPARE(make_png(99), spec)

    with pytest.raises(BundleRejectedError, match="golden records fail on openvino"):
        require_ok(run_gate(settings, bundle, wrong)[0])
    assert model_maker(settings, 1)(bundle).precision is Precision.F32
    assert not gate_records(settings).passed(bundle.id, "openvino", Precision.F32)


def test_what_was_compiled_is_kept_unless_the_settings_say_no(bundle: Bundle, tmp_path: Path) -> None:
    """Under IRMSIA_HOME/cache; 0 bytes keep nothing, and no key is made then."""
    model_maker(settings_of(tmp_path / "none", cache_bytes=0), 1)(bundle)
    assert not (tmp_path / "none").exists()
    model_maker(settings_of(tmp_path), 1)(bundle)
    assert len(list((tmp_path / "cache" / "compiled").iterdir())) == 1


def test_a_home_that_cannot_be_written_is_wrong_usage(bundle: Bundle, tmp_path: Path) -> None:
    """The gate says so in words, without the path."""
    (tmp_path / "gates").write_text("in the way")
    with pytest.raises(InvalidRequestError, match="IRMSIA_HOME") as caught:
        run_gate(settings_of(tmp_path), bundle, PREPARE)
    assert str(tmp_path) not in caught.value.message
