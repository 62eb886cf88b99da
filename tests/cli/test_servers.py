"""The options that name servers, and how they are asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from irmsia.cli.meter import Meter
from tests.cli.test_main import _run
from tests.client.scripted import open_peer
from tests.server.scripted import open_door


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Files that the scripted servers answer."""
    paths = [tmp_path / f"{number}.png" for number in range(30)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return [str(path) for path in paths]


def test_a_batch_over_two_servers(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], images: list[str]
) -> None:
    """`--batch` with two servers: each does a part over one call, and the lines are in the order asked for."""
    with open_peer() as one, open_peer() as two:
        named = ["--server", one.target, "--server", two.target]
        assert _run(monkeypatch, "diagnose", *images, "--batch", "--json", *named) == 0
        lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        assert [line["input"] for line in lines] == images
        assert one.peer.items
        assert two.peer.items
        assert len(one.peer.items) + len(two.peer.items) == len(images)


def test_a_stream_with_its_stages(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], images: list[str]
) -> None:
    """`--stream` sends chunks and says how far the image is whose answer comes next; answers alone go to the output."""
    told: list[str] = []
    monkeypatch.setattr(Meter, "tell", lambda self, what: told.append(what))
    with open_peer() as door:
        assert _run(monkeypatch, "diagnose", images[0], "--stream", "--json", "--server", door.target) == 0
        assert len(door.peer.opened) == 1
    assert len(capfd.readouterr().out.splitlines()) == 1
    assert told[0] == "received   0 %"
    assert told[-1] == "done 100 %"


def test_the_health_of_several_servers(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A line a server; one that does not answer makes it exit code 3."""
    with open_door() as one, open_door() as two:
        servers = ["--server", one.target, "--server", two.target]
        assert _run(monkeypatch, "health", *servers, "--json") == 0
        lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        assert [line["server"] for line in lines] == [one.target, two.target]
    assert _run(monkeypatch, "health", *servers) == 3


def test_certificates_that_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that is no certificate is wrong usage, told before anything is sent."""
    wrong = tmp_path / "no.pem"
    wrong.write_text("no certificate")
    for options in (["--ca", str(wrong)], ["--certificate", str(wrong)], ["--ca", str(tmp_path / "none")]):
        assert _run(monkeypatch, "health", "--server", "127.0.0.1:1", *options) == 2
