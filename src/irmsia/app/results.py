"""What an evaluation leaves behind: a page with its figures, every number as JSON, the predictions as a table."""

from __future__ import annotations

import json
import re
from pathlib import Path

from irmsia import durable
from irmsia.app.evaluate import Answered
from irmsia.errors import InvalidRequestError
from irmsia.evaluation.measure import RegionReport
from irmsia.evaluation.plots.panels import make_figure
from irmsia.evaluation.prediction_table import format_predictions
from irmsia.evaluation.report import Evaluation, to_json, to_markdown

PAGE = "report.md"
_FEWEST_DRAWN = 20


def write_results(answered: Answered, folder: Path) -> list[Path]:
    """Write report.md with its figures, metrics.json and, of a bundle, predictions.csv; each file whole or not there.

    Raises:
        InvalidRequestError: the folder cannot be written.
    """
    files = {
        **({folder / "predictions.csv": format_predictions(answered.images)} if answered.images else {}),
        folder / "metrics.json": json.dumps(to_json(answered.evaluation), allow_nan=False, indent=1) + "\n",
        **_page_files(answered.evaluation, folder / PAGE),
    }
    return _write(files)


def write_page(answered: Answered, page: Path) -> list[Path]:
    """Write the report as ``page`` with its figures beside it, named after it; raises as `write_results`."""
    return _write(_page_files(answered.evaluation, page))


def _page_files(evaluation: Evaluation, page: Path) -> dict[Path, str]:
    """The figures first, so that a page never names one that is missing."""
    drawn = {
        report.region: page.with_name(f"{page.stem}-{_slug(report.region)}.svg")
        for report in evaluation.regions
        if _is_drawn(report)
    }
    figures = {drawn[report.region]: make_figure(report) for report in evaluation.regions if report.region in drawn}
    text = to_markdown(evaluation, lambda region: drawn[region].name if region in drawn else None)
    return {**figures, page: text}


def _is_drawn(report: RegionReport) -> bool:
    """A dozen phantoms make no curve."""
    return report.n >= _FEWEST_DRAWN


def _slug(region: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", region.lower()).strip("-") or "region"


def _write(files: dict[Path, str]) -> list[Path]:
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.write_text(path, text)
    except OSError as error:
        raise InvalidRequestError(f"the output cannot be written: {error.strerror}") from None
    return list(files)
