"""The page of a study: whole by itself, the most severe first, nothing from outside becomes markup."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from irmsia import DISCLAIMER
from irmsia.app.study_journal import StudyRow
from irmsia.app.study_page import MOST_PICTURES, make_page, shrink_overlay
from irmsia.app.study_result import make_result
from irmsia.app.words import Words, word_keys
from irmsia.findings.risk import PRIMARY_LABELS, RISK_LEVELS
from irmsia.findings.types import (
    Basis,
    Decision,
    Diagnosis,
    Explanation,
    Finding,
    Frames,
    GridToImage,
    Primary,
    Problem,
    Reason,
    Risk,
    Source,
    State,
    Urgency,
)
from irmsia.findings.vocabulary import LANGUAGES
from irmsia.imaging.render import encode_png
from tests.app.studies import StudyService, run, write_folder, write_image
from tests.server.scripted import MODEL_INFO

VOID = {"meta", "img", "br"}
HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(1)>\u202egnp.x\x1b[31m"""


class Reader(HTMLParser):
    """Elements and attributes of a page that must be well formed, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def _png(rows: int = 600, columns: int = 900) -> bytes:
    return encode_png(np.random.default_rng(0).integers(0, 255, (rows, columns, 3)).astype(np.uint8))


def _answer(name: str, risk: float | None = 50.0, *, level: str = "HIGH", **changes: object) -> Diagnosis:
    shown = Explanation("cam", "pneumonia", 0, (1, 1), GridToImage(0, 0, 1, 1), b"\0\0\0?", _png(8, 8))
    whole = Diagnosis(
        input=name,
        source=Source(sop_instance_uid=f"1.{name}", series_instance_uid="1.2", study_instance_uid="1.3"),
        decision=Decision.REFUSE if risk is None else Decision.ACCEPT,
        primary=Primary("abnormal", 0.93, Basis.RULE),
        findings=(Finding("pneumonia", "Pneumonia", State.PRESENT, 0.93),),
        risk=None if risk is None else Risk(risk, level, Basis.RULE),
        urgency=None if risk is None else Urgency.URGENT,
        explanation=None if risk is None else shown,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]  # the fields of a Diagnosis


def _page(*answers: Diagnosis, language: str = "en") -> str:
    rows = [StudyRow(place, replace(answer, explanation=None), str(place)) for place, answer in enumerate(answers)]
    result = make_result(MODEL_INFO, rows, 0)
    return b"".join(make_page(result, lambda row: answers[row.place], language)).decode("utf-8")


def test_a_page_needs_nothing_but_itself() -> None:
    """No script, no link out, no file: its own policy forbids them, and it holds none."""
    page = _page(*(_answer(f"{number}") for number in range(3)))
    elements = Reader(page).elements
    assert {tag for tag, _ in elements} & {"script", "link", "iframe", "form", "object", "base"} == set()
    assert all(str(attrs["src"]).startswith("data:image/png;base64,") for tag, attrs in elements if tag == "img")
    assert all(str(attrs["href"]).startswith("#s") for tag, attrs in elements if tag == "a")
    assert not re.search(r"https?:|url\(|@import", page)
    assert "default-src 'none'" in page


def test_links_of_the_overview_lead_to_its_series() -> None:
    """Each series is found from the top of the page."""
    other = _answer("b", source=Source(study_instance_uid="9", series_instance_uid="8"))
    elements = Reader(_page(_answer("a"), other)).elements
    targets = {f"#{attrs['id']}" for _, attrs in elements if "id" in attrs}
    assert targets == {attrs["href"] for tag, attrs in elements if tag == "a"}
    assert len(targets) == 2


def test_nothing_from_outside_becomes_markup() -> None:
    """Names, UIDs, labels, levels and messages of a hostile file or server are text, and steer nothing."""
    hostile = _answer(
        HOSTILE,
        level=HOSTILE,
        source=Source("X", HOSTILE, None, HOSTILE, HOSTILE, HOSTILE, patient_pseudonym=HOSTILE),
        modality=HOSTILE,
        primary=Primary(HOSTILE, 0.5, Basis.RULE),
        findings=(Finding(HOSTILE, HOSTILE, State.PRESENT, 0.5),),
        explanation=replace(_answer("").explanation, term=HOSTILE),  # type: ignore[type-var]  # it has one
    )
    failed = Diagnosis(input=HOSTILE, error=Problem(HOSTILE, HOSTILE))
    read = Reader(_page(hostile, replace(hostile, input="b"), failed))
    assert all(not name.startswith("on") for _, attrs in read.elements for name in attrs)
    assert sum(tag == "img" for tag, _ in read.elements) == 2
    assert "<script>alert(1)</script>" in read.text
    assert "\u202e" not in read.text
    assert "\x1b" not in read.text


def test_the_most_severe_come_first() -> None:
    """Studies, series and images by risk; what was refused and what failed after them, each with its reason."""
    far = Source(study_instance_uid="far", series_instance_uid="far")
    text = Reader(
        _page(
            _answer("C.dcm", 5.0),
            Diagnosis(input="E.dcm", error=Problem("TRUNCATED", "ends early")),
            _answer("D.dcm", None, reason=Reason.BLANK),
            _answer("B.dcm", 70.0),
            _answer("A.dcm", 90.0, source=far),
        )
    ).text
    cards = text[text.rindex("Maps:") :]
    places = [cards.index(name) for name in ("A.dcm", "B.dcm", "C.dcm", "D.dcm", "E.dcm")]
    assert places == sorted(places)
    assert "the picture is blank" in cards
    assert "TRUNCATED: ends early" in cards


def test_pictures_are_those_of_the_highest_risk_and_the_page_says_so() -> None:
    """A page of thousands stays one that opens."""
    count = MOST_PICTURES + 5
    page = _page(*(_answer(f"{number:04}.dcm", number / 10) for number in range(count)))
    read = Reader(page)
    assert sum(tag == "img" for tag, _ in read.elements) == MOST_PICTURES
    assert f"{MOST_PICTURES} images of highest risk, of {count}" in read.text
    assert "0004.dcm" in read.text[read.text.index("No picture") :]
    assert "0005.dcm" not in read.text[read.text.index("No picture") :]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_has_a_word(language: str) -> None:
    """No answer of this version shows a code where a word belongs."""
    codes = {*Decision, *Reason, *Urgency, *PRIMARY_LABELS, *RISK_LEVELS, "FAILED"}
    assert codes <= set(word_keys())
    assert all(Words(language)[key].strip() for key in word_keys())


def test_french_is_french() -> None:
    """Words, labels and numbers; the disclaimer too."""
    answer = _answer("a", 12.3, decision=Decision.REFER, reason=Reason.BORDERLINE)
    text = Reader(_page(answer, language="fr")).text
    for words in (
        "À RELIRE",
        "trop près du seuil",
        "pneumonie",
        "12,3 élevé",
        "93,0\N{NARROW NO-BREAK SPACE}% anormal",
    ):
        assert words in text
    assert "N'est pas un dispositif médical" in text
    assert DISCLAIMER not in text
    assert DISCLAIMER in Reader(_page(answer)).text


def test_several_frames_are_counted() -> None:
    """The picture says which frame it is, from 1."""
    shown = replace(_answer("").explanation, frame=6)  # type: ignore[type-var]  # it has one
    text = Reader(_page(_answer("a", frames=Frames(100, 64, ()), explanation=shown))).text
    assert "frame 7" in text
    assert "64 of 100 frames analysed" in text


def test_a_picture_is_small() -> None:
    """At most 256 pixels on its long side, its shape kept; one that is small already stays."""
    big = _answer("a", explanation=replace(_answer("").explanation, overlay_png=_png()))  # type: ignore[type-var]  # it has one
    shown = shrink_overlay(big).explanation
    assert shown is not None and shown.overlay_png is not None
    assert cv2.imdecode(np.frombuffer(shown.overlay_png, np.uint8), cv2.IMREAD_COLOR).shape == (171, 256, 3)
    assert shrink_overlay(_answer("a")).explanation is not None


@pytest.mark.parametrize("png", [b"", b"no png", _png()[:60], b"\x89PNG\r\n\x1a\n" + b"\xff" * 40])
def test_a_picture_that_cannot_be_read_is_left_out(png: bytes) -> None:
    """A server's bytes are not trusted to be a picture of a few pixels."""
    answer = _answer("a", explanation=replace(_answer("").explanation, overlay_png=png))  # type: ignore[type-var]  # it has one
    shown = shrink_overlay(answer)
    assert shown.explanation is not None and shown.explanation.overlay_png is None
    assert sum(tag == "img" for tag, _ in Reader(_page(shown)).elements) == 0


@pytest.fixture
def service() -> Iterator[StudyService]:
    """What answers the files of a test."""
    service = StudyService()
    yield service
    service.close()


def test_a_run_writes_the_page(service: StudyService, tmp_path: Path) -> None:
    """From files to the page, with a warning for an instance that is two."""
    write_image(write_folder(tmp_path / "in", 3) / "x.dcm", "1.9.1")
    run(service, tmp_path / "in", tmp_path / "r.html", language="fr")
    text = Reader((tmp_path / "r.html").read_text("utf-8")).text
    assert "Plusieurs images aux pixels différents" in text
    assert text.count("1.9.1") >= 2


def test_pixels_of_a_picture_are_kept(tmp_path: Path) -> None:
    """What stands in the page is the picture of the answer, bit by bit where it is small."""
    elements = Reader(_page(_answer("a"))).elements
    [source] = [str(attrs["src"]) for tag, attrs in elements if tag == "img"]
    assert base64.b64decode(source.partition(",")[2]) == _png(8, 8)
