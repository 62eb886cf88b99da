"""Models come to a machine, serve and step back through the commands (contract section 5, safety.md I10)."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from irmsia.app import registry
from irmsia.bundles.active import read_active
from irmsia.bundles.archive import write_archive
from irmsia.bundles.canonical import bundle_id, canonical_bytes, parse_json
from irmsia.bundles.load import Bundle
from irmsia.bundles.read import read_folder
from irmsia.bundles.signing import make_key, public_pem
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.verify import VerificationReport
from irmsia.settings.tree import Settings
from tests.bundles.proven import write_proven
from tests.bundles.tiny import make_group, make_rules
from tests.e2e.conftest import Platform


@pytest.fixture(scope="module")
def key() -> Ed25519PrivateKey:
    """The key of somebody else's machine."""
    return make_key()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, key: Ed25519PrivateKey) -> Path:
    """``one`` (1.0), ``two`` (2.0), ``wrong`` (its threshold moved after the golden records), and the public key."""
    folder = tmp_path_factory.mktemp("bundles")
    write_proven(folder / "one", key)
    write_proven(folder / "two", key, seed=2, version="2.0")
    moved = make_rules(groups=tuple(make_group(region, quantile=0.999) for region in ("chest", "phantom")))
    write_proven(folder / "wrong", key, version="3.0", rules=moved)
    (folder / "key.pub").write_bytes(public_pem(key))
    return folder


@pytest.fixture
def fresh(tmp_path: Path, bundles: Path) -> Iterator[Platform]:
    """A machine that trusts the key and has nothing but the packaged starter."""
    platform = Platform(tmp_path / "home")
    (tmp_path / "home" / "keys").mkdir(parents=True)
    shutil.copy(bundles / "key.pub", tmp_path / "home" / "keys")
    yield platform
    platform.close()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the locks, with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {".active.lock", "pseudonym.key"}
    }


def listed(platform: Platform) -> dict[str, dict[str, Any]]:
    """``name:version`` -> what `models list` says."""
    lines = platform.run_here("models", "list", "--json").stdout.splitlines()
    return {f"{row['name']}:{row['version']}": row for row in map(json.loads, lines)}


