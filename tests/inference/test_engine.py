"""The queue and its workers: every request is answered once, and none harms another."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from pathlib import Path

import pytest

from irmsia.bundles.load import Bundle
from irmsia.bundles.signing import read_trust
from irmsia.bundles.store import BundleStore
from irmsia.errors import (
    BundleRejectedError,
    CancelledError,
    IrmsiaError,
    ModelNotFoundError,
    OverloadedError,
    TimedOutError,
)
from irmsia.findings.types import Diagnosis
from irmsia.imaging.decode_task import PreparedInput
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from irmsia.imaging.phantoms import make_phantom
from irmsia.imaging.types import Image
from irmsia.inference.engine import Engine
from irmsia.inference.protocol import DiagnoseRequest, InferenceService
from irmsia.inference.runtimes.registry import make_runtime
from irmsia.settings.tree import EngineSettings
from tests.inference.conftest import seal
from tests.inference.reading import InProcessDecoder, make_png

Engines = Callable[..., Engine]
PNG = make_png(1)
WAIT = 30.0


class Gate(InProcessDecoder):
    """A decoder that holds every image until the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def prepare(self, *arguments: object, **options: object) -> PreparedInput:
        """Wait, then prepare."""
        self.entered.release()
        assert self.open.wait(WAIT)
        return super().prepare(*arguments, **options)  # type: ignore[arg-type]


def same(answer: Diagnosis) -> Diagnosis:
    """Leave out what differs between two askings of one thing."""
    return dataclasses.replace(answer, input=None, timings_ms=None)


def test_every_item_is_answered_as_if_alone(engines: Engines, bundle: Bundle) -> None:
    """Forty requests from eight threads through three workers: each gets its own answer."""
    service: InferenceService = engines(bundle, workers=3, queue=64)
    images = [make_png(seed) for seed in range(5)]
    alone = [same(service.submit(DiagnoseRequest(None, image)).result(WAIT)) for image in images]
    answers: dict[int, Diagnosis] = {}

    def ask(first: int) -> None:
        futures = [(i, service.submit(DiagnoseRequest(str(i), images[i % 5]))) for i in range(first, 40, 8)]
        answers.update({i: future.result(WAIT) for i, future in futures})

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert sorted(answers) == list(range(40))
    for i, answer in answers.items():
        assert answer.input == str(i)
        assert same(answer) == alone[i % 5]


def test_an_engine_alone_computes_as_it_is_told(bundle: Bundle) -> None:
    """auto is f32 and bf16 is bf16: what may serve is decided by whoever makes the models, with the gate's records."""
    able = make_runtime("auto").precisions
    for asked, exact in (("auto", "f32"), ("f32", "f32"), ("bf16", "bf16")):
        if exact in able:
            engine = Engine(InProcessDecoder(), lambda: bundle, EngineSettings(workers=1, precision=asked))
            engine.start()
            engine.wait_ready(WAIT)
            assert [model.precision for model in engine.models()] == [exact]
            engine.close()


def test_overload_is_refused_at_once_and_admitted_work_is_done(engines: Engines, bundle: Bundle) -> None:
    """One more than the queue holds is OVERLOADED with a time to wait; what was admitted is answered."""
    gate = Gate()
    engine = engines(bundle, gate, workers=1, queue=3)
    first = engine.submit(DiagnoseRequest("0", PNG))
    assert gate.entered.acquire(timeout=WAIT)
    waiting = [engine.submit(DiagnoseRequest(str(i), PNG)) for i in range(1, 4)]
    health = engine.health()
    assert (health.waiting, health.running, health.capacity) == (3, 1, 3)
    with pytest.raises(OverloadedError) as refused:
        engine.submit(DiagnoseRequest("4", PNG))
    assert refused.value.retry_after_s > 0
    gate.open.set()
    assert [future.result(WAIT).input for future in (first, *waiting)] == ["0", "1", "2", "3"]
    assert engine.submit(DiagnoseRequest("5", PNG)).result(WAIT).error is None


def test_a_cancelled_request_gives_its_place_back(engines: Engines, bundle: Bundle) -> None:
    """While it waits it can be cancelled: it is never read, and a full queue takes another in its stead."""
    gate = Gate()
    engine = engines(bundle, gate, workers=1, queue=1)
    running = engine.submit(DiagnoseRequest("running", PNG))
    assert gate.entered.acquire(timeout=WAIT)
    waiting = engine.submit(DiagnoseRequest("waiting", PNG))
    assert waiting.cancel()
    assert not running.cancel()
    other = engine.submit(DiagnoseRequest("other", PNG))
    gate.open.set()
    assert {running.result(WAIT).input, other.result(WAIT).input} == {"running", "other"}
    with pytest.raises(FutureCancelledError):
        waiting.result(WAIT)
    assert gate.calls == 2


