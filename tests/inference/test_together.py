"""A whole engine whose images share streams and batches: every answer is the one that its image gets alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from irmsia.bundles.load import Bundle
from irmsia.findings.types import Diagnosis
from irmsia.inference.engine import Engine
from irmsia.inference.protocol import DiagnoseRequest, Priority
from tests.bundles.tiny import make_network
from tests.imaging.stacks import BLANK, make_stack
from tests.inference.conftest import seal
from tests.inference.reading import InProcessDecoder, make_png
from tests.inference.test_observer import Listener

Engines = Callable[..., Engine]
WAIT = 60.0
IMAGES = [make_png(seed) for seed in range(6)]
PLANS = [
    {"streams": 1, "batch": 8, "runtime": "onnxruntime"},
    {"streams": 2, "batch": 3, "runtime": "onnxruntime"},
    {"streams": 1, "batch": 1, "runtime": "openvino"},
    {"streams": 2, "batch": 4, "runtime": "openvino"},
]


def scores(answer: Diagnosis) -> dict[str, float]:
    """Every probability of the answer."""
    return {finding.label: finding.probability for finding in answer.findings if finding.probability is not None}


def alike(answer: Diagnosis, alone: Diagnosis) -> bool:
    """The same answer but for the times and the last digits."""
    rounded = pytest.approx(scores(alone), abs=1e-4)
    fixed = ("decision", "reason", "rule", "region", "source", "evidence", "model", "error")
    return scores(answer) == rounded and all(getattr(answer, name) == getattr(alone, name) for name in fixed)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_every_item_is_answered_as_if_alone(engines: Engines, bundle: Bundle, plan: dict[str, int | str]) -> None:
    """Sixty requests of six images from six threads, single and batch: none lost, none mixed up, bad ones alone."""
    runtime = plan["runtime"]
    alone = [engines(bundle, runtime=runtime).submit(DiagnoseRequest(None, image)).result(WAIT) for image in IMAGES]
    listener = Listener()
    engine = engines(bundle, observer=listener, queue=200, **plan)
    answers: dict[int, Diagnosis] = {}

    def ask(first: int) -> None:
        futures = {}
        for i in range(first, 60, 6):
            source = IMAGES[i % 6] if i % 10 else b"junk"
            request = DiagnoseRequest(str(i), source, priority=Priority(i % 2), client=str(first))
            futures[i] = engine.submit(request)
        answers.update({i: future.result(WAIT) for i, future in futures.items()})

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert sorted(answers) == list(range(60))
    for i, answer in answers.items():
        assert answer.input == str(i)
        if i % 10:
            assert alike(answer, alone[i % 6])
        else:
            assert answer.error is not None and answer.error.code == "NOT_AN_IMAGE"
    assert {batch for answer, batch in listener.answers if answer.error is None} <= set(
        range(1, int(plan["batch"]) + 1)
    )


def test_images_that_wait_go_together(engines: Engines, bundle: Bundle) -> None:
    """While the only stream is busy the others are read and gather: the next inference is of all of them."""
    listener, decoder = Listener(), InProcessDecoder()
    engine = engines(bundle, decoder, observer=listener, workers=1, streams=1, batch=4, runtime="onnxruntime")
    engine.wait_ready(WAIT)
    compiled = engine._models.active.compiled
    entered, go = threading.Semaphore(0), threading.Event()
    open_session = compiled.open_session

    def holding() -> object:
        session = open_session()
        infer = session.infer

        def hold(batch: object) -> object:
            entered.release()
            assert go.wait(WAIT)
            return infer(batch)

        session.infer = hold
        return session

    compiled.open_session = holding
    futures = [engine.submit(DiagnoseRequest(str(i), image)) for i, image in enumerate(IMAGES[:5])]
    assert entered.acquire(timeout=WAIT)
    batcher = engine._inferences[0]
    while batcher.waiting < 4:
        threading.Event().wait(0.001)
    assert decoder.calls == 5
    go.set()
    assert all(future.result(WAIT).error is None for future in futures)
    assert sorted(batch for _, batch in listener.answers) == [1, 4, 4, 4, 4]


def test_frames_go_together(engines: Engines, bundle: Bundle) -> None:
    """The frames of one file are one inference; those that the rules refuse before the network are left out."""
    listener = Listener()
    stack = make_stack(("none", BLANK, "bright", "none", "dark", BLANK))
    engine = engines(bundle, observer=listener, streams=1, batch=8, runtime="onnxruntime")
    answer = engine.submit(DiagnoseRequest("x", stack, heatmap=True)).result(WAIT)
    alone = engines(bundle, runtime="onnxruntime").submit(DiagnoseRequest("x", stack, heatmap=True)).result(WAIT)
    assert [batch for _, batch in listener.answers] == [4]
    assert alike(answer, alone)
    assert answer.frames is not None and alone.frames is not None
    for item, other in zip(answer.frames.items, alone.frames.items, strict=True):
        assert (item.index, item.decision, item.reason) == (other.index, other.decision, other.reason)
    assert answer.explanation is not None and alone.explanation is not None
    assert replace(answer.explanation, map=b"") == replace(alone.explanation, map=b"")


@pytest.mark.parametrize("plan", [{"batch": 1}, *PLANS], ids=str)
def test_a_swap_under_load_loses_nothing_and_mixes_nothing(
    engines: Engines, bundle: Bundle, plan: dict[str, int | str]
) -> None:
    """While two bundles are swapped back and forth: each answer is wholly of one of them, of the named one if any."""
    runtime = plan.get("runtime", "openvino")
    second = seal(make_network(seed=3), version="2.0")
    alone = {
        made.id: [engines(made, runtime=runtime).submit(DiagnoseRequest(None, image)).result(WAIT) for image in IMAGES]
        for made in (bundle, second)
    }
    assert scores(alone[bundle.id][0]) != pytest.approx(scores(alone[second.id][0]), abs=1e-3)
    engine = engines(bundle, queue=300, **plan)
    engine.wait_ready(WAIT)
    engine.keep([second])
    futures = []
    for i in range(120):
        if i % 12 == 6:
            engine.swap(second if i % 24 == 6 else bundle)
        named = (None, bundle.id, second.id)[i % 3]
        request = DiagnoseRequest(str(i), IMAGES[i % 6], model=named, priority=Priority(i // 2 % 2))
        futures.append((i, named, engine.submit(request)))
    by = set()
    for i, named, future in futures:
        answer = future.result(WAIT)
        assert answer.error is None and answer.model is not None
        assert named in (None, answer.model.id)
        assert alike(answer, alone[answer.model.id][i % 6])
        by.add((named, answer.model.id))
    assert {(bundle.id, bundle.id), (second.id, second.id)} <= by
