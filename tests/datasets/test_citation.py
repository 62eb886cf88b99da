"""References and licences: unknown says unknown, and what does not go together is named."""

from __future__ import annotations

import csv
import json
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irmsia.datasets.citation import Citations, ConditionCode, cite, to_bibtex, to_json
from irmsia.datasets.licences import find_licence, find_licences

PAPER = "Al-Dhabyani et al.: Dataset of breast ultrasound images, 28 (2020) 104863, doi:10.1016/j.dib.2019.104863."


def _merged(*parts: tuple[str, dict[str, Any]]) -> Citations:
    return cite("all", {"merged_from": [{"name": name, "about": about} for name, about in parts]})


def _codes(found: Citations) -> dict[str, tuple[str, ...]]:
    return {row.code: row.sources for row in found.conditions}


@pytest.mark.parametrize(
    ("told", "spdx"),
    [
        ("CC BY 4.0", "CC-BY-4.0"),
        ("cc-by-4.0", "CC-BY-4.0"),
        ("CC BY 4", "CC-BY-4.0"),
        ("Creative Commons Attribution 3.0 Unported License", "CC-BY-3.0"),
        ("Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)", "CC-BY-NC-4.0"),
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/", "CC-BY-NC-SA-4.0"),
        ("CC BY-NC-ND 4.0", "CC-BY-NC-ND-4.0"),
        ("CC0: Public Domain", "CC0-1.0"),
        ("Database: Open Database, Contents: Database Contents", "ODbL-1.0"),
        ("U.S. Government Works", "LicenseRef-US-Government-Works"),
        ("Apache 2.0", "Apache-2.0"),
        ("TCIA Restricted", "LicenseRef-TCIA-Restricted"),
        ("CC BY", None),
        ("CC BY 9.0", None),
        ("Data files © Original Authors", None),
    ],
)
def test_a_licence_is_known_as_people_write_it(told: str, spdx: str | None) -> None:
    """By its SPDX identifier; without a version, or unheard of, it stays as it is told and has no terms."""
    licence = find_licence(told)
    assert (licence.told, licence.spdx) == (told, spdx)
    assert licence.is_known == (licence.name is not None) == (spdx is not None)