def test_a_deadline_that_passed_costs_no_decoding(engines: Engines, bundle: Bundle) -> None:
    """TIMED_OUT before a byte is read; one that is still ahead changes nothing."""
    decoder = InProcessDecoder()
    engine = engines(bundle, decoder)
    late = engine.submit(DiagnoseRequest("late", PNG, deadline=time.monotonic() - 1)).result(WAIT)
    assert late.error is not None and late.error.code == "TIMED_OUT"
    assert (late.decision, decoder.calls) == (None, 0)
    assert engine.submit(DiagnoseRequest("x", PNG, deadline=time.monotonic() + WAIT)).result(WAIT).error is None


def test_a_deadline_that_passes_meanwhile_costs_no_inference(engines: Engines, bundle: Bundle) -> None:
    """The caller is gone by the time the image is read: no network runs for it."""
    gate = Gate()
    engine = engines(bundle, gate, workers=1)
    engine.wait_ready(WAIT)
    deadline = time.monotonic() + 0.2
    future = engine.submit(DiagnoseRequest("x", PNG, deadline=deadline))
    assert gate.entered.acquire(timeout=WAIT)
    while time.monotonic() < deadline:
        time.sleep(0.01)
    gate.open.set()
    error = future.result(WAIT).error
    assert error is not None and error.code == "TIMED_OUT"


