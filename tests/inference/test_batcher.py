"""Inferences together: nobody waits without need, models are never mixed, each gets its own answer or its own error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from irmsia.bundles.load import load_bundle
from irmsia.bundles.signing import read_trust
from irmsia.bundles.store import STARTER
from irmsia.errors import BundleRejectedError
from irmsia.imaging.phantoms import make_phantom
from irmsia.inference.batcher import Batcher, Inference, OwnSession
from irmsia.inference.model import ReadyModel, make_model
from irmsia.inference.plan import CARD_BATCH, CARD_STREAMS, ExecutionPlan, make_plan
from irmsia.inference.runtimes import registry
from irmsia.inference.runtimes.protocol import Session, Tensors
from irmsia.inference.runtimes.registry import runtime_names
from irmsia.settings.tree import EngineSettings
from tests.bundles.tiny import SIZE, make_network
from tests.inference.conftest import seal
from tests.inference.reading import InProcessDecoder

WAIT = 30.0
POISON = 1e9
IMAGES = np.random.default_rng(5).normal(0, 1, (64, 1, SIZE, SIZE)).astype(np.float32)


class Watched:
    """A network that writes down the batches it gets, holds them while closed, and fails on poison."""

    def __init__(self, model: ReadyModel) -> None:
        self.model = replace(model, compiled=self)
        self.batches: list[NDArray[np.float32]] = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Semaphore(0)
        self._compiled = model.compiled

    @property
    def sizes(self) -> list[int]:
        """Of the batches so far."""
        return [len(batch) for batch in self.batches]

    def open_session(self) -> Session:
        """Return a session that passes on to a real one."""
        return _Watching(self, self._compiled.open_session())

    def export(self, scratch: Path) -> bytes | None:
        """Keep nothing."""
        return None


class _Watching:
    def __init__(self, watched: Watched, session: Session) -> None:
        self._watched = watched
        self._session = session

    def infer(self, batch: NDArray[np.float32]) -> Tensors:
        """Write down, wait, fail or infer."""
        self._watched.batches.append(batch.copy())
        self._watched.entered.release()
        assert self._watched.go.wait(WAIT)
        if (batch == POISON).any():
            raise RuntimeError("poison")
        return self._session.infer(batch)


@cache
def models() -> tuple[ReadyModel, ReadyModel]:
    """Two networks of other weights."""
    return make_model(seal()), make_model(seal(make_network(seed=3), version="2.0"))


@pytest.fixture
def watched() -> Watched:
    """Return the first of them, watched."""
    return Watched(models()[0])


@contextmanager
def waiting(batcher: Batcher, watched: Watched, images: NDArray[np.float32]) -> Iterator[list[Future[object]]]:
    """Hold the only stream with the first image while the others wait, in order."""
    ready = (watched.model,)
    watched.go.clear()
    with ThreadPoolExecutor(len(images)) as threads:
        futures = []
        for index in range(len(images)):
            futures.append(threads.submit(batcher.infer, watched.model, ready, images[index : index + 1]))
            if index == 0:
                assert watched.entered.acquire(timeout=WAIT)
            while batcher.waiting < index:
                threading.Event().wait(0.001)
        watched.go.set()
        yield futures


def test_a_free_stream_runs_at_once_and_alone(watched: Watched) -> None:
    """One thread after another: every inference is of one image, none waits for company."""
    batcher = Batcher(streams=1, batch=8)
    for image in IMAGES[:3]:
        _, size = batcher.infer(watched.model, (), image[None])
        assert size == 1
    assert watched.sizes == [1, 1, 1]


def test_a_batch_grows_while_the_streams_are_busy(watched: Watched) -> None:
    """Ten that waited go in batches of at most four, in order, each with its own outputs."""
    batcher = Batcher(streams=1, batch=4)
    with waiting(batcher, watched, IMAGES[:11]) as futures:
        results = [future.result(WAIT) for future in futures]
    assert watched.sizes == [1, 4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(watched.batches), IMAGES[:11])
    for image, (tensors, size) in zip(IMAGES, results, strict=False):
        assert size in (1, 2, 4)
        agrees(tensors, alone(watched.model, image), 1e-5)


def test_who_asks_for_several_gets_them_together(watched: Watched) -> None:
    """The frames of one image are one inference, also where they are more than a batch holds."""
    batcher = Batcher(streams=1, batch=4)
    tensors, size = batcher.infer(watched.model, (), IMAGES[:6])
    assert (size, watched.sizes) == (6, [6])
    for row, image in enumerate(IMAGES[:6]):
        agrees({name: values[row : row + 1] for name, values in tensors.items()}, alone(watched.model, image), 1e-5)


def test_a_bad_image_fails_alone(watched: Watched) -> None:
    """One of a batch breaks the inference: its thread gets the error, the others their answers, the stream goes on."""
    batcher = Batcher(streams=1, batch=8)
    images = IMAGES[:6].copy()
    images[3] = POISON
    with waiting(batcher, watched, images) as futures:
        errors = [future.exception(WAIT) for future in futures]
    assert [index for index, error in enumerate(errors) if error is not None] == [3]
    assert watched.sizes == [1, 5, 1, 1, 1, 1, 1]
    for index in (0, 1, 2, 4, 5):
        agrees(futures[index].result()[0], alone(watched.model, images[index]), 1e-5)
    assert batcher.infer(watched.model, (), IMAGES[:1])[1] == 1


def test_an_inference_alone_that_fails_frees_its_stream(watched: Watched) -> None:
    """The error is raised where it was asked for, and the only stream serves the next."""
    batcher = Batcher(streams=1, batch=1)
    with pytest.raises(RuntimeError, match="poison"):
        batcher.infer(watched.model, (), np.full((1, 1, SIZE, SIZE), POISON, np.float32))
    assert batcher.infer(watched.model, (), IMAGES[:1])[1] == 1


@pytest.mark.parametrize(("streams", "batch"), [(1, 1), (1, 4), (2, 1), (2, 3), (3, 16)])
def test_models_are_never_mixed(streams: int, batch: int) -> None:
    """Eight threads ask two models in any order: each inference is of one model's images, each answer of its model."""
    both = [Watched(model) for model in models()]
    batcher = Batcher(streams, batch)
    ready = [one.model for one in both]
    expected = [[alone(model, image) for image in IMAGES] for model in models()]

    def ask(seed: int) -> None:
        for which, index in np.random.default_rng(seed).integers((0, 0), (2, len(IMAGES)), (30, 2)):
            tensors, size = batcher.infer(both[which].model, ready, IMAGES[index : index + 1])
            assert 1 <= size <= batch
            agrees(tensors, expected[which][index], 1e-5)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(ask, seed) for seed in range(8)]:
            done.result(WAIT)
    assert sum(sum(one.sizes) for one in both) == 8 * 30
    assert batcher.waiting == 0


