from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources

import pytest

from irmsia.errors import iter_leaves
from irmsia.findings.service import ServiceHealth
from irmsia.findings.types import Decision, Diagnosis, Reason, State, Urgency
from irmsia.findings.vocabulary import list_terms
from irmsia.server.http.pages import LANGUAGES, choose_language, read_words, render_home
from irmsia.server.http.table import ROUTES
from irmsia.wire.fields import fields_of
from irmsia.wire.json import diagnosis_from_json
from tests.server.http.doors import BothDoors, open_both

VOID = {"meta", "link", "input", "img", "br"}


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothDoors]:
    """Both doors."""
    with open_both(tmp_path_factory.mktemp("home")) as doors:
        yield doors


class Page(HTMLParser):
    """What a page is made of; fails where a tag is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        assert self.open[-1:] not in (["script"], ["style"]) or not data.strip(), "nothing is inline"

    def addresses(self) -> set[str]:
        """Where the page points to."""
        return {
            value
            for _, attrs in self.tags
            for name, value in attrs.items()
            if name in {"href", "src", "action"} and value
        }


@pytest.mark.parametrize("path", ["/", "/?lang=fr", "/docs"])
def test_pages_stand_alone(doors: BothDoors, path: str) -> None:
    """Whole HTML, no inline script or style, no address of elsewhere, and every link leads somewhere."""
    reply = doors.client.get(path)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = Page(reply.text)
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") or name == "style" for name in attrs)]
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    for address in page.addresses():
        assert address.startswith(("/", "#")), address
        if address.startswith("#"):
            assert address[1:] in ids, address
        elif not address.startswith("/api"):
            assert doors.client.get(address).status_code == 200, address
    assert "Research use only" in reply.text or "Recherche uniquement" in reply.text


def test_assets_are_our_own() -> None:
    """Scripts hold no markup sink, no eval and no address of elsewhere."""
    for file in resources.files("irmsia.server.http").joinpath("static").iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), file.name
        assert set(re.findall(r"https?://[^\s\"'<>]+", text)) <= {"http://www.w3.org/2000/svg"}, file.name


def test_both_languages_say_everything() -> None:
    """Each text stands in both languages, each value that an answer may hold has its word, each term its label."""
    english, french = (read_words(language) for language in LANGUAGES)
    assert english.keys() == french.keys()
    for group, values in {"decision": Decision, "reason": Reason, "state": State, "urgency": Urgency}.items():
        assert {f"{group}.{value}" for value in values} <= english.keys()
    script = resources.files("irmsia.server.http").joinpath("static", "page.js").read_text(encoding="utf-8")
    assert set(re.findall(r"words\.(\w+)", script)) <= english.keys()
    labels = Page(render_home("fr", ServiceHealth(ready=False), "http://localhost")).tags
    body = next(attrs for tag, attrs in labels if tag == "body")
    assert body["data-labels"] is not None
    assert all(f'"{term.code}"' in body["data-labels"] for term in list_terms())


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        (None, "", "en"),
        (None, "fr", "fr"),
        (None, "fr-CH, fr;q=0.9, en;q=0.8", "fr"),
        (None, "de, en;q=0.5, fr;q=0.4", "en"),
        (None, "en;q=0, fr;q=0.1", "fr"),
        (None, "fr;q=nonsense", "en"),
        ("en", "fr", "en"),
        ("xx", "fr", "fr"),
    ],
)
def test_languages(asked: str | None, accepted: str, language: str) -> None:
    """A choice wins, then the browser's order, then English."""
    assert choose_language(asked, accepted) == language


def test_the_state_is_shown_and_escaped(doors: BothDoors) -> None:
    """The page says why nothing is taken; what it shows is text, never markup."""
    html = render_home("en", ServiceHealth(ready=False, reason="<b>no model</b>"), 'http://x"><script>')
    Page(html)
    assert "&lt;b&gt;no model" in html
    assert "<script>" not in html
    assert 'lang="fr"' in doors.client.get("/", headers={"Accept-Language": "fr"}).text.splitlines()[1]


def test_the_document_is_whole(doors: BothDoors) -> None:
    """OpenAPI holds every route; every reference leads somewhere; every error leaf is named; nothing says 422 twice."""
    document = doors.client.get("/openapi.json").json()
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == {(row.method, row.path) for row in ROUTES}
    schemas = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/(\w+)", str(document)):
        assert name in schemas, name
    assert set(schemas["ProblemDetails"]["properties"]["code"]["enum"]) == {leaf.code for leaf in iter_leaves()}
    assert "HTTPValidationError" not in str(document)
    assert list(schemas["Diagnosis"]["properties"]) == [field.name for field in fields_of(Diagnosis)]


def test_examples_are_answers(doors: BothDoors) -> None:
    """The examples are read by the reader of answers: they have every field in its type."""
    document = doors.client.get("/openapi.json").json()
    replies = document["paths"]["/api/v1/dicom/diagnose"]["post"]["responses"]
    examples = replies["200"]["content"]["application/json"]["examples"]
    assert {diagnosis_from_json(one["value"]).decision for one in examples.values()} == {"ACCEPT", "REFUSE"}
    problem = replies["422"]["content"]["application/problem+json"]["examples"]["unreadable"]["value"]
    assert diagnosis_from_json(problem["diagnosis"]).error is not None


def test_docs_show_each_route_and_error(doors: BothDoors) -> None:
    """Each route has its section with a curl line and a form, each error its row that problems link to."""
    text = doors.client.get("/docs").text
    page = Page(text)
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert {row.name for row in ROUTES} | {leaf.code for leaf in iter_leaves()} <= ids
    assert sum(tag == "form" for tag, _ in page.tags) == len(ROUTES)
    assert text.count("curl ") == len(ROUTES)
    problem = doors.client.get("/nothing").json()
    assert problem["type"].removeprefix("/docs#") in ids
