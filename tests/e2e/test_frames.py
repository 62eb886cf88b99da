"""A file of several frames through every door, by the starter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from irmsia.app.same import first_difference
from irmsia.findings.types import Diagnosis
from irmsia.imaging.phantoms import make_phantom
from irmsia.wire.json import diagnosis_from_json
from tests.e2e.conftest import Platform
from tests.imaging.stacks import BLANK, make_stack

SEED = 101


def _answer(platform: Platform, *arguments: str | Path) -> Diagnosis:
    result = platform.run("diagnose", "--json", *arguments)
    assert result.returncode == 0, result.stderr + result.stdout
    return diagnosis_from_json(json.loads(result.stdout))


def test_a_lesion_in_one_frame_leads_through_every_door(starter: Platform, tmp_path: Path) -> None:
    """70 frames, one with a lesion: it leads, its map points at the lesion, process and gRPC give the same answer."""
    lesion = 35
    frames = ["none"] * 70
    frames[lesion], frames[3] = "bright", BLANK
    file = tmp_path / "stack.dcm"
    file.write_bytes(make_stack(frames, seed=SEED))
    _, target = starter.serve()
    here = _answer(starter, file, "--heatmap", tmp_path / "maps")
    there = _answer(starter, file, "--heatmap", tmp_path / "maps", "--server", target)
    assert first_difference(here, there) is None
    assert here.frames is not None and here.explanation is not None
    assert (here.frames.total, here.frames.analysed, len(here.evidence.frame_sha256 if here.evidence else ())) == (
        70, 64, 70,
    )  # fmt: skip
    present = [item.index for item in here.frames.items if any(row.state == "PRESENT" for row in item.findings)]
    assert (present, here.explanation.frame) == ([lesion], lesion)
    assert [item.index for item in here.frames.items if item.reason == "BLANK"] == [3]
    truth = make_phantom(SEED, "CT", "bright").truth.lesion
    shown = here.explanation
    cells = np.frombuffer(shown.map, "<f4").reshape(shown.shape)
    row, column = np.unravel_index(cells.argmax(), cells.shape)
    grid = shown.grid_to_image
    assert truth is not None
    assert abs(grid.row0 + row * grid.row_step - truth.row) <= truth.row_radius + grid.row_step
    assert abs(grid.column0 + column * grid.column_step - truth.column) <= truth.column_radius + grid.column_step