def test_from_a_stranger_s_file_to_serving_and_back(
    tmp_path: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, trusted, installed, activated, rolled back, exported: each step says what it did."""
    platform = Platform(tmp_path / "home")
    archive = tmp_path / "two.irmsia.zip"
    archive.write_bytes(write_archive(read_folder(bundles / "two")))
    refused = platform.run_here("models", "install", archive)
    assert refused.returncode == 1
    assert "irmsia models trust KEYFILE" in refused.stderr
    assert not (platform.home / "bundles").exists()
    assert platform.run_here("models", "trust", bundles / "key.pub").returncode == 0

    first = platform.run("models", "install", archive, "--json")
    done = json.loads(first.stdout)
    assert (first.returncode, done["ok"], done["changed"]) == (0, True, True)
    assert done["golden"][0]["phantoms"] == {"pass": 64, "fail": 0, "not_checked": 0}
    before = tree(platform.home)
    monkeypatch.setattr(registry, "prove", _passes)  # here; the commands in processes of their own really prove
    assert not json.loads(platform.run_here("models", "install", bundles / "two", "--json").stdout)["changed"]
    assert tree(platform.home) == before
    assert listed(platform)["tiny:2.0"]["state"] == "ready"

    active = platform.run("models", "activate", "tiny:2.0")
    assert active.returncode == 0
    assert re.search(r"phantoms +64 +0 +0", active.stdout)
    assert read_active(platform.home).identity == done["id"]
    assert listed(platform)["tiny:2.0"]["state"] == "active"
    assert platform.run_here("models", "rollback").returncode == 0
    assert read_active(platform.home).identity is None
    again = platform.run_here("models", "rollback")
    assert (again.returncode, "nothing was active before" in again.stderr) == (1, True)

    for name in ("a.irmsia.zip", "b.irmsia.zip"):
        assert platform.run_here("models", "export", done["id"][:8], tmp_path / name).returncode == 0
    assert (tmp_path / "a.irmsia.zip").read_bytes() == (tmp_path / "b.irmsia.zip").read_bytes()
    assert platform.run_here("models", "export", "tiny", tmp_path / "a.irmsia.zip").returncode == 2


def test_a_bundle_that_answers_otherwise_cannot_come_in_or_serve(fresh: Platform, bundles: Path) -> None:
    """Its table is printed, exit 1, nothing changes; put there by hand it cannot be activated either."""
    before = tree(fresh.home)
    result = fresh.run_here("models", "install", bundles / "wrong")
    assert result.returncode == 1
    assert "rejected, nothing changed" in result.stdout
    assert "threshold" in result.stdout
    assert tree(fresh.home) == before
    identity = read_id(bundles / "wrong")
    shutil.copytree(bundles / "wrong", fresh.home / "bundles" / identity)
    assert listed(fresh)["tiny:3.0"]["state"] == "unproven"
    assert fresh.run_here("models", "activate", identity).returncode == 1
    assert read_active(fresh.home).identity is None


def read_id(folder: Path) -> str:
    """The id of a bundle that lies in a folder."""
    return bundle_id(canonical_bytes(parse_json((folder / "manifest.json").read_bytes())))


def test_a_file_that_is_not_there_is_not_found(fresh: Platform, tmp_path: Path) -> None:
    """A key file like a bundle: NOT_FOUND and exit code 1, and nobody is trusted."""
    for place in (tmp_path / "none", Path(__file__) / "none"):
        for command in ("install", "trust"):
            result = fresh.run_here("models", command, place)
            assert (result.returncode, result.stdout) == (1, ""), command
            assert "(NOT_FOUND)" in result.stderr and str(tmp_path) not in result.stderr
    closed = fresh.run_here("models", "trust", tmp_path)
    assert (closed.returncode, "(NOT_READABLE)" in closed.stderr) == (1, True)
    assert [key.name for key in (fresh.home / "keys").iterdir()] == ["key.pub"]


def test_an_older_version_needs_a_word(fresh: Platform, bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A downgrade is wrong usage unless asked for; --older does it, and so does a rollback."""
    monkeypatch.setattr(registry, "prove", _passes)
    for name in ("one", "two"):
        assert fresh.run_here("models", "install", bundles / name).returncode == 0
    assert fresh.run_here("models", "activate", "tiny:2.0").returncode == 0
    refused = fresh.run_here("models", "activate", "tiny:1.0")
    assert (refused.returncode, "--older" in refused.stderr) == (2, True)
    assert fresh.run_here("models", "activate", "tiny:1.0", "--older").returncode == 0
    assert read_active(fresh.home).identity == read_id(bundles / "one")
    assert fresh.run_here("models", "rollback").returncode == 0
    assert fresh.run_here("models", "activate", "starter").returncode == 0  # another name: no question of versions


@pytest.mark.parametrize(
    ("new", "old"), [("1.9", "1.10"), ("1.0-beta", "1.0"), ("1.0", "1.0.1"), ("0.9", "1"), ("1.0.a", "1.0.b")]
)
def test_which_version_is_older(new: str, old: str) -> None:
    """Numbers by value, a word before none, the longer after the shorter."""
    assert registry._order(new) < registry._order(old)


def _passes(settings: Settings, bundle: Bundle, *_: object, **more: object) -> tuple[VerificationReport, ...]:
    """In the place of the golden records, where a test is not about them."""
    return (VerificationReport(bundle.id, "none", Precision.F32, (), ()),)


def test_a_model_that_does_not_exist_is_exit_2_everywhere(served: tuple[Platform, str], phantoms: Path) -> None:
    """In this process, at a server, in every command: MODEL_NOT_FOUND, one line, nothing on standard output."""
    platform, target = served
    image = next(phantoms.glob("*.dcm"))
    commands: list[tuple[str | Path, ...]] = [
        ("diagnose", image, "--json", "--model", "nothing"),
        ("diagnose", image, "--json", "--model", "nothing", "--server", target),
        ("models", "show", "nothing"),
        ("models", "verify", "nothing"),
        ("models", "activate", "nothing"),
        ("models", "export", "nothing", phantoms / "x.irmsia.zip"),
    ]
    for command in commands:
        result = platform.run_here(*command)
        assert result.returncode == 2, command
        assert (result.stdout, result.stderr.count("\n")) == ("", 1), command
        assert "MODEL_NOT_FOUND" in result.stderr, command


def test_serve_without_its_active_model_is_exit_1(fresh: Platform) -> None:
    """A check failed, not the usage: one line that says what to look at; unsafe settings are 78."""
    (fresh.home / "active.json").write_text(json.dumps({"id": "a" * 64}))
    result = fresh.run_here("serve", "--port", "0", "--grpc-port", "0")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "BUNDLE_REJECTED" in result.stderr and "active.json" in result.stderr
    (fresh.home / "active.json").chmod(0o666)
    assert fresh.run_here("serve", "--port", "0", "--grpc-port", "0").returncode == 78


_KILLED = """
import os, signal, sys
step = int(sys.argv.pop(1))
calls = iter(range(10**9))
for name in ("fsync", "replace", "rename"):
    def call(*arguments, _real=getattr(os, name), **options):
        if next(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return _real(*arguments, **options)
    setattr(os, name, call)
import irmsia.app.registry as registry
from irmsia.inference.runtimes.protocol import Precision
from irmsia.inference.verify import VerificationReport
F32 = Precision.F32
# The golden records run in other tests; here each of many runs is to die while it writes.
registry.prove = lambda settings, bundle, prepare, **more: (VerificationReport(bundle.id, "none", F32, (), ()),)
from irmsia.cli.main import main
main()
"""


def test_kill_9_leaves_the_whole_bundle_or_nothing(fresh: Platform, bundles: Path) -> None:
    """The real command killed at every sync and rename in turn, until one run comes through.

    Whatever is visible then loads whole, and the run that comes through leaves no temporary folder behind.
    """
    wanted = read_folder(bundles / "one")
    folder = fresh.home / "bundles"
    outcomes = []
    for step in range(0, 200, 6):
        command = [sys.executable, "-c", _KILLED, str(step), "models", "install", str(bundles / "one")]
        result = subprocess.run(command, env=fresh.environment, capture_output=True, check=False, timeout=120)
        seen = [path for path in folder.glob("*") if not path.name.startswith(".")] if folder.is_dir() else []
        assert all(read_folder(path) == wanted for path in seen)
        outcomes.append((result.returncode, len(seen)))
        if result.returncode == 0:
            break
        shutil.rmtree(folder / read_id(bundles / "one"), ignore_errors=True)
    assert outcomes[-1] == (0, 1)
    assert (-signal.SIGKILL, 0) in outcomes
    assert len(outcomes) > 3
    assert [path.name for path in folder.iterdir()] == [read_id(bundles / "one")]


# ------------------------------------------------------------------------------------------------- I10, line by line


class Payload:
    """Creates the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.canary),)


def _zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


def _npz(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.array([payload], dtype=object))
    return buffer.getvalue()


def code_files(canary: Path) -> dict[str, bytes]:
    """File name -> content of model files that would run code where they are opened as what they are."""
    payload = Payload(canary)
    raw = pickle.dumps(payload)
    torch_like = _zipped(archive__data=b"", **{"archive/data.pkl": raw, "archive/version": b"3\n"})
    script = {"archive/code/__torch__.py": b"def forward(self): ...", "archive/constants.pkl": raw}
    return {
        "model.pkl": raw,
        "model.joblib": raw,
        "model.pt": torch_like,
        "model.pth": raw,
        "pytorch_model.bin": torch_like,
        "script.pt": _zipped(**{"archive/data.pkl": raw}, **script),
        "model.npz": _npz(payload),
        "model.h5": b"\x89HDF\r\n\x1a\n" + raw,
        "model.irmsia.zip": raw,
        "torch.irmsia.zip": torch_like,
        "model.onnx": raw,
        "model.safetensors": raw,
    }


def test_the_payload_is_live(tmp_path: Path) -> None:
    """The canary does appear where a pickle is loaded: that it is absent below means something."""
    for name in ("model.pkl", "model.npz"):
        canary = tmp_path / f"canary of {name}"
        data = code_files(canary)[name]
        np.load(io.BytesIO(data), allow_pickle=True)["weights"] if name.endswith("npz") else pickle.loads(data)
        assert canary.is_dir()


def test_files_that_would_run_code_do_not(fresh: Platform, tmp_path: Path) -> None:
    """I10: a pickle in any wrapper, TorchScript, .npz with objects, .h5, by any name: refused, never opened as such."""
    before = tree(fresh.home)
    for name, data in code_files(tmp_path / "canary").items():
        (tmp_path / name).write_bytes(data)
        result = fresh.run_here("models", "install", tmp_path / name)
        assert (result.returncode, "BUNDLE_REJECTED" in result.stderr) == (1, True), name
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "canary").exists(), name
    assert tree(fresh.home) == before


def test_folders_that_are_not_plain_are_refused(fresh: Platform, tmp_path: Path, bundles: Path) -> None:
    """I10: links of both kinds, a pipe, a socket, names that collide, a network beside its weights."""

    def soft(folder: Path) -> None:
        (folder / "golden.jsonl").rename(tmp_path / "golden.jsonl")
        (folder / "golden.jsonl").symlink_to(tmp_path / "golden.jsonl")

    def hard(folder: Path) -> None:
        (tmp_path / "second name").hardlink_to(folder / "golden.jsonl")

    def pipe(folder: Path) -> None:
        os.mkfifo(folder / "extra.json")

    def listening(folder: Path) -> None:
        place = os.open(folder, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{place}/s.json")
        os.close(place)

    def collide(folder: Path) -> None:
        (folder / "Golden.jsonl").write_bytes(b"")

    def ride(folder: Path) -> None:
        (folder / "models" / "weights.bin").write_bytes(b"")

    before = tree(fresh.home)
    for change in (soft, hard, pipe, listening, collide, ride):
        folder = shutil.copytree(bundles / "one", tmp_path / change.__name__)
        change(folder)
        result = fresh.run_here("models", "install", folder)
        assert (result.returncode, "BUNDLE_REJECTED" in result.stderr) == (1, True), change.__name__
    assert tree(fresh.home) == before
