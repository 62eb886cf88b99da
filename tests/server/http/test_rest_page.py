"""docs/rest.md: its routes are the routes, its curl lines run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from irmsia.server.http.table import ROUTES
from tests.server.http.doors import BothDoors, open_both

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "rest.md").read_text("utf-8")
SESSIONS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothDoors]:
    """Both doors."""
    with open_both(tmp_path_factory.mktemp("home")) as doors:
        yield doors


def test_every_route_is_documented() -> None:
    """The page lists each route, and no other."""
    assert set(re.findall(r"^\| `((?:GET|POST) [^`]+)`", PAGE, re.MULTILINE)) == {
        f"{row.method} {row.path}" for row in ROUTES
    }


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
@pytest.mark.parametrize("session", SESSIONS, ids=lambda text: text.split()[0] + str(len(text)))
def test_curl_lines_run(doors: BothDoors, tmp_path: Path, session: str) -> None:
    """As a reader types them: each line ends well and prints an answer."""
    image = tmp_path / "image.dcm"
    image.write_bytes(b"image")
    environment = {"URL": doors.url, "IMAGE": str(image), "PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-ec", session.replace("curl ", "curl -f -w '\\n' ")], env=environment, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        if line.startswith(("{", "[")):
            assert json.loads(line)