def test_streams_run_at_once(watched: Watched) -> None:
    """Two streams: a second image does not wait for the first; a third does."""
    batcher = Batcher(streams=2, batch=8)
    watched.go.clear()
    with ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(batcher.infer, watched.model, (), image[None]) for image in IMAGES[:2]]
        for _ in futures:
            assert watched.entered.acquire(timeout=WAIT)
        futures.append(threads.submit(batcher.infer, watched.model, (), IMAGES[2:3]))
        while not batcher.waiting:
            threading.Event().wait(0.001)
        watched.go.set()
        assert [future.result(WAIT)[1] for future in futures] == [1, 1, 1]


def alone(model: ReadyModel, image: NDArray[np.float32]) -> Tensors:
    """Outputs of one image on a session of its own."""
    source = model.compiled
    compiled = source._compiled if isinstance(source, Watched) else source
    return compiled.open_session().infer(image[None])


def agrees(found: Tensors, expected: Tensors, tolerance: float) -> None:
    """Every output, and no other."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=tolerance, rtol=tolerance)


@cache
def starter(runtime: str) -> ReadyModel:
    """The packaged network: trained weights."""
    return make_model(load_bundle(STARTER, read_trust(None)), runtime=runtime)


@cache
def phantoms() -> NDArray[np.float32]:
    """Sixteen as the packaged network gets them, (16, 1, S, S)."""
    spec = starter(runtime_names()[0]).bundle.manifest.preprocessing
    decoder = InProcessDecoder()
    return np.stack([decoder.prepare(make_phantom(seed).data, spec).frames[0].tensor for seed in range(300, 316)])


@cache
def phantom_alone(runtime: str, index: int) -> Tensors:
    """Its outputs in a batch of one."""
    return starter(runtime).compiled.open_session().infer(phantoms()[index : index + 1])


@pytest.mark.parametrize("runtime", runtime_names())
@settings(max_examples=12, deadline=None)
@given(order=st.lists(st.integers(0, 15), min_size=2, max_size=16))
def test_a_batch_answers_as_each_alone(runtime: str, order: list[int]) -> None:
    """On the trained network at f32: any phantoms in any order, within 1e-4 of each in a batch of one."""
    together = starter(runtime).compiled.open_session().infer(phantoms()[order])
    for row, index in enumerate(order):
        agrees({name: values[row : row + 1] for name, values in together.items()}, phantom_alone(runtime, index), 1e-4)


def test_a_runtime_that_errs_in_batches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that gives each row another bias, as was seen: refused for batches, taken for single images."""
    session = type(starter("openvino").compiled.open_session())
    infer = session.infer

    def erring(self: Session, batch: NDArray[np.float32]) -> Tensors:
        tensors = dict(infer(self, batch))
        tensors["router"] = tensors["router"] + 0.2 * np.arange(len(batch), dtype=np.float32)[:, None]
        return tensors

    bundle = seal()
    make_model(bundle, runtime="openvino", batch=4)
    monkeypatch.setattr(session, "infer", erring)
    make_model(bundle, runtime="openvino")
    with pytest.raises(BundleRejectedError, match="several images at once"):
        make_model(bundle, runtime="openvino", batch=4)


