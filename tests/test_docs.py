"""The documentation is complete: settings, commands, claims, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from irmsia.settings.tree import Settings
from irmsia.wire.errors import TABLE
from tests.cli.test_main import list_commands

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
STATUSES = {"met", "not met", "measured here", "not measurable on this hardware", "not yet built"}
MEASURED = {"met", "measured here"}


def _settings(model: type[BaseModel], prefix: str = "IRMSIA_") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}", field.description or ""


def _rows(page: str) -> list[list[str]]:
    lines = [line for line in (ROOT / page).read_text("utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_setting_is_documented() -> None:
    """docs/settings.md holds each variable with the description of the code, and no other."""
    written = {row[0].strip("`"): row[-1] for row in _rows("docs/settings.md") if row[0].startswith("`")}
    assert written == dict(_settings(Settings))
    assert all(written.values())


def test_every_command_is_documented() -> None:
    """docs/commands.md holds each command, and no other; its exit codes are those of the error table."""
    rows = [row[0].strip("`") for row in _rows("docs/commands.md")]
    commands = {" ".join(("irmsia", *command)) for command in list_commands()}
    assert {row for row in rows if row.startswith("irmsia")} == commands
    assert {row for row in rows if row.isdecimal()} == {"0", *(str(row.exit) for row in TABLE.values())}


def test_every_claim_has_a_status_and_what_is_measured_a_command() -> None:
    """docs/claims.md takes over no number as a fact."""
    rows = [row for row in _rows("docs/claims.md") if row[0].startswith("S")]
    assert len({row[0] for row in rows}) == len(rows) >= 28
    for identity, _, status, text, command in rows:
        assert status in STATUSES, identity
        assert text, identity
        assert command or status not in MEASURED, identity


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """A relative link of a page names a file of the project."""
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_make_target_named_in_a_page_exists() -> None:
    """`make X` in the documentation is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE))
        assert named <= targets, page.name