def test_a_bad_item_fails_alone(engines: Engines, bundle: Bundle, tmp_path: Path) -> None:
    """Text, half a picture, a missing file: each its own code, no path in any message, the good ones answered."""
    engine = engines(bundle)
    sources = {
        "NOT_AN_IMAGE": b"not an image at all, just text",
        "TRUNCATED": PNG[: len(PNG) // 2],
        "NOT_FOUND": tmp_path / "patient.dcm",
        None: PNG,
    }
    futures = {code: engine.submit(DiagnoseRequest(str(code), source)) for code, source in sources.items()}
    for code, future in futures.items():
        answer = future.result(WAIT)
        assert (answer.error and answer.error.code) == code
        assert (answer.decision is None) == (code is not None)
        assert str(tmp_path) not in str(answer.error)
        assert answer.input == str(code)


def test_a_bug_is_an_internal_error_that_tells_nothing(
    engines: Engines, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception nobody foresaw: INTERNAL, neither its text in the answer nor in the log, and the worker goes on."""

    def poison(image: Image) -> Image:
        if image.info.shape == (1, 33, 40, 1):
            raise ZeroDivisionError("/home/secret/Doe^John.dcm")
        return image

    engine = engines(bundle, InProcessDecoder(poison), workers=1)
    poisoned, good = (engine.submit(DiagnoseRequest(None, make_png(1, rows=rows))) for rows in (33, 48))
    error = poisoned.result(WAIT).error
    assert error is not None and error.code == "INTERNAL"
    assert "Doe" not in error.message
    assert "Doe" not in caplog.text
    assert good.result(WAIT).error is None


def test_close_answers_what_was_admitted(engines: Engines, bundle: Bundle) -> None:
    """Draining: all are answered, nothing more is admitted, twice is once."""
    engine = engines(bundle, workers=1, queue=32)
    futures = [engine.submit(DiagnoseRequest(str(i), PNG)) for i in range(20)]
    engine.close()
    assert all(future.result(0).error is None for future in futures)
    with pytest.raises(CancelledError):
        engine.submit(DiagnoseRequest("late", PNG))
    assert engine.health().reason == "stopping"
    engine.close()


def test_close_with_a_time_limit_cancels_what_still_waits(engines: Engines, bundle: Bundle) -> None:
    """After the grace time the waiting are answered CANCELLED, the running one is finished, nobody hangs."""
    gate = Gate()
    engine = engines(bundle, gate, workers=1)
    running = engine.submit(DiagnoseRequest("running", PNG))
    assert gate.entered.acquire(timeout=WAIT)
    waiting = [engine.submit(DiagnoseRequest(str(i), PNG)) for i in range(5)]
    closing = threading.Thread(target=engine.close, kwargs={"timeout": 0.05})
    closing.start()
    assert [future.result(WAIT).error.code for future in waiting] == ["CANCELLED"] * 5
    gate.open.set()
    closing.join(WAIT)
    assert not closing.is_alive()
    assert running.result(0).error is None


def test_requests_wait_for_the_model(engines: Engines, bundle: Bundle) -> None:
    """Admitted while the model loads, answered when it is there; health says which."""
    loaded = threading.Event()

    def load() -> Bundle:
        assert loaded.wait(WAIT)
        return bundle

    engine = engines(load)
    future = engine.submit(DiagnoseRequest("early", PNG))
    assert engine.health().reason == "starting"
    assert engine.models() == ()
    with pytest.raises(TimedOutError):
        engine.wait_ready(0.01)
    loaded.set()
    engine.wait_ready(WAIT)
    assert engine.health().ready
    assert future.result(WAIT).error is None
    assert [(model.id, model.active, model.precision) for model in engine.models()] == [(bundle.id, True, "f32")]


@pytest.mark.parametrize("failure", [BundleRejectedError("bad signature"), ZeroDivisionError("/secret")])
def test_a_model_that_cannot_be_loaded(engines: Engines, failure: Exception) -> None:
    """Not ready, with the reason; a request is answered with it instead of waiting for ever."""

    def load() -> Bundle:
        raise failure

    engine = engines(load)
    code = "BUNDLE_REJECTED" if isinstance(failure, BundleRejectedError) else "INTERNAL"
    with pytest.raises(IrmsiaError) as raised:
        engine.wait_ready(WAIT)
    assert raised.value.code == code
    assert not engine.health().ready
    assert (engine.health().reason or "").startswith(code)
    assert "/secret" not in str(engine.health())
    error = engine.submit(DiagnoseRequest("x", PNG)).result(WAIT).error
    assert error is not None and error.code == code


def test_swap(engines: Engines, bundle: Bundle) -> None:
    """A new bundle answers from the next image on; one that cannot run leaves the old one serving."""
    engine = engines(bundle)
    newer = seal(version="2.0")
    engine.wait_ready(WAIT)
    engine.swap(newer)
    assert engine.submit(DiagnoseRequest("x", PNG)).result(WAIT).model.version == "2.0"
    broken = dataclasses.replace(newer, files={**newer.files, "models/model.onnx": b"junk"})
    with pytest.raises(BundleRejectedError):
        engine.swap(broken)
    assert engine.submit(DiagnoseRequest("x", PNG)).result(WAIT).model.version == "2.0"
    assert engine.models()[0].id == newer.id


def test_models_are_asked_for_by_name_or_id(engines: Engines, bundle: Bundle) -> None:
    """Name, id, start of the id; anything else is MODEL_NOT_FOUND before a byte is read."""
    decoder = InProcessDecoder()
    engine = engines(bundle, decoder)
    for name in ("tiny", bundle.id, bundle.id[:8]):
        assert engine.submit(DiagnoseRequest("x", PNG, model=name)).result(WAIT).error is None
    error = engine.submit(DiagnoseRequest("x", PNG, model=bundle.id[:7])).result(WAIT).error
    assert error is not None and error.code == ModelNotFoundError.code
    assert decoder.calls == 3


def test_an_unstarted_engine_closes(bundle: Bundle) -> None:
    """What was put into it is answered CANCELLED and not left hanging."""
    engine = Engine(InProcessDecoder(), lambda: bundle, EngineSettings(workers=1))
    future = engine.submit(DiagnoseRequest("x", PNG))
    engine.close()
    error = future.result(0).error
    assert error is not None and error.code == "CANCELLED"


def test_with_real_decoder_children(engines: Engines, bundle: Bundle, tmp_path: Path) -> None:
    """The whole way, from a file on disk through a child process: the same answer as in this process."""
    path = tmp_path / "phantom.dcm"
    path.write_bytes(make_phantom(103).data)
    with DecoderPool(1, ReadLimits()) as pool:
        engine = engines(bundle, pool, workers=1)
        engine.wait_ready(WAIT)
        remote = engine.submit(DiagnoseRequest("x", path, heatmap=True, overlay=True)).result(WAIT)
        broken = engine.submit(DiagnoseRequest("x", path.read_bytes()[:500])).result(WAIT)
        engine.close()
    local = engines(bundle).submit(DiagnoseRequest("x", path.read_bytes(), heatmap=True, overlay=True)).result(WAIT)
    assert remote.error is None
    assert same(remote) == same(local)
    assert broken.error is not None and broken.decision is None


def test_a_home_without_any_model(engines: Engines, tmp_path: Path) -> None:
    """A fresh home and no starter: MODEL_NOT_FOUND for each request, the engine itself stays up."""
    store = BundleStore(tmp_path, starter=tmp_path / "none")
    assert read_trust(tmp_path) is not None
    error = engines(store.load).submit(DiagnoseRequest("x", PNG)).result(WAIT).error
    assert error is not None and error.code == "MODEL_NOT_FOUND"
