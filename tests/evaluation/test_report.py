"""The page and the figures: what a reader finds, and that both stay small and whole."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from irmsia.evaluation.answered import make_predictions, split_by_region
from irmsia.evaluation.measure import RegionReport, measure, measure_routing
from irmsia.evaluation.plots.panels import make_figure
from irmsia.evaluation.report import Evaluation, to_markdown
from tests.evaluation.made import TERMS, make_images

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def report() -> RegionReport:
    """A region of three terms."""
    return measure(make_predictions(make_images(200)), draws=100)


def test_the_page_says_everything(report: RegionReport) -> None:
    """Head, quick table, classes, every figure with interval and n, confusion, limits, method."""
    routing = measure_routing(split_by_region(make_images(200)))
    facts = (("command", "`irmsia evaluate x`"), ("date", "today"))
    page = to_markdown(
        Evaluation("Title", facts, (report,), routing, ("Only a test.",), references=True),
        lambda region: f"{region}.svg",
    )
    for text in (
        "# Title",
        "Research use only. Not a medical device.",
        "| command | `irmsia evaluate x` |",
        "## In a hurry",
        "Region found: 0.940 [",
        "## brain",
        "![Curves of brain](brain.svg)",
        "| truth \\ said | normal | glioma | meningioma |",
        "- Only a test.",
        "for orientation only",
        "with 100 draws",
    ):
        assert text in page, text
    for figure in report.figures:
        assert f"| {figure.name} |" in page
    cell = r"-?\d\.\d{3} \[-?\d\.\d{3}, \d\.\d{3}\]; \d+/\d+"
    assert re.search(rf"\| sensitivity \|( {cell} \|){{3}}", page)


def test_every_table_of_the_page_is_straight(report: RegionReport) -> None:
    """Rows of one table have one number of cells, bars in a name notwithstanding."""
    page = to_markdown(Evaluation("T", (("a|b", "c|d"),), (report,)), lambda region: None)
    for block in page.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1
    assert "![" not in page


def test_a_region_that_nobody_published_on_has_no_reference(report: RegionReport) -> None:
    """The table of others' figures is told by region."""
    from dataclasses import replace

    page = to_markdown(Evaluation("T", (), (replace(report, region="knee"),), references=True), lambda region: None)
    assert "for orientation only" not in page


def test_a_figure_is_small_well_formed_and_names_what_it_shows(report: RegionReport) -> None:
    """Six panels, every term in the legends, under 100 kB; nothing is drawn outside."""
    text = make_figure(report)
    assert len(text.encode()) < 100_000
    root = ElementTree.fromstring(text)
    words = [element.text for element in root.iter(f"{SVG}text")]
    for title in ("ROC", "Precision and recall", "Reliability of p(abnormal)", "Confusion", "Decision curve"):
        assert title in words
    for term in TERMS:
        assert sum(term in (word or "") for word in words) >= 3
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    places = [
        tuple(map(float, spot.split(",")))
        for line in root.iter(f"{SVG}polyline")
        for spot in line.attrib["points"].split()
    ]
    assert len(places) > 50
    assert "nan" not in text
    assert all(0 <= x <= width and -height <= y <= 2 * height for x, y in places)


def test_text_from_outside_stays_text(report: RegionReport) -> None:
    """A region's name cannot open an element."""
    from dataclasses import replace

    root = ElementTree.fromstring(make_figure(replace(report, region='<script>&"')))
    assert not list(root.iter(f"{SVG}script"))


def test_a_large_set_makes_no_larger_figure() -> None:
    """Points of one pixel are drawn once: 5,000 images, still under 100 kB."""
    large = measure(make_predictions(make_images(5000, a_group=50)), draws=20)
    assert len(make_figure(large).encode()) < 100_000
