"""`irmsia data sources`, as people and as programs read it."""

from __future__ import annotations

import json

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from irmsia.cli import main as cli
from irmsia.datasets.public_sets import list_public_sets


def _run(*arguments: str, width: int = 80) -> Result:
    return CliRunner().invoke(cli.app, ["data", "sources", *arguments], env={"COLUMNS": str(width)})


def test_the_table_fits_eighty_columns_and_names_every_set() -> None:
    """No line is wider than the terminal, and no id is cut away."""
    result = _run()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(cell_len, lines)) <= 80
    words = {line.split()[0] for line in lines}
    assert {one.id for one in list_public_sets() if len(one.id) <= 22} <= words
    assert f"{len(list_public_sets())} sets" in result.stderr


def test_the_recommended_ones_are_ten_rows() -> None:
    """The ten come in their order."""
    found = [json.loads(line) for line in _run("--recommended", "--json").stdout.splitlines()]
    assert [one["recommended"] for one in found] == list(range(1, 11))


def test_json_is_one_object_a_line_with_nulls_for_the_unknown() -> None:
    """Programs get every column, the command and the stars; an empty text is null."""
    found = [json.loads(line) for line in _run("--modality", "MR", "--json").stdout.splitlines()]
    assert found
    assert all("MRI" in one["modality"] for one in found)
    assert all(value != "" for one in found for value in one.values())
    assert {"command", "stars", "licence", "source_of_facts"} <= set(found[0])


def test_filters_of_the_command_are_those_of_the_catalogue() -> None:
    """Every option narrows the list."""
    arguments = (
        "--region",
        "chest",
        "--task",
        "segmentation",
        "--licence",
        "CC BY",
        "--access",
        "open",
        "--search",
        "lung",
    )
    found = [json.loads(line) for line in _run("--modality", "CT", *arguments, "--json").stdout.splitlines()]
    assert found[0]["id"] == "lidc-idri"
    assert all(one["access"] == "open" and "chest" in one["region"] for one in found)


def test_one_set_is_shown_with_its_page_its_command_and_what_is_not_known() -> None:
    """The detail tells how to get it; gaps are named as such."""
    text = _run("lidc-idri", width=100).stdout
    assert "irmsia data get idc lidc_idri" in text
    assert "https://doi.org/10.7937/k9/tcia.2015.lo9ql9sx" in text
    assert "not known" in _run("mimic-cxr").stdout
    assert json.loads(_run("lidc-idri", "--json").stdout)["patients"] == 1010


def test_nothing_found_is_an_empty_list() -> None:
    """No set is no error: exit code 0, and the count says 0."""
    result = _run("--search", "no such words at all")
    assert result.exit_code == 0
    assert "0 sets" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"), [(("no-such-set",), "DATASET_NOT_FOUND"), (("--task", "x"), "INVALID_REQUEST")]
)
def test_errors_are_typed(arguments: tuple[str, ...], code: str) -> None:
    """A wrong id or word is told by its code."""
    result = _run(*arguments)
    assert getattr(result.exception, "code", "") == code
