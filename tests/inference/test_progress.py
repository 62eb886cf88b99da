"""What the caller hears of one image: every stage in order, never back, and no harm to the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.bundles.load import Bundle
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.limits import ReadLimits
from irmsia.inference.engine import Engine
from irmsia.inference.progress import BEGINS, ProgressReport
from irmsia.inference.protocol import DiagnoseRequest, Stage
from tests.imaging.stacks import make_stack
from tests.inference.reading import make_png

Engines = Callable[..., Engine]
Heard = list[tuple[Stage, float]]
PNG = make_png(1)
WAIT = 30.0


def listen(engine: Engine, source: bytes, **options: bool) -> Heard:
    """What is heard until the answer."""
    heard: Heard = []
    request = DiagnoseRequest("x", source, progress=lambda stage, percent: heard.append((stage, percent)), **options)
    engine.submit(request).result(WAIT)
    return heard


def stages(heard: Heard) -> list[Stage]:
    """Each once."""
    return list(dict.fromkeys(stage for stage, _ in heard))


@pytest.mark.parametrize("options", [{}, {"heatmap": True}, {"overlay": True}])
def test_every_stage_is_told(engines: Engines, bundle: Bundle, options: dict[str, bool]) -> None:
    """In order; EXPLAINING only where an explanation was asked for; DONE is 100 and said before the answer is there."""
    heard = listen(engines(bundle), PNG, **options)
    explaining = [Stage.EXPLAINING] if options else []
    assert stages(heard) == [Stage.DECODING, Stage.PREPROCESSING, Stage.INFERRING, *explaining, Stage.DONE]
    assert heard[-1] == (Stage.DONE, 100.0)
    assert all(earlier < later for earlier, later in pairwise(heard))
    assert all(BEGINS[stage] <= percent for stage, percent in heard)


def test_frames_move_it_on(engines: Engines, bundle: Bundle) -> None:
    """One step for each frame that was inferred, evenly."""
    heard = listen(engines(bundle), make_stack(("bright", "none", "dark", "none")))
    percents = [percent for stage, percent in heard if stage is Stage.INFERRING]
    assert percents == pytest.approx([50, 60, 70, 80, 90])


def test_frames_are_told_while_they_are_decoded(engines: Engines, bundle: Bundle) -> None:
    """Evenly, and PREPROCESSING not before the last one is."""
    heard = listen(engines(bundle), make_stack(("bright", "none", "dark", "none")))
    assert [percent for stage, percent in heard if stage is Stage.DECODING] == pytest.approx([0, 10, 20, 30])
    assert next(percent for stage, percent in heard if stage is Stage.PREPROCESSING) == 40


def test_what_fails_is_done_too(engines: Engines, bundle: Bundle) -> None:
    """No stage is claimed that was not reached."""
    assert stages(listen(engines(bundle), b"junk")) == [Stage.DECODING, Stage.DONE]


def test_decoder_children_tell_as_well(engines: Engines, bundle: Bundle) -> None:
    """From real children: the same stages as in this process."""
    with DecoderPool(1, ReadLimits()) as pool:
        engine = engines(bundle, pool, workers=1)
        heard = listen(engine, make_stack(("bright", "none")), heatmap=True)
        engine.close()
    assert stages(heard) == list(Stage)[1:]
    assert all(earlier < later for earlier, later in pairwise(heard))


def test_a_listener_that_fails_harms_no_answer(
    engines: Engines, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """The image is answered, the log says it once without the text, and the listener is not called again."""
    heard: list[Stage] = []

    def fail(stage: Stage, percent: float) -> None:
        heard.append(stage)
        raise ZeroDivisionError("Doe^John")

    with caplog.at_level(logging.WARNING):
        answer = engines(bundle).submit(DiagnoseRequest("x", PNG, progress=fail)).result(WAIT)
    assert answer.error is None
    assert heard == [Stage.DECODING]
    assert [record.getMessage() for record in caplog.records] == ["progress listener failed"]
    assert "Doe" not in caplog.text


@given(st.lists(st.tuples(st.sampled_from(Stage), st.floats(-1, 2))))
def test_it_never_goes_back(told: list[tuple[Stage, float]]) -> None:
    """Whatever is told in whatever order: what is heard rises, within 0 to 100, and nothing is said twice."""
    heard: Heard = []
    report = ProgressReport(lambda stage, percent: heard.append((stage, percent)))
    for stage, share in told:
        report.tell(stage, share)
    for earlier, later in pairwise(heard):
        assert earlier != later
        assert earlier[0] <= later[0] and earlier[1] <= later[1]
    assert all(0 <= percent <= 100 for _, percent in heard)
