"""The examples of docs/client.md are what a reader would run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.errors import TruncatedError
from tests.client.certificates import certify
from tests.client.scripted import Peer, PeerDoor, answer_to, open_peer

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "client.md"
EXAMPLES = re.findall(r"^## (.+?)$|^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
BROKEN = b"broken image"


def _examples() -> list[tuple[str, str]]:
    title, found = "", []
    for heading, code in EXAMPLES:
        title = heading or title
        found += [(title, code)] if code else []
    return found


def _answer(request: pb.DiagnoseDicomRequest) -> pb.Diagnosis:
    if request.content == BROKEN:
        raise TruncatedError("ends early")
    return answer_to(request)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader stands: with the files that the page names."""
    (tmp_path / "scans").mkdir()
    for name in ("chest.dcm", "brain.dcm", "mammogram.dcm", "scans/a.dcm", "scans/b.dcm"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "broken.dcm").write_bytes(BROKEN)
    certify(tmp_path, "ca")
    certify(tmp_path, "client", "ca")
    certify(tmp_path, "server", "ca")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def doors(folder: Path) -> Iterator[dict[str, PeerDoor]]:
    """The servers that the page names."""
    pair = ((folder / "server.key").read_bytes(), (folder / "server.pem").read_bytes())
    credentials = grpc.ssl_server_credentials([pair], (folder / "ca.pem").read_bytes(), True)
    with (
        open_peer(Peer(_answer)) as one,
        open_peer(Peer(_answer)) as two,
        open_peer(Peer(_answer), credentials) as safe,
    ):
        yield {"127.0.0.1:50051": one, "127.0.0.1:50052": two, "127.0.0.1:50443": safe}


@pytest.mark.parametrize(("title", "code"), _examples(), ids=lambda text: text.splitlines()[0][:30])
def test_an_example_runs(title: str, code: str, doors: dict[str, PeerDoor], capsys: pytest.CaptureFixture[str]) -> None:
    """Each example does what the page says, against a real server."""
    for address, door in doors.items():
        code = code.replace(address, door.target)
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(code, f"client.md: {title}", "exec", dont_inherit=True), names)  # the page is ours
    said = capsys.readouterr().out
    expected = {
        "One image": "ACCEPT",
        "A large image, with progress": "DONE 100 %",
        "Many images": "accept=2",
        "Several servers": "",
        "TLS": "True",
        "Errors and retries": "TRUNCATED ends early",
    }
    assert expected[title] in said
