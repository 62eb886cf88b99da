"""The card of one answer in the terminal: what was decided, on what grounds, how sure, and with what evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from irmsia.app.words import Words
from irmsia.cli.consoles import printable
from irmsia.findings.types import Decision, Diagnosis, Finding, FrameAnswer, Frames, Reason, State, Urgency

DECISION_STYLES = {Decision.ACCEPT: "green", Decision.REFER: "yellow", Decision.REFUSE: "magenta"}
REASON_WORDS = {reason: Words("en")[reason] for reason in Reason}
_LEVEL_STYLES = {
    **dict.fromkeys(("VERY_LOW", "LOW", "normal", "minimal", Urgency.ROUTINE), "green"),
    **dict.fromkeys(("MODERATE", "mild", "moderate", Urgency.URGENT), "yellow"),
    **dict.fromkeys(("HIGH", "severe"), "red"),
    **dict.fromkeys(("CRITICAL", "critical", Urgency.EMERGENCY), "bold red"),
}
_STATE_STYLES = {State.PRESENT: "bold", State.ABSENT: "dim", State.NOT_ASSESSED: "dim italic"}
LIMITATION = "LIMITATION"
_BAR = 20
_FRAMES_SHOWN = 10
_LEADING = (Decision.REFER, Decision.ACCEPT, Decision.REFUSE)
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def make_card(answer: Diagnosis) -> Panel:
    """Return the card of one answer. It holds nothing that the answer does not; the model's limits stand apart."""
    body = _error_body(answer) if answer.error is not None else _answer_body(answer)
    name = printable(answer.input or "image")
    place = [] if _base(name) == name else [Padding(Text(name, style="dim", overflow="fold"), (0, 0, 1, 0))]
    return Panel(
        Group(*place, *body),
        title=Text(f" {_base(name)} ", style="bold", overflow="ellipsis"),
        title_align="left",
        subtitle=Text(f" {answer.disclaimer} ", style="dim"),
        subtitle_align="left",
        border_style=_border(answer),
        box=box.ROUNDED,
        padding=(1, 2),
    )


def limits_of(answer: Diagnosis) -> tuple[str, ...]:
    """What the model that answered is not for."""
    return tuple(warning.text for warning in answer.warnings if warning.code == LIMITATION)


def make_limits(texts: Iterable[str]) -> RenderableType:
    """Return the limits of the models that answered, for the end of a run: on every card they would hide the answer."""
    grid = Table.grid(padding=(0, 1))
    for text in texts:
        grid.add_row(Text("!", "yellow"), Text(printable(text), "dim"))
    return Padding(Group(Text("Limits of the model", "bold"), grid), (1, 3))


def _base(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2] or name


def _border(answer: Diagnosis) -> str:
    if answer.error is not None or answer.decision is None:
        return "red"
    return DECISION_STYLES[answer.decision]


def _error_body(answer: Diagnosis) -> Iterator[RenderableType]:
    if answer.error is not None:
        yield Text.assemble((" FAILED ", "reverse bold red"), "  ", (answer.error.code, "bold"))
        yield Padding(Text(printable(answer.error.message)), (1, 0, 0, 0))
    yield from _evidence(answer)


def _answer_body(answer: Diagnosis) -> Iterator[RenderableType]:
    yield _headline(answer)
    if answer.primary is not None:
        yield Padding(_levels(answer), (1, 0, 0, 0))
    if answer.findings:
        yield Padding(_findings(answer), (1, 0, 0, 0))
    if answer.frames is not None:
        yield Padding(_frames(answer.frames), (1, 0, 0, 0))
    yield from _evidence(answer)
    yield from _warnings(answer)


def _headline(answer: Diagnosis) -> RenderableType:
    decision = answer.decision or Decision.REFUSE
    line = Text.assemble((f" {decision} ", f"reverse bold {DECISION_STYLES[decision]}"))
    if answer.reason is not None:
        line.append(f"  {answer.reason}", style="bold")
        line.append(f"  {REASON_WORDS[answer.reason]}")
    grid = Table.grid(expand=True)
    grid.add_column()
    grid.add_column(justify="right", no_wrap=True)
    about = "  ".join(printable(part) for part in (answer.region, answer.modality) if part)
    grid.add_row(line, Text(about, style="cyan"))
    return grid


def _levels(answer: Diagnosis) -> RenderableType:
    """Primary with its bar, then risk, severity and urgency in one line."""
    grid = _rows()
    if answer.primary is not None:
        p, label = answer.primary.probability, answer.primary.label.replace("_", " ")
        grid.add_row(Text("abnormal"), _bar(p), _percent(p), Text(label, "bold"))
    if answer.risk is not None:
        bar = _bar(answer.risk.score / 100)
        grid.add_row(Text("risk"), bar, Text(f"{answer.risk.score:.1f} "), _level(answer.risk.level))
    levels = Text()
    if answer.severity is not None:
        levels.append("severity ", "dim").append_text(_level(answer.severity.level)).append("   ")
    if answer.urgency is not None:
        levels.append("urgency ", "dim").append_text(_level(answer.urgency))
    return Group(grid, levels)