def plan_of(**given: int | str) -> ExecutionPlan:
    """The plan of these settings."""
    return make_plan(EngineSettings.model_validate({"workers": 4} | given))


def test_on_a_processor_each_worker_infers_itself() -> None:
    """As many streams as workers, batch 1: sessions of their own, no thread beside the workers."""
    plan = plan_of()
    assert (plan.workers, plan.streams, plan.batch, plan.threads) == (4, 4, 1, 4)
    inferences = plan.open_inferences()
    assert [type(one) for one in inferences] == [OwnSession] * 4
    assert len(set(map(id, inferences))) == 4
    assert plan_of(streams=9) == plan


def test_fewer_streams_are_shared() -> None:
    """All threads go through one batcher; where images may go together, more are in work than are read."""
    inferences = plan_of(streams=2).open_inferences()
    assert len(inferences) == 4
    assert_shared(inferences)
    plan = plan_of(streams=2, batch=8)
    assert plan.threads == 4 + 2 * 8
    assert len(plan.open_inferences()) == plan.threads
    assert_shared(plan.open_inferences())


def assert_shared(inferences: list[Inference]) -> None:
    """One batcher for all."""
    assert isinstance(inferences[0], Batcher)
    assert all(one is inferences[0] for one in inferences)


def test_a_graphics_card_wants_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two streams of sixteen unless the settings say otherwise; a runtime that is not installed wants none."""
    monkeypatch.setattr("irmsia.inference.plan.is_accelerated", lambda name: name == "onnxruntime")
    plan = plan_of(runtime="onnxruntime")
    assert (plan.streams, plan.batch) == (CARD_STREAMS, CARD_BATCH)
    plan = plan_of(runtime="onnxruntime", streams=1, batch=1)
    assert (plan.streams, plan.batch) == (1, 1)
    assert plan_of(runtime="openvino").is_direct


def test_what_computes_on_a_card_is_known_without_loading_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the package for cards is installed is the library asked; an unknown name wants no batches."""
    assert not registry.is_accelerated("openvino")
    assert not registry.is_accelerated("nonsense")
    monkeypatch.setattr(registry, "_is_distributed", lambda package: package == "onnxruntime-gpu")
    monkeypatch.setattr(registry, "make_runtime", lambda name: type("Card", (), {"accelerated": name == "onnxruntime"}))
    assert registry.is_accelerated("onnxruntime")
    assert not registry.is_accelerated("openvino")
