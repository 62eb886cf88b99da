"""An engine with several models: each request is answered by the one it names, as long as that is ready."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from irmsia.bundles.load import Bundle
from irmsia.inference.engine import Engine
from irmsia.inference.protocol import DiagnoseRequest
from irmsia.inference.ready import Sessions
from tests.bundles.tiny import make_network
from tests.inference.conftest import seal
from tests.inference.reading import make_png

PNG = make_png(1)
WAIT = 30.0
Engines = Callable[..., Engine]


@pytest.fixture(scope="module")
def second() -> Bundle:
    """Return another version with other weights."""
    return seal(make_network(seed=3), version="2.0")


@pytest.fixture
def engine(engines: Engines, bundle: Bundle) -> Engine:
    """Return a ready engine."""
    engine = engines(bundle, workers=2)
    engine.wait_ready(WAIT)
    return engine


def answered(engine: Engine, model: str | None = None) -> str | None:
    """Who answered: the version, or the code of the failure."""
    answer = engine.submit(DiagnoseRequest("x", PNG, model=model)).result(WAIT)
    return answer.model.version if answer.error is None else answer.error.code


def test_another_model_is_kept_until_it_is_not(engine: Engine, second: Bundle) -> None:
    """It answers who names it; the active one answers all others; dropped, it is MODEL_NOT_FOUND."""
    assert answered(engine, "tiny:2.0") == "MODEL_NOT_FOUND"
    engine.keep([second])
    assert [answered(engine, name) for name in (None, "tiny:1.0", "tiny:2.0", second.id[:8])] == [
        "1.0",
        "1.0",
        "2.0",
        "2.0",
    ]
    assert answered(engine, "tiny") == "MODEL_NOT_FOUND"
    assert [(model.version, model.active) for model in engine.models()] == [("1.0", True), ("2.0", False)]
    engine.keep([])
    assert answered(engine, "tiny:2.0") == "MODEL_NOT_FOUND"
    assert answered(engine) == "1.0"


def test_a_swap_keeps_the_old_model_for_who_names_it(engine: Engine, second: Bundle, bundle: Bundle) -> None:
    """Until the engine is told which to keep; swapping back compiles nothing anew."""
    engine.keep([second])
    ready = {model.bundle.id: model for model in engine._models.all}
    engine.swap(second)
    assert [answered(engine, name) for name in (None, "tiny:1.0")] == ["2.0", "1.0"]
    engine.swap(bundle)
    assert all(ready[model.bundle.id] is model for model in engine._models.all)
    assert len(engine.models()) == 2


def test_what_is_withdrawn_answers_no_more(engine: Engine, second: Bundle, bundle: Bundle) -> None:
    """Another one: MODEL_NOT_FOUND; the active one: not ready, BUNDLE_REJECTED, until a swap brings a new one."""
    engine.keep([second])
    engine.withdraw({second.id})
    assert answered(engine, "tiny:2.0") == "MODEL_NOT_FOUND"
    engine.keep([second])
    engine.withdraw({bundle.id})
    assert (answered(engine), answered(engine, second.id)) == ("BUNDLE_REJECTED", "2.0")
    assert (engine.health().ready, engine.health().model) == (False, None)
    engine.swap(second)
    assert engine.health().ready
    assert answered(engine) == "2.0"


def test_a_problem_is_told_beside_readiness(engine: Engine) -> None:
    """Requests are taken, and something is wrong all the same."""
    engine.report("BUNDLE_REJECTED: text")
    assert (engine.health().ready, engine.health().problem) == (True, "BUNDLE_REJECTED: text")
    engine.report(None)
    assert engine.health().problem is None


def test_a_worker_lets_go_of_sessions(engine: Engine, second: Bundle) -> None:
    """One session a ready model; with a model that is ready no more none is held, so its memory is given back."""
    engine.keep([second])
    one, two = engine._models.all
    sessions = Sessions()
    first = sessions.of(one, (one, two))
    assert sessions.of(two, (one, two)) is not first
    assert sessions.of(one, (one, two)) is first
    sessions.of(two, (two,))
    assert sessions.of(one, (one, two)) is not first
