"""A study as one page to look at and to print: it needs no network, no script and no other file.

All text from outside goes through `_text`; the page forbids itself everything but its own style and pictures.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources

from irmsia.app.printable import printable
from irmsia.app.study_journal import StudyRow
from irmsia.app.study_result import StudyResult
from irmsia.app.words import Words
from irmsia.errors import InvalidRequestError
from irmsia.findings.summary import Counts, MostSevere, SeriesSummary, StudySummary
from irmsia.findings.types import Decision, Diagnosis, State
from irmsia.findings.vocabulary import get_label, has_term
from irmsia.imaging.render import shrink_png

MOST_PICTURES = 200
"""A page with more could not be opened everywhere: a picture takes about 100 kB."""

_LONG_SIDE = 256
_FAILED = "FAILED"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def shrink_overlay(answer: Diagnosis) -> Diagnosis:
    """The answer with its picture as the page shows it, at most 256 x 256 pixels; without it where it is no PNG."""
    shown = answer.explanation
    if shown is None or shown.overlay_png is None:
        return answer
    try:
        png = shrink_png(shown.overlay_png, _LONG_SIDE)
    except InvalidRequestError:
        png = None
    return replace(answer, explanation=replace(shown, overlay_png=png))


def make_page(result: StudyResult, read: Callable[[StudyRow], Diagnosis], language: str) -> Iterator[bytes]:
    """The page, UTF-8, piece by piece. ``read`` gives the whole answer of a row; ``language`` is ``en`` or ``fr``."""
    page = _Page(result, read, Words(language))
    return (piece.encode("utf-8", "replace") for piece in page.pieces())


@dataclass(frozen=True, slots=True)
class _Group:
    """The rows of one series of one study, and the number that names it on the page."""

    number: str
    summary: SeriesSummary
    rows: tuple[StudyRow, ...]


class _Page:
    def __init__(self, result: StudyResult, read: Callable[[StudyRow], Diagnosis], words: Words) -> None:
        self._result = result
        self._read = read
        self._words = words
        ranked = sorted((row for row in result.rows if row.answer.risk is not None), key=_rank)
        self._pictured = {row.place for row in ranked[:MOST_PICTURES]}
        self._rated = len(ranked)

    def pieces(self) -> Iterator[str]:
        """The page from top to bottom."""
        words, studies = self._words, self._studies()
        title = words["title"]
        style = resources.files(__package__).joinpath("study_page.css").read_text("utf-8")
        yield f'<!DOCTYPE html>\n<html lang="{words.language}">\n<head>\n<meta charset="utf-8">\n'
        yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        yield f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        yield from self._head()
        yield from self._overview(studies)
        for study, groups in studies:
            yield from self._study(study, groups)
        yield from self._foot()
        yield "</body>\n</html>\n"

    def _studies(self) -> list[tuple[StudySummary, list[_Group]]]:
        """Studies and their series, the most severe first, each with its rows."""
        rows: dict[tuple[str | None, str | None], list[StudyRow]] = {}
        for row in self._result.rows:
            source = row.answer.source
            key = (source.study_instance_uid, source.series_instance_uid) if source else (None, None)
            rows.setdefault(key, []).append(row)
        studies = []
        for number, study in enumerate(sorted(self._result.summary.studies, key=_severity), 1):
            groups = [
                _Group(f"{number}-{place}", series, tuple(rows[study.study_instance_uid, series.series_instance_uid]))
                for place, series in enumerate(sorted(study.series, key=_severity), 1)
            ]
            studies.append((study, groups))
        return studies

    def _head(self) -> Iterator[str]:
        words, model, counts = self._words, self._result.model, self._result.summary.counts
        yield f'<header>\n<h1>{words["title"]}</h1>\n<p class="disclaimer">{_text(words["disclaimer"])}</p>\n'
        yield f"<p>{words['model']} {_text(model.name)} {_text(model.version)} "
        yield f"<code>{_text(model.id[:12])}</code></p>\n{self._counts(counts, large=True)}</header>\n"
        notes = [f"{words['doubled']} {uid[:64]}" for uid in self._result.doubled]
        if notes:
            yield f'<section class="attention">\n<h2>{words["attention"]}</h2>\n{_list(notes)}</section>\n'

    def _overview(self, studies: Sequence[tuple[StudySummary, list[_Group]]]) -> Iterator[str]:
        words = self._words
        yield f'<section>\n<h2>{words["overview"]}</h2>\n<p class="dim">{words["order"]}</p>\n'
        yield '<table class="overview">\n<thead><tr>'
        titles = [words["study"], words["series"], "", words["most_severe"], words["risk"], words["urgency"]]
        yield "".join(f"<th>{title}</th>" for title in titles) + "</tr></thead>\n<tbody>\n"
        for study, groups in studies:
            for group in groups:
                cells = [
                    f'<a href="#s{group.number}">{_uid(study.study_instance_uid) or words["no_study"]}</a>',
                    f"{_uid(group.summary.series_instance_uid)} {_text(group.summary.modality or '')}",
                    self._counts(group.summary.counts),
                    *self._most_severe(group.summary.most_severe),
                ]
                yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"
        yield "</tbody>\n</table>\n"
        if self._rated > MOST_PICTURES:
            yield f"<p>{words['capped'].format(shown=MOST_PICTURES, total=self._rated)}</p>\n"
        if self._result.copies:
            yield f"<p>{words['copies'].format(count=self._result.copies)}</p>\n"
        yield f'<p class="dim">{words["legend"]}</p>\n</section>\n'

    def _study(self, study: StudySummary, groups: Sequence[_Group]) -> Iterator[str]:
        words = self._words
        yield f'<section class="study">\n<h2>{self._study_name(study)}</h2>\n'
        if study.patient_pseudonym:
            yield f'<p class="dim">{words["patient"]} <code>{_text(study.patient_pseudonym)}</code></p>\n'
        if len(groups) > 1:
            yield self._counts(study.counts)
        for group in groups:
            yield f'<section class="series" id="s{group.number}">\n<h3>{self._series_name(group.summary)}</h3>\n'
            yield self._counts(group.summary.counts)
            yield from self._images(group.rows)
            yield "</section>\n"
        yield "</section>\n"

    def _images(self, rows: Sequence[StudyRow]) -> Iterator[str]:
        """Cards of what has a picture, then a table of what has none."""
        plain = []
        yield '<div class="cards">\n'
        for row in sorted(rows, key=_rank):
            answer = self._read(row) if row.place in self._pictured else row.answer
            if answer.explanation is not None and answer.explanation.overlay_png is not None:
                yield self._card(answer, answer.explanation.overlay_png)
            else:
                plain.append(answer)
        yield "</div>\n"
        if plain:
            yield from self._table(plain)

    def _card(self, answer: Diagnosis, png: bytes) -> str:
        words, shown = self._words, answer.explanation
        term = self._label(shown.term) if shown else ""
        about = f"{words['map_of']} {term}"
        if answer.frames is not None and shown is not None:
            about += f", {words['frame']} {shown.frame + 1}"
        picture = base64.b64encode(png).decode("ascii")
        return (
            f'<article class="card">\n<img src="data:image/png;base64,{picture}" alt="{about}">\n'
            f'<p class="line">{self._badge(answer)}{self._urgency(answer.urgency)}</p>\n'
            f"{self._why(answer)}{self._bar(answer)}{self._present(answer)}"
            f'<p class="dim">{about}{self._frames(answer)}</p>\n{_name(answer)}</article>\n'
        )

    def _table(self, answers: Iterable[Diagnosis]) -> Iterator[str]:
        words = self._words
        titles = [words["decision"], words["why"], words["present"], words["risk"], words["image"]]
        yield f'<table class="plain">\n<caption>{words["no_map"]}</caption>\n<thead><tr>'
        yield "".join(f"<th>{title}</th>" for title in titles) + "</tr></thead>\n<tbody>\n"
        for answer in answers:
            risk = words.number(answer.risk.score) if answer.risk else ""
            cells = [self._badge(answer), self._why(answer), self._present(answer), risk, _name(answer)]
            yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"
        yield "</tbody>\n</table>\n"

    def _foot(self) -> Iterator[str]:
        limits = self._result.model.limitations
        yield "<footer>\n"
        if limits:
            yield f"<h2>{self._words['limits']}</h2>\n{_list(limits)}"
        yield f'<p class="disclaimer">{_text(self._words["disclaimer"])}</p>\n</footer>\n'

    def _counts(self, counts: Counts, *, large: bool = False) -> str:
        kinds = {"ACCEPT": counts.accept, "REFER": counts.refer, "REFUSE": counts.refuse, _FAILED: counts.failed}
        parts = [f"<b>{counts.total}</b> {self._words['images' if counts.total != 1 else 'image_1']}"]
        parts += [f"{self._mark(kind)} {count}" for kind, count in kinds.items() if count]
        return (
            f'<p class="counts{" large" if large else ""}">{" ".join(f"<span>{part}</span>" for part in parts)}</p>\n'
        )

    def _most_severe(self, found: MostSevere | None) -> tuple[str, str, str]:
        if found is None or found.risk is None:
            return "", "", ""
        words = self._words
        label = words[found.primary.label] if found.primary else ""
        risk = _text(f"{words.number(found.risk.score)} {words[found.risk.level]}")
        return f"{_base(found.input)}<br>{_text(label)}", risk, self._urgency(found.urgency)

    def _badge(self, answer: Diagnosis) -> str:
        return self._mark(answer.decision if answer.error is None and answer.decision is not None else _FAILED)

    def _mark(self, kind: Decision | str) -> str:
        return f'<span class="mark {kind.lower()}" title="{kind}">{self._words[kind]}</span>'

    def _urgency(self, urgency: str | None) -> str:
        if urgency is None:
            return ""
        return f'<span class="urgency {_text(urgency.lower())}">{_text(self._words[urgency])}</span>'

    def _why(self, answer: Diagnosis) -> str:
        if answer.error is not None:
            return f"<p>{_text(answer.error.code)}: {_text(answer.error.message)}</p>\n"
        return f"<p>{_text(self._words[answer.reason])}</p>\n" if answer.reason is not None else ""

    def _bar(self, answer: Diagnosis) -> str:
        """Risk and p(abnormal), each with a bar of its length."""
        words, rows = self._words, []
        if answer.risk is not None:
            text = f"{words.number(answer.risk.score)} {words[answer.risk.level]}"
            rows.append((words["risk"], answer.risk.score / 100, text))
        if answer.primary is not None:
            p = answer.primary.probability
            rows.append((words["abnormal_p"], p, f"{words.percent(p)} {words[answer.primary.label]}"))
        return "".join(
            f'<p class="bar"><span>{_text(name)}</span><i><b style="width:{100 * share:.1f}%"></b></i>'
            f"<span>{_text(text)}</span></p>\n"
            for name, share, text in rows
        )

    def _present(self, answer: Diagnosis) -> str:
        if answer.decision in {None, Decision.REFUSE}:
            return ""
        rows = [row for row in answer.findings if row.state is State.PRESENT]
        texts = [
            f"<b>{self._label(row.code)}</b>" + (f" {self._words.percent(row.probability)}" if row.probability else "")
            for row in sorted(rows, key=lambda row: -(row.probability or 0.0))
        ]
        return f"<p>{', '.join(texts) or self._words['nothing_present']}</p>\n"

    def _frames(self, answer: Diagnosis) -> str:
        frames = answer.frames
        if frames is None:
            return ""
        return " · " + self._words["frames"].format(analysed=frames.analysed, total=frames.total)

    def _label(self, code: str) -> str:
        return _text(get_label(code, self._words.language) if has_term(code) else code)

    def _study_name(self, study: StudySummary) -> str:
        uid = _uid(study.study_instance_uid)
        return f"{self._words['study']} {uid}" if uid else self._words["no_study"]

    def _series_name(self, series: SeriesSummary) -> str:
        uid, modality = _uid(series.series_instance_uid), _text(series.modality or "")
        return f"{self._words['series']} {uid} {modality}" if uid else f"{self._words['no_series']} {modality}"


def _rank(row: StudyRow) -> tuple[int, float]:
    """The highest risk first, then what was refused, then what failed."""
    answer = row.answer
    if answer.risk is not None:
        return 0, -answer.risk.score
    return (2 if answer.error is not None else 1), 0.0


def _severity(part: StudySummary | SeriesSummary) -> float:
    worst = part.most_severe
    return -worst.risk.score if worst is not None and worst.risk is not None else 1.0


def _name(answer: Diagnosis) -> str:
    uid = _uid(answer.source.sop_instance_uid if answer.source is not None else None)
    return f'<p class="name" title="{_text(answer.input or "")}">{_base(answer.input)}{uid and f"<br>{uid}"}</p>\n'


def _uid(uid: str | None) -> str:
    """A UID as the standard allows it, at most 64 characters; nothing for none."""
    return f"<code>{_text(uid[:64])}</code>" if uid else ""


def _base(name: str | None) -> str:
    whole = name or "image"
    return f"<bdi>{_text(whole.rstrip('/').rpartition('/')[2] or whole)}</bdi>"


def _list(texts: Iterable[str]) -> str:
    return "<ul>\n" + "".join(f"<li>{_text(text)}</li>\n" for text in texts) + "</ul>\n"


def _text(text: str) -> str:
    """Text from outside as text of the page and of an attribute: no markup, nothing that steers."""
    return html.escape(printable(text), quote=True)
