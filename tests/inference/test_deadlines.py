"""Nobody's work is done for nothing: what is late or unwanted stops before its next stage, alone or in a batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from pathlib import Path

import pytest

from irmsia.bundles.load import Bundle
from irmsia.imaging.decode_task import PreparedInput
from irmsia.inference.engine import Engine
from irmsia.inference.protocol import DiagnoseRequest, Priority, Stage
from tests.imaging.stacks import make_stack
from tests.inference.reading import InProcessDecoder, make_png
from tests.inference.test_engine import Gate

Engines = Callable[..., Engine]
PNG = make_png(1)
WAIT = 30.0


class Reader(Gate):
    """Counts the digests that are taken, too."""

    def __init__(self) -> None:
        super().__init__()
        self.digests = 0

    def digest(self, source: bytes | Path) -> str | None:
        """Count it."""
        self.digests += 1
        return super().digest(source)


def wait_until(moment: float) -> None:
    """Until the monotonic clock shows it."""
    while (left := moment - time.monotonic()) > 0:
        time.sleep(left)


def test_a_deadline_that_passes_in_the_queue_costs_no_reading(engines: Engines, bundle: Bundle) -> None:
    """TIMED_OUT when its turn comes; no byte is read for it, neither to decode nor to digest."""
    reader = Reader()
    engine = engines(bundle, reader, workers=1)
    first = engine.submit(DiagnoseRequest("first", PNG))
    assert reader.entered.acquire(timeout=WAIT)
    deadline = time.monotonic() + 0.05
    late = [
        engine.submit(DiagnoseRequest(None, PNG, deadline=deadline, priority=priority))
        for priority in (*Priority, *Priority)
    ]
    wait_until(deadline)
    reader.open.set()
    for future in late:
        answer = future.result(WAIT)
        assert answer.error is not None and answer.error.code == "TIMED_OUT"
        assert answer.timings_ms is not None and answer.timings_ms.decode == 0
    assert first.result(WAIT).error is None
    assert (reader.calls, reader.digests) == (1, 0)


def test_a_batch_that_is_cancelled_gives_its_work_back(engines: Engines, bundle: Bundle) -> None:
    """Of sixty images one was begun: it stops before the network, no other is read, and a single image is next."""
    reader = Reader()
    engine = engines(bundle, reader, workers=1, queue=80)
    heard: list[Stage] = []
    batch = [
        engine.submit(
            DiagnoseRequest(
                str(i), PNG, priority=Priority.BATCH, client="job", progress=lambda stage, _: heard.append(stage)
            )
        )
        for i in range(60)
    ]
    assert reader.entered.acquire(timeout=WAIT)
    assert [future.cancel() for future in batch] == [False, *[True] * 59]
    single = engine.submit(DiagnoseRequest("single", PNG))
    reader.open.set()
    begun = batch[0].result(WAIT)
    assert begun.error is not None and begun.error.code == "CANCELLED"
    assert Stage.INFERRING not in heard
    assert single.result(WAIT).error is None
    assert reader.calls == 2
    for future in batch[1:]:
        with pytest.raises(FutureCancelledError):
            future.result(0)


def test_who_goes_away_before_the_explanation_gets_none(engines: Engines, bundle: Bundle) -> None:
    """Cancelled while the network ran: the picture of a later frame is not read again for an overlay."""
    inferring, cancelled = threading.Event(), threading.Event()
    reader = InProcessDecoder()

    def hear(stage: Stage, percent: float) -> None:
        if stage is Stage.INFERRING:
            inferring.set()
            assert cancelled.wait(WAIT)

    engine = engines(bundle, reader, workers=1)
    stack = make_stack(("none", "bright", "none"))
    future = engine.submit(DiagnoseRequest(None, stack, overlay=True, progress=hear))
    assert inferring.wait(WAIT)
    future.cancel()
    cancelled.set()
    answer = future.result(WAIT)
    assert answer.error is not None and answer.error.code == "CANCELLED"
    assert reader.calls == 1


def test_a_single_image_overtakes_a_batch(engines: Engines, bundle: Bundle) -> None:
    """Sent last, it is read before the batch's waiting images; they are all answered none the less."""
    order: list[str] = []

    class Ordered(Gate):
        def prepare(self, source: bytes | Path, *arguments: object, **options: object) -> PreparedInput:
            """Write down whose turn it was."""
            order.append(names[bytes(source) if isinstance(source, bytes) else b""])
            return super().prepare(source, *arguments, **options)

    gate = Ordered()
    images = {name: make_png(seed) for seed, name in enumerate(("first", "job 0", "job 1", "job 2", "single"))}
    names = {data: name for name, data in images.items()}
    engine = engines(bundle, gate, workers=1)
    futures = [engine.submit(DiagnoseRequest("first", images["first"]))]
    assert gate.entered.acquire(timeout=WAIT)
    for name in ("job 0", "job 1", "job 2"):
        futures.append(engine.submit(DiagnoseRequest(name, images[name], priority=Priority.BATCH)))
    futures.append(engine.submit(DiagnoseRequest("single", images["single"])))
    gate.open.set()
    assert all(future.result(WAIT).error is None for future in futures)
    assert order == ["first", "single", "job 0", "job 1", "job 2"]


def test_clients_take_turns(engines: Engines, bundle: Bundle) -> None:
    """Who sent five images does not keep back who sent one after them."""
    gate = Gate()
    engine = engines(bundle, gate, workers=1)
    answered: list[str] = []
    first = engine.submit(DiagnoseRequest("first", PNG))
    assert gate.entered.acquire(timeout=WAIT)
    futures = [engine.submit(DiagnoseRequest(f"greedy {i}", PNG, client="greedy")) for i in range(5)]
    futures.append(engine.submit(DiagnoseRequest("modest", PNG, client="modest")))
    for future in futures:
        future.add_done_callback(lambda future: answered.append(future.result().input or ""))
    gate.open.set()
    for future in (first, *futures):
        future.result(WAIT)
    engine.close()
    assert answered.index("modest") == 1


def test_no_diagnosis_is_kept(engines: Engines, bundle: Bundle) -> None:
    """The same image twice is read twice and put through the network twice."""
    reader = InProcessDecoder()
    engine = engines(bundle, reader, workers=1)
    engine.wait_ready(WAIT)
    sizes: list[int] = []
    compiled = engine._models.active.compiled
    open_session = compiled.open_session

    def counting() -> object:
        session = open_session()
        infer = session.infer
        session.infer = lambda batch: (sizes.append(len(batch)), infer(batch))[1]
        return session

    compiled.open_session = counting
    answers = [engine.submit(DiagnoseRequest("x", PNG)).result(WAIT) for _ in range(2)]
    assert answers[0].evidence == answers[1].evidence
    assert (reader.calls, sizes) == (2, [1, 1])


def test_a_second_reading_is_only_for_overlays(engines: Engines, bundle: Bundle) -> None:
    """The explanation itself needs none: whoever asks for the map alone pays for one reading."""
    reader = InProcessDecoder()
    engine = engines(bundle, reader, workers=1)
    answer = engine.submit(DiagnoseRequest("x", make_stack(("none", "bright", "none")), heatmap=True)).result(WAIT)
    assert answer.error is None and answer.explanation is not None
    assert reader.calls == 1
