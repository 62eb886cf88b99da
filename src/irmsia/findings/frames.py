"""Several frames: which one speaks for the file, and the answer of each (contract section 4)."""

from __future__ import annotations

from collections.abc import Sequence

from irmsia.errors import InvalidRequestError
from irmsia.findings.decision import Verdict
from irmsia.findings.types import Decision, FrameAnswer, Frames


def leading_frame(verdicts: Sequence[Verdict]) -> int:
    """Position of the verdict that all top-level fields come from.

    If any is REFER the REFER one of highest risk, else the ACCEPT one of highest risk, else the first; ties to the
    lowest.
    """
    if not verdicts:
        raise InvalidRequestError("an answer needs at least one analysed frame")
    for decision in (Decision.REFER, Decision.ACCEPT):
        positions = [position for position, verdict in enumerate(verdicts) if verdict.decision is decision]
        if positions:
            return max(positions, key=lambda position: _risk(verdicts[position]))
    return 0


def _risk(verdict: Verdict) -> float:
    return 0.0 if verdict.risk is None else verdict.risk.score


def make_frames(total: int, indices: Sequence[int], verdicts: Sequence[Verdict]) -> Frames | None:
    """The answer's ``frames``, null for a file of one frame; ``indices``: the frame numbers of ``verdicts``."""
    if total == 1:
        return None
    items = tuple(
        FrameAnswer(
            index=index,
            decision=verdict.decision,
            reason=verdict.reason,
            rule=verdict.rule,
            primary=verdict.primary,
            risk=verdict.risk,
            findings=verdict.findings,
        )
        for index, verdict in zip(indices, verdicts, strict=True)
    )
    return Frames(total=total, analysed=len(items), items=items)