def test_every_row_of_the_table_is_found_by_its_own_names() -> None:
    """Identifier, full name, other names and address; no two rows share one."""
    text = resources.files("irmsia.datasets").joinpath("licences.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert len({row["spdx"] for row in rows}) == len(rows) > 30
    for row in rows:
        for name in (row["spdx"], row["name"], *filter(None, row["other_names"].split("|"))):
            assert find_licence(name).spdx == row["spdx"], name
        if "creativecommons.org/licenses/by" in row["url"]:
            assert find_licence(row["url"]).spdx == row["spdx"]


@pytest.mark.parametrize("told", ["", "Unknown", "Other (specified in description)", " ; "])
def test_what_says_nothing_is_no_licence(told: str) -> None:
    """Some sources have words for not knowing."""
    assert find_licences(told) == ()


@given(st.text(max_size=80))
def test_any_text_is_some_licence_or_none(told: str) -> None:
    """No text of a source breaks anything, or gets terms that the table does not give."""
    for licence in find_licences(told):
        assert licence.is_known or (licence.commercial, licence.share_alike, licence.url) == (None, None, None)


def test_a_paper_is_cited_as_it_is_told() -> None:
    """Its DOI and year are found in the text; nothing else is guessed out of it."""
    (row,) = cite("busi", {"citation": PAPER, "licence": "CC BY 4.0"}).references
    assert (row.citation, row.doi, row.year) == (PAPER, "10.1016/j.dib.2019.104863", 2020)
    assert [licence.spdx for licence in row.licences] == ["CC-BY-4.0"]


def test_unknown_says_unknown() -> None:
    """A folder of this machine has no licence until somebody says one; its sources are named."""
    found = cite("mine", {}, sources=["mine", "theirs"])
    assert [row.source for row in found.references] == ["mine", "theirs"]
    assert _codes(found) == {"UNKNOWN_LICENCE": ("mine", "theirs")}
    assert "Licence: unknown" in to_bibtex(found)


def test_receipts_tell_what_was_downloaded() -> None:
    """One reference an offer, with its files and days; two licences of one offer are both told."""
    lines = [
        {"source": "idc", "offer": "tcga_lgg", "licence": lic, "citation": PAPER, "got_at": f"2026-01-0{day}T10:00:00Z"}
        for day, lic in ((1, "CC BY 3.0"), (3, "CC BY-NC 4.0"))
    ]
    found = cite("lgg", {}, receipts={"lgg": [*lines, {"source": 7, "offer": None}]}, sources=["lgg"])
    row = next(row for row in found.references if row.files == 2)
    assert (row.title, row.got) == ("tcga_lgg (idc)", ("2026-01-01", "2026-01-03"))
    assert [licence.spdx for licence in row.licences] == ["CC-BY-3.0", "CC-BY-NC-4.0"]
    assert _codes(found)["NON_COMMERCIAL"] == ("lgg",)


def test_what_a_person_says_of_a_set_wins_over_receipts() -> None:
    """The licence kept in the catalogue is that of the whole set."""
    line = {"source": "kaggle", "offer": "x/y", "licence": "Unknown", "citation": "", "got_at": ""}
    (row,) = cite("x", {"licence": "CC0-1.0", "receipts": [line]}).references
    assert ([licence.spdx for licence in row.licences], row.files) == (["CC0-1.0"], 1)


@pytest.mark.parametrize(
    ("licences", "codes"),
    [
        (("CC BY 4.0", "CC0-1.0"), []),
        (("CC BY-NC 4.0", "CC BY 4.0"), ["NON_COMMERCIAL"]),
        (("CC BY-SA 4.0", "CC BY 4.0"), ["SHARE_ALIKE"]),
        (("CC BY-SA 4.0", "CC BY-NC 4.0"), ["SHARE_ALIKE_CLASH", "NON_COMMERCIAL", "SHARE_ALIKE"]),
        (("CC BY-NC-SA 4.0", "CC BY-NC 4.0"), ["NON_COMMERCIAL", "SHARE_ALIKE"]),
        (("CC BY-SA 4.0", "CC BY-NC-SA 4.0"), ["SHARE_ALIKE_CLASH", "NON_COMMERCIAL", "SHARE_ALIKE"]),
        (("CC BY-ND 4.0", "CC BY 4.0"), ["NO_DERIVATIVES"]),
        (("TCIA Restricted", "CC BY 4.0"), ["RESTRICTED"]),
        (("house rules", "CC BY 4.0"), ["UNKNOWN_LICENCE"]),
    ],
)
def test_licences_that_do_not_go_together_are_named(licences: tuple[str, str], codes: list[str]) -> None:
    """Non-commercial, share-alike beside another, no changes, signed agreements, and what nobody knows."""
    found = _merged(*((name, {"licence": it, "citation": PAPER}) for name, it in zip("ab", licences, strict=True)))
    assert [row.code for row in found.conditions] == codes


def test_a_debt_without_a_name_is_told() -> None:
    """CC BY asks for a name; CC0 does not."""
    assert _codes(_merged(("a", {"licence": "CC BY 4.0"}), ("b", {"licence": "CC0"}))) == {
        ConditionCode.NO_CITATION: ("a",)
    }


def test_bibtex_holds_whatever_is_written_in_it() -> None:
    """Braces, commands and comments of a hostile citation neither end a field nor reach LaTeX; keys are unique."""
    hostile = "}\\input{/etc/passwd} % & $ # _ ~ ^ {\n@misc{x"
    found = _merged(("a b", {"citation": hostile, "url": "https://x/{y}\\z"}), ("a-b", {"citation": PAPER}))
    text = to_bibtex(found)
    assert "\\input" not in text
    fields = [line for line in text.splitlines() if "=" in line]
    for line in fields:
        value = line.split("= {", 1)[1].rstrip(",")[:-1].replace("\\{", "").replace("\\}", "")
        assert value.count("{") == value.count("}")
    keys = [line for line in text.splitlines() if line.startswith("@misc")]
    assert len(set(keys)) == len(keys) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["merged_from", "name", "about", "receipts", "licence", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["merged_from", "receipts", "licence", "citation", "title", "url"]), JSON))
def test_whatever_is_kept_of_a_set_is_cited_or_left_alone(about: dict[str, Any]) -> None:
    """Facts of another version or a hostile file never raise; the result is JSON and BibTeX."""
    found = cite("x", about, receipts={"x": [about]}, sources=["s"])
    json.dumps(to_json(found))
    to_bibtex(found)