def _findings(answer: Diagnosis) -> RenderableType:
    grid = _rows()
    for finding in sorted(answer.findings, key=_by_weight):
        style = _STATE_STYLES[finding.state]
        p = finding.probability
        bar, percent = (_bar(p), _percent(p)) if p is not None else (Text(), Text("-"))
        grid.add_row(Text(printable(finding.label), style), bar, percent, Text(finding.state.replace("_", " "), style))
    if answer.conformal_set is None:
        return grid
    terms = ", ".join(answer.conformal_set.terms)
    return Group(grid, Text.assemble((f"in the {answer.conformal_set.coverage:.0%} set  ", "dim"), printable(terms)))


def _by_weight(finding: Finding) -> tuple[int, float]:
    return list(State).index(finding.state), -(finding.probability or 0.0)


def _frames(frames: Frames) -> RenderableType:
    """The frames that matter most, in the order in which they would lead, and how many more there are."""
    ranked = _ranked(frames)
    grid = Table("frame", "decision", "abnormal", "risk", "present", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for item in ranked[:_FRAMES_SHOWN]:
        grid.add_row(*_frame_cells(item))
    title = Text(f"{frames.analysed} of {frames.total} frames analysed", "dim")
    left = ranked[_FRAMES_SHOWN:]
    return Group(title, grid, *([Text(f"and {len(left)} more: {_count_decisions(left)}", "dim")] if left else []))


def _ranked(frames: Frames) -> list[FrameAnswer]:
    return sorted(frames.items, key=lambda item: (_LEADING.index(item.decision), -_score(item), item.index))


def _frame_cells(item: FrameAnswer) -> Iterator[Text]:
    yield Text(str(item.index))
    yield Text(" ".join(filter(None, (item.decision, item.reason))), DECISION_STYLES[item.decision])
    yield _percent(item.primary.probability) if item.primary is not None else Text()
    yield Text(f"{item.risk.score:.1f}") if item.risk is not None else Text()
    yield Text(", ".join(printable(row.label) for row in item.findings if row.state is State.PRESENT))


def _score(item: FrameAnswer) -> float:
    return item.risk.score if item.risk is not None else 0.0


def _count_decisions(items: Iterable[FrameAnswer]) -> str:
    counts = Counter(item.decision for item in items)
    return ", ".join(f"{counts[decision]} {decision}" for decision in _LEADING if counts[decision])


def _evidence(answer: Diagnosis) -> Iterator[RenderableType]:
    lines = list(_evidence_lines(answer))
    if lines:
        yield Padding(Text("\n".join(lines), style="dim"), (1, 0, 0, 0))


def _evidence_lines(answer: Diagnosis) -> Iterator[str]:
    model, evidence, time = answer.model, answer.evidence, answer.timings_ms
    parts = []
    if model is not None:
        parts.append(f"model {model.name} {model.version} ({model.id[:12]})")
    if time is not None:
        parts.append(f"{time.total:.0f} ms")
    if parts:
        yield printable("   ".join(parts))
    if evidence is not None and evidence.input_sha256:
        yield printable(f"file {evidence.input_sha256[:16]}{_frame_digest(answer)}")
        yield printable(f"decoder {evidence.decoder or '-'}   {evidence.software or ''}")
    if answer.explanation is not None:
        rows, columns = answer.explanation.shape
        yield printable(f"map of {answer.explanation.term} by {answer.explanation.method}, {rows} x {columns} cells")


def _frame_digest(answer: Diagnosis) -> str:
    """The digest of the frame that the card is about."""
    digests = answer.evidence.frame_sha256 if answer.evidence is not None else ()
    lead = 0 if answer.frames is None or not answer.frames.items else _ranked(answer.frames)[0].index
    return f"   frame {digests[lead][:16]}" if lead < len(digests) else ""


def _warnings(answer: Diagnosis) -> Iterator[RenderableType]:
    warnings = [warning for warning in answer.warnings if warning.code != LIMITATION]
    if not warnings:
        return
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="yellow", no_wrap=True)
    grid.add_column(style="dim")
    for warning in warnings:
        grid.add_row("!", Text.assemble((f"{warning.code} ", "yellow"), printable(warning.text)))
    yield Padding(grid, (1, 0, 0, 0))


def _rows() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(min_width=20)
    grid.add_column(width=_BAR, no_wrap=True)
    grid.add_column(justify="right", no_wrap=True, min_width=6)
    grid.add_column()
    return grid


def _bar(share: float) -> Text:
    """A bar of 20 cells in steps of an eighth of a cell."""
    eighths = round(min(1.0, max(0.0, share)) * _BAR * 8)
    full, rest = divmod(eighths, 8)
    filled = "█" * full + (_EIGHTHS[rest] if rest else "")
    return Text.assemble((filled, _heat(share)), ("·" * (_BAR - len(filled)), "dim"))


def _heat(share: float) -> str:
    return "green" if share < 0.35 else "yellow" if share < 0.65 else "red"


def _percent(share: float) -> Text:
    return Text(f"{share:.1%}")


def _level(level: str) -> Text:
    return Text(level.replace("_", " "), _LEVEL_STYLES.get(level, ""))
