"""What every test shares: one thread a library, a home of its own, the folder of real images or a counted skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.databases import database_url, postgresql  # noqa: F401 - fixtures

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # before numpy is imported: two cores, many children

ROOT = Path(__file__).resolve().parent.parent
NO_DATA = "no real images: IRMSIA_TEST_DATA names no folder"

_skipped_for_data: list[str] = []


def _data_folder() -> Path:
    named = os.environ.get("IRMSIA_TEST_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real images; without it the test is skipped, or fails where IRMSIA_REQUIRE_DATA is set."""
    folder = _data_folder()
    if (folder / "README.md").is_file():
        return folder
    if os.environ.get("IRMSIA_REQUIRE_DATA"):
        pytest.fail(NO_DATA)
    pytest.skip(NO_DATA)


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the user's own IRMSIA_HOME."""
    for name in [name for name in os.environ if name.startswith("IRMSIA_")]:
        if name not in {"IRMSIA_TEST_DATA", "IRMSIA_REQUIRE_DATA"}:
            del os.environ[name]
    os.environ["IRMSIA_HOME"] = str(tmp_path_factory.mktemp("home"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped for want of the data folder."""
    if report.skipped and NO_DATA in str(report.longrepr):
        _skipped_for_data.append(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests did not run because the data folder is absent."""
    if _skipped_for_data:
        terminalreporter.write_line(f"{len(_skipped_for_data)} tests NOT RUN: {NO_DATA}", yellow=True)
