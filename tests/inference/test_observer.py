"""Who listens to the engine hears of each request once, and can harm none."""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from irmsia.bundles.load import Bundle
from irmsia.errors import CancelledError, OverloadedError
from irmsia.findings.types import Diagnosis
from irmsia.inference.engine import Engine
from irmsia.inference.protocol import DiagnoseRequest, Priority
from irmsia.settings.tree import EngineSettings
from tests.inference.reading import InProcessDecoder, make_png
from tests.inference.test_engine import Gate

PNG = make_png(1)
WAIT = 30.0


class Listener:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: Counter[tuple[str, Priority, str]] = Counter()
        self.answers: list[tuple[Diagnosis, int]] = []

    def admitted(self, priority: Priority) -> None:
        """Count it."""
        self.heard["admitted", priority, ""] += 1

    def refused(self, priority: Priority, code: str) -> None:
        """Count it."""
        self.heard["refused", priority, code] += 1

    def dropped(self, priority: Priority) -> None:
        """Count it."""
        self.heard["dropped", priority, ""] += 1

    def answered(self, diagnosis: Diagnosis, *, priority: Priority, batch: int) -> None:
        """Count it and keep it."""
        self.heard["answered", priority, "" if diagnosis.error is None else diagnosis.error.code] += 1
        self.answers.append((diagnosis, batch))


def test_each_request_is_heard_of_once(bundle: Bundle) -> None:
    """Admitted and answered, admitted and dropped, or refused with its code; the answer is the one that is given."""
    gate, listener = Gate(), Listener()
    engine = Engine(gate, lambda: bundle, EngineSettings(workers=1, queue=2), observer=listener)
    engine.start()
    running = engine.submit(DiagnoseRequest("running", PNG))
    assert gate.entered.acquire(timeout=WAIT)
    broken = engine.submit(DiagnoseRequest("broken", b"junk"))
    gone = engine.submit(DiagnoseRequest("gone", PNG, priority=Priority.BATCH))
    with pytest.raises(OverloadedError):
        engine.submit(DiagnoseRequest("refused", PNG))
    assert gone.cancel()
    gate.open.set()
    answers = {id(future.result(WAIT)) for future in (running, broken)}
    engine.close()
    with pytest.raises(CancelledError):
        engine.submit(DiagnoseRequest("late", PNG))
    single, batch = Priority
    assert listener.heard == {
        ("admitted", single, ""): 2,
        ("admitted", batch, ""): 1,
        ("answered", single, ""): 1,
        ("answered", single, "NOT_AN_IMAGE"): 1,
        ("dropped", batch, ""): 1,
        ("refused", single, "OVERLOADED"): 1,
        ("refused", single, "CANCELLED"): 1,
    }
    assert {id(answer) for answer, _ in listener.answers} == answers
    for answer, _ in listener.answers:
        assert answer.timings_ms is not None and answer.timings_ms.total is not None


def test_a_storm_is_refused_and_what_was_admitted_is_answered(bundle: Bundle) -> None:
    """2,000 requests of forty clients at once: each is refused with a time to wait or answered, and none is lost."""
    gate, listener = Gate(), Listener()
    engine = Engine(gate, lambda: bundle, EngineSettings(workers=2, queue=64), observer=listener)
    engine.start()
    futures: list[Future[Diagnosis]] = []
    waits: list[float] = []

    def ask(client: int) -> None:
        for i in range(50):
            try:
                request = DiagnoseRequest(None, PNG, client=str(client), priority=Priority(i % 2))
                futures.append(engine.submit(request))
            except OverloadedError as error:
                waits.append(error.retry_after_s)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(ask, client) for client in range(40)]:
            done.result(WAIT)
    assert engine.health().waiting <= 64
    gate.open.set()
    assert all(future.result(WAIT).error is None for future in futures)
    engine.close()
    assert len(futures) + len(waits) == 2000
    assert waits and min(waits) > 0
    totals: Counter[str] = Counter()
    for (what, _, _), count in listener.heard.items():
        totals[what] += count
    assert totals == {"admitted": len(futures), "answered": len(futures), "refused": len(waits)}


def test_a_listener_that_fails_harms_no_answer(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it raises: every request is answered, and the log says so once, without its text."""

    class Failing(Listener):
        def admitted(self, priority: Priority) -> None:
            """Fail."""
            raise ZeroDivisionError("Doe^John")

        def answered(self, diagnosis: Diagnosis, *, priority: Priority, batch: int) -> None:
            """Fail."""
            raise KeyError("Doe^John")

    engine = Engine(InProcessDecoder(), lambda: bundle, EngineSettings(workers=1), observer=Failing())
    engine.start()
    with caplog.at_level(logging.ERROR):
        answers = [engine.submit(DiagnoseRequest(None, PNG)).result(WAIT) for _ in range(3)]
    engine.close()
    assert all(answer.error is None for answer in answers)
    assert [record.getMessage() for record in caplog.records] == ["observer failed"]
    assert "Doe" not in caplog.text
