"""`irmsia diagnose --out FILE`: the answers of a study in a file, what they come to on the screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from irmsia.cli.consoles import make_console, note, print_json, printable

if TYPE_CHECKING:
    from rich.table import Table

    from irmsia.app.diagnose import DiagnoseOptions
    from irmsia.app.study_result import StudyResult
    from irmsia.findings.summary import Counts, MostSevere
    from irmsia.settings.tree import Settings

_COUNTED = ("accept", "refer", "refuse", "failed")
_NUMBERS = ("images", *_COUNTED, "risk")
_SHOWN = 30
"""So many series are listed."""
_TAIL = 8


def answer_study(
    paths: Sequence[str],
    out: Path,
    asked: DiagnoseOptions,
    server: str | Sequence[str] | None,
    heatmap: Path | None,
    *,
    restart: bool,
    language: str | None,
    settings: Settings,
    as_json: bool,
) -> set[str]:
    """Answer the files of ``paths`` into ``out``, print what they come to, and return the codes of what failed."""
    from irmsia.app.compose import open_service
    from irmsia.app.diagnose import write_maps
    from irmsia.app.inputs import Skipped, list_inputs
    from irmsia.app.study import Hooks, StudyOptions, run_study
    from irmsia.cli.meter import Meter

    options = StudyOptions(out, asked, restart=restart, language=language)
    skipped = Skipped()
    files = list_inputs(paths, skipped)
    opened = open_service(settings, server, at_most=len(files), model=asked.model)
    with opened as service, _told_of_interrupt(), Meter(len(files), "answering") as meter:
        hooks = Hooks(meter.advance) if heatmap is None else Hooks(meter.advance, partial(write_maps, heatmap))
        result = run_study(service, paths, files, options=options, skipped=skipped, limits=settings.limits, hooks=hooks)
    _show(result, out, as_json=as_json)
    if sentence := skipped.sentence():
        note(sentence)
    return {row.answer.error.code for row in result.rows if row.answer.error is not None}


@contextmanager
def _told_of_interrupt() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note("interrupted; what was answered is kept, and the same command goes on from there")
        raise


def _show(result: StudyResult, out: Path, *, as_json: bool) -> None:
    from irmsia.app.study_result import result_to_json

    if as_json:
        print_json(result_to_json(result))
    else:
        make_console().print(_make_table(result))
    for warning in result.warnings:
        note(f"{warning.code}: {warning.text}")
    reused = f", {result.reused} of them answered by an earlier run" if result.reused else ""
    copies = f"; {result.copies} more files are copies" if result.copies else ""
    note(f"wrote {out}: {len(result.rows)} instances{reused}{copies}")


def _make_table(result: StudyResult) -> Table:
    """A row a series, those of the highest risk, and one for all images. UIDs are cut: the file has them whole."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, header_style="dim", padding=(0, 1, 0, 0))
    for title in ("study", "series", "images", *_COUNTED, "risk", "most severe"):
        table.add_column(
            title, justify="right" if title in _NUMBERS else "left", no_wrap=title != "most severe", overflow="fold"
        )
    parts = [(study, series) for study in result.summary.studies for series in study.series]
    parts.sort(key=lambda pair: -_risk(pair[1].most_severe))
    for study, series in parts[:_SHOWN]:
        uids = (_tail(study.study_instance_uid), _tail(series.series_instance_uid))
        table.add_row(*map(printable, (*uids, *_cells(series.counts, series.most_severe))))
    if len(parts) > _SHOWN:
        table.add_row(f"{len(parts) - _SHOWN} more")
    table.add_section()
    table.add_row("all", "", *_cells(result.summary.counts, None))
    return table


def _cells(counts: Counts, worst: MostSevere | None) -> Iterator[str]:
    yield str(counts.total)
    for kind in _COUNTED:
        yield str(getattr(counts, kind) or "")
    yield f"{_risk(worst):.1f}" if worst is not None else ""
    yield (worst.input or "").rpartition("/")[2] if worst is not None else ""


def _risk(worst: MostSevere | None) -> float:
    return worst.risk.score if worst is not None and worst.risk is not None else -1.0


def _tail(uid: str | None) -> str:
    return "-" if uid is None else uid if len(uid) <= _TAIL else "…" + uid[-_TAIL:]
