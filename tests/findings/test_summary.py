"""Several answers together: counts and the most severe image, by study and series."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from irmsia.findings.summary import summarise, summarise_numbered
from irmsia.findings.types import Basis, Decision, Diagnosis, Problem, Risk, Source
from irmsia.wire.json import summary_to_json
from irmsia.wire.proto import summary_from_message, summary_to_message

UIDS = st.sampled_from([None, "1.2", "1.3"])


def make_answer(study: str | None, series: str | None, decision: Decision | None, score: float = 0.0) -> Diagnosis:
    """An answer of that study and series."""
    rated = decision in (Decision.ACCEPT, Decision.REFER)
    return Diagnosis(
        input="name",
        source=Source(study_instance_uid=study, series_instance_uid=series),
        decision=decision,
        risk=Risk(score=score, level="LOW", basis=Basis.RULE) if rated else None,
        error=None if decision else Problem("NOT_AN_IMAGE", "no image"),
    )


ANSWERS = st.lists(
    st.builds(make_answer, UIDS, UIDS, st.sampled_from([None, *Decision]), st.sampled_from([0.0, 5.0, 50.0])),
    max_size=12,
)


@given(ANSWERS)
def test_every_image_is_counted_once_at_every_level(answers: list[Diagnosis]) -> None:
    """Counts of studies add up to the whole, counts of series to their study, and all travel unchanged."""
    summary = summarise(answers)
    assert summary.counts.total == len(answers) == sum(study.counts.total for study in summary.studies)
    assert summary.counts.failed == sum(answer.error is not None for answer in answers)
    for study in summary.studies:
        assert study.counts.total == sum(series.counts.total for series in study.series)
        assert study.counts.accept == sum(series.counts.accept for series in study.series)
    assert summary_from_message(summary_to_message(summary)) == summary
    assert summary_to_json(summary)["counts"]["total"] == len(answers)


@given(ANSWERS, st.randoms())
def test_the_order_in_which_answers_come_does_not_matter(answers: list[Diagnosis], random: object) -> None:
    """Answers that come as they are ready give the same summary."""
    numbered = list(enumerate(answers))
    random.shuffle(numbered)  # type: ignore[attr-defined]  # a random.Random
    assert summarise_numbered(numbered) == summarise(answers)


def test_the_most_severe_is_the_highest_risk_and_the_first_of_equals() -> None:
    """Refused and failed images are never the most severe."""
    answers = [
        make_answer("1", "a", None),
        make_answer("1", "a", Decision.REFUSE),
        make_answer("1", "a", Decision.ACCEPT, 7.0),
        make_answer("1", "b", Decision.REFER, 60.0),
        make_answer("1", "b", Decision.ACCEPT, 60.0),
        make_answer("2", "c", Decision.REFUSE),
    ]
    first, second = summarise(answers).studies
    assert first.most_severe is not None
    assert first.most_severe.index == 3
    assert [series.most_severe and series.most_severe.index for series in first.series] == [2, 3]
    assert second.most_severe is None
