"""Maps as files, and options that are checked before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from irmsia.app.diagnose import DiagnoseOptions, write_maps
from irmsia.errors import InvalidRequestError
from irmsia.findings.types import Diagnosis, Evidence, Explanation, GridToImage

MAP = np.array([[0.5, -1.0], [0.0, 2.0]], "<f4")
SHOWN = Explanation("attention", "pneumonia", 0, (2, 2), GridToImage(0, 0, 1, 1), MAP.tobytes(), b"\x89PNG")
ANSWER = Diagnosis(input="../folder/chest.png", evidence=Evidence(input_sha256="ab" * 32), explanation=SHOWN)


def test_map_and_overlay_are_written_below_the_folder_alone(tmp_path: Path) -> None:
    """Whatever folders the input's name holds; the map reads back as it was."""
    written = write_maps(tmp_path / "maps", ANSWER)
    assert [path.name for path in written] == ["chest.png.abababab.pneumonia.npy", "chest.png.abababab.pneumonia.png"]
    assert {path.parent for path in written} == {tmp_path / "maps"}
    assert np.array_equal(np.load(written[0], allow_pickle=False), MAP)


def test_an_answer_without_a_map_writes_nothing(tmp_path: Path) -> None:
    """A refusal has no map, so not even the folder is made."""
    assert write_maps(tmp_path / "maps", replace(ANSWER, explanation=None)) == []
    assert not (tmp_path / "maps").exists()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    """No path in the message."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequestError, match="cannot be written") as caught:
        write_maps(tmp_path / "file", ANSWER)
    assert str(tmp_path) not in caught.value.message


def test_an_unknown_term_is_refused_at_once() -> None:
    """Before a model is loaded or a server asked."""
    assert DiagnoseOptions(term="pneumonia").term == "pneumonia"
    with pytest.raises(InvalidRequestError, match="boredom"):
        DiagnoseOptions(term="boredom")
