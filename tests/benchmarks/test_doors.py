"""The benchmarks of the doors and of load: their arithmetic, and that each runs from end to end on little work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.counts import Lines, percentile, told, upper_bound
from benchmarks.pictures import ct_slice, enlarged, mammogram, no_image
from benchmarks.served import OtherLoad, Watched
from benchmarks.soak import Look, Soak
from benchmarks.upload import LIMIT, Sample, make_row
from irmsia.imaging.read import inspect
from irmsia.settings.limits import ReadLimits
from tests.conftest import ROOT

PATIENCE_S = 600


def test_the_upper_bound_is_that_of_the_rule_of_three_and_exact_else() -> None:
    """0 in n: 3/n; k in n: the share at which so few have 5 % probability."""
    assert upper_bound(0, 300) == pytest.approx(0.01)
    assert upper_bound(0, 2) == 1.0
    assert upper_bound(9, 10) == pytest.approx(0.95 ** (1 / 10))
    assert upper_bound(5, 50) == pytest.approx(0.19883, abs=1e-5)  # of the beta distribution with 6 and 45
    assert upper_bound(7, 7) == 1.0
    assert told(0, 5000) == "0 of 5000 (at most 0.06 %)"


def test_percentiles_are_values_that_were_seen() -> None:
    """The smallest that so many do not exceed."""
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([], 0.99) == 0.0


def test_a_missed_line_is_exit_1_and_in_the_json(tmp_path: Path) -> None:
    """Whoever runs a campaign in a script sees it fail."""
    lines = Lines()
    lines.check("one", "1", good=True)
    assert lines.end(None) == 0
    lines.check("two", "2", good=False)
    assert lines.end(tmp_path / "out.json") == 1
    assert [line["met"] for line in json.loads((tmp_path / "out.json").read_text())["lines"]] == [True, False]


def test_the_images_are_as_large_as_they_are_called() -> None:
    """0.5 MB, 21 MB, and readable; what is no image is none."""
    assert 0.5e6 < len(ct_slice()) < 0.6e6
    assert 20e6 < len(mammogram()) < 22e6
    info = inspect(enlarged("DX", 300, 200), ReadLimits())
    assert info.error is None and info.shape == (1, 300, 200, 1)
    refused = inspect(no_image(1000), ReadLimits())
    assert refused.error is not None and refused.error.code == "NOT_AN_IMAGE"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_work_of_children_counts_even_when_they_have_ended() -> None:
    """Processor time, peak memory and open descriptors of a process and what it started."""
    watched, load = Watched(os.getpid()), OtherLoad()
    before = watched.cpu_s()
    code = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert 0.25 < watched.cpu_s() - before < 10
    assert load.cores() < (os.cpu_count() or 1)
    watched.reset_peak()
    held = watched.memory_mib()
    block = b"x" * (64 << 20)
    assert watched.peak_mib() > held + 50
    assert len(block) and watched.descriptors() > 0


def test_an_upload_is_told_in_times_of_the_limit_round_by_round() -> None:
    """Medians of what was kept, the largest growth."""
    rounds = [
        {LIMIT: [Sample(0.1, 0.1, 0.0, 0.0)], "way": [Sample(kept, 1.0, 0.02, grown) for kept, grown in samples]}
        for samples in (((0.2, 1.0), (0.2, 9.0), (5.0, 2.0)), ((0.3, 1.0),))
    ]
    row = make_row("way", rounds)
    assert row.rounds == pytest.approx([2.0, 3.0])
    assert (row.times_the_limit, row.grown_mib) == (pytest.approx(2.5), 9.0)


def test_a_slope_is_that_of_the_line_after_the_first_fifth() -> None:
    """What a server takes once does not count; what it takes each minute does."""
    looks = [Look(float(at), 500.0 + (0 if at < 60 else 100 + 2 * at / 60), 100.0, 40) for at in range(0, 600, 10)]
    soak = Soak("stream", looks, 1, 0, {}, 600.0)
    assert soak.slope(lambda look: look.held_mib) == pytest.approx(2.0, abs=1e-6)
    assert soak.slope(lambda look: look.descriptors) == pytest.approx(0.0, abs=1e-9)
    assert soak.largest_mib > 600


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("program", ["upload", "doors", "overload", "drain", "crash", "soak", "claims_s1"])
def test_every_program_runs_from_end_to_end(program: str, tmp_path: Path) -> None:
    """`--quick`: a real server is started and asked, a table is printed and the JSON written; no figure is judged."""
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", f"benchmarks.{program}", "--quick", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "|---|" in done.stdout
    report = json.loads(out.read_text())
    assert report["lines"]
    assert "Traceback" not in done.stderr
