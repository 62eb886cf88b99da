"""Compiled networks kept between starts: never a wrong answer, never a failure, never too large."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from irmsia.bundles.load import Bundle
from irmsia.bundles.machine import MachineSeal
from irmsia.inference import model as module
from irmsia.inference.model import make_model
from irmsia.inference.runtimes.cache import CompiledCache
from irmsia.inference.runtimes.registry import runtime_names
from tests.bundles.tiny import SIZE, make_network
from tests.inference.conftest import seal

IMAGE = np.random.default_rng(3).normal(0, 1, (1, 1, SIZE, SIZE)).astype(np.float32)
HEADER = 64


def cache_of(home: Path, *, most_bytes: int = 2**30) -> CompiledCache:
    """The cache of one machine."""
    return CompiledCache(home / "cache", lambda: MachineSeal(home, "compiled"), most_bytes=most_bytes)


def entries(home: Path) -> list[Path]:
    """Every file in the cache's folder."""
    return sorted((home / "cache").rglob("*"))


class Counter:
    """Counts how often a network is compiled anew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.compiled = 0
        make = module.make_runtime

        def counting(name: str) -> object:
            runtime = make(name)
            compile_ = runtime.compile

            def count(*given: object) -> object:
                self.compiled += 1
                return compile_(*given)  # type: ignore[arg-type]

            runtime.compile = count  # type: ignore[method-assign]
            return runtime

        monkeypatch.setattr(module, "make_runtime", counting)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Return the counter."""
    return Counter(monkeypatch)


def answer(bundle: Bundle, home: Path, **options: object) -> np.ndarray:
    """Make the model with the cache and ask it."""
    given = {"runtime": "openvino"} | options
    model = make_model(bundle, cache=cache_of(home), **given)  # type: ignore[arg-type]
    return model.compiled.open_session().infer(IMAGE)["router"]


@pytest.mark.parametrize("runtime", runtime_names())
def test_a_second_start_compiles_nothing_and_answers_alike(
    bundle: Bundle, tmp_path: Path, counter: Counter, runtime: str
) -> None:
    """Bit by bit, from one private file."""
    first = answer(bundle, tmp_path, runtime=runtime)
    second = answer(bundle, tmp_path, runtime=runtime)
    assert counter.compiled == 1
    np.testing.assert_array_equal(first, second)
    (path,) = entries(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def _flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "digest": lambda data: _flip(data, 0),
    "probe": lambda data: _flip(data, 40),
    "first byte": lambda data: _flip(data, HEADER),
    "a weight": lambda data: _flip(data, len(data) // 2),
    "last byte": lambda data: _flip(data, len(data) - 1),
    "half written": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + b"\0",
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_thrown_away(
    bundle: Bundle, tmp_path: Path, counter: Counter, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No library sees it: the network is compiled anew, answers as before, and is kept again."""
    first = answer(bundle, tmp_path)
    (path,) = entries(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(DAMAGE[damage](whole))
    np.testing.assert_array_equal(answer(bundle, tmp_path), first)
    assert counter.compiled == 2
    assert "thrown away" in caplog.text
    np.testing.assert_array_equal(answer(bundle, tmp_path), first)
    assert counter.compiled == 2


def test_an_entry_of_another_machine_is_thrown_away(
    bundle: Bundle, tmp_path: Path, counter: Counter, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whole, and for the same processor, but sealed by another key."""
    other = tmp_path_factory.mktemp("other")
    answer(bundle, tmp_path)
    answer(bundle, other)
    entries(other)[0].write_bytes(entries(tmp_path)[0].read_bytes())
    answer(bundle, other)
    assert counter.compiled == 3


def test_an_entry_under_another_key_is_thrown_away(bundle: Bundle, tmp_path: Path, counter: Counter) -> None:
    """The network of one bundle, put in the place of another's."""
    other = seal(make_network(seed=4))
    wanted = answer(other, tmp_path)
    (theirs,) = entries(tmp_path)
    answer(bundle, tmp_path)
    (mine,) = set(entries(tmp_path)) - {theirs}
    theirs.write_bytes(mine.read_bytes())
    np.testing.assert_array_equal(answer(other, tmp_path), wanted)
    assert counter.compiled == 3


def test_an_entry_that_answers_otherwise_is_thrown_away(bundle: Bundle, tmp_path: Path, counter: Counter) -> None:
    """Sealed by this machine, yet what was kept is not what was compiled: the probe tells."""
    cache = cache_of(tmp_path)
    first = answer(bundle, tmp_path)
    kept: dict[str, object] = {}

    class Recording:
        load, drop = staticmethod(cache.load), staticmethod(cache.drop)

        @staticmethod
        def save(key: str, make: Callable[[Path], bytes | None], probe: bytes) -> None:
            kept.update(key=key, make=make, probe=probe)

    entries(tmp_path)[0].unlink()
    make_model(bundle, runtime="openvino", cache=Recording)  # type: ignore[arg-type]
    cache.save(kept["key"], kept["make"], b"\1" * 32)  # type: ignore[arg-type]
    counter.compiled = 0
    np.testing.assert_array_equal(answer(bundle, tmp_path), first)
    assert counter.compiled == 1


@pytest.mark.parametrize("what", ["processor_identity", "__version__"])
def test_another_processor_or_version_compiles_anew(
    bundle: Bundle, tmp_path: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A home that moved to another machine with its key."""
    answer(bundle, tmp_path)
    monkeypatch.setattr(module, what, (lambda: "another") if what == "processor_identity" else "9.9")
    answer(bundle, tmp_path)
    assert counter.compiled == 2


def test_each_way_to_compile_is_its_own_entry(bundle: Bundle, tmp_path: Path, counter: Counter) -> None:
    """Runtime, sessions, threads: one kept for two workers is not taken for one."""
    for options in ({}, {"sessions": 2}, {"threads": 2}, {"runtime": "onnxruntime"}):
        answer(bundle, tmp_path, **options)
    assert (counter.compiled, len(entries(tmp_path))) == (4, 4)


@pytest.mark.skipif(os.name != "posix", reason="modes and owners are POSIX")
def test_files_and_folders_of_others_are_not_used(bundle: Bundle, tmp_path: Path, counter: Counter) -> None:
    """An entry that others may write is thrown away, an open folder closed, a link never followed."""
    answer(bundle, tmp_path)
    (path,) = entries(tmp_path)
    path.chmod(0o666)
    path.parent.chmod(0o777)
    answer(bundle, tmp_path)
    assert counter.compiled == 2
    assert path.parent.stat().st_mode & 0o777 == 0o700
    moved = tmp_path / "moved"
    path.rename(moved)
    path.symlink_to(moved)
    answer(bundle, tmp_path)
    assert counter.compiled == 3
    path.unlink()
    os.mkfifo(path)
    answer(bundle, tmp_path)
    assert counter.compiled == 4


@pytest.mark.skipif(os.name != "posix", reason="modes and owners are POSIX")
def test_a_folder_that_is_a_link_is_not_used(bundle: Bundle, tmp_path: Path, counter: Counter) -> None:
    """Nothing is written through it, and everything is answered."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "elsewhere")
    answer(bundle, tmp_path)
    answer(bundle, tmp_path)
    assert counter.compiled == 2
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_full_disk_costs_the_entry_alone(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be written is logged by its kind; the model is ready all the same."""

    def full(*given: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "/home/secret")

    monkeypatch.setattr("irmsia.durable.write_bytes", full)
    caplog.set_level("INFO")
    assert answer(bundle, tmp_path).shape == (1, 2)
    assert "not kept" in caplog.text
    assert "secret" not in caplog.text


def test_the_size_is_bounded(bundle: Bundle, tmp_path: Path) -> None:
    """The oldest goes first; what is larger than the bound is not kept; what a kill left is swept away."""
    cache = cache_of(tmp_path, most_bytes=1000)
    for index in range(5):
        cache.save(f"key {index}", lambda scratch: bytes(236), b"p" * 32)
        os.utime(cache._path(f"key {index}"), (time.time(), time.time() - 10 + index))
    assert sum(path.stat().st_size for path in entries(tmp_path)) == 900
    assert [cache.load(f"key {index}") is not None for index in range(5)] == [False, False, True, True, True]
    cache.save("large", lambda scratch: bytes(1000), b"p" * 32)
    assert cache.load("large") is None
    assert len(entries(tmp_path)) == 3
    leftovers = [tmp_path / "cache" / ".x.compiled.1234.tmp", tmp_path / "cache" / "tmpabc.tmp" / "model.onnx"]
    leftovers[1].parent.mkdir()
    for path in leftovers:
        path.write_bytes(b"half")
    old = time.time() - 7200
    for path in (leftovers[0], leftovers[1].parent):
        os.utime(path, (old, old))
    cache.save("next", lambda scratch: bytes(10), b"p" * 32)
    assert not any(path.exists() for path in leftovers)


KILLED = """
import os, sys
from pathlib import Path
from irmsia import durable
from irmsia.bundles.machine import MachineSeal
from irmsia.inference.runtimes.cache import CompiledCache

home, step = Path(sys.argv[1]), sys.argv[2]
def die(*given, **options):
    os.kill(os.getpid(), 9)
if step != "export":
    target, name = {"fsync": (os, "fsync"), "replace": (os, "replace"), "directory": (durable, "sync_directory")}[step]
    setattr(target, name, die)
make = die if step == "export" else lambda scratch: bytes(range(256)) * 4096
CompiledCache(home / "cache", lambda: SEAL, most_bytes=2**30).save("key", make, b"p" * 32)
"""


@pytest.mark.parametrize("step", ["export", "fsync", "replace", "directory"])
def test_kill_9_while_writing_is_harmless(tmp_path: Path, step: str) -> None:
    """Before, in the midst of and after the write: an entry is whole or absent, and the next one is kept."""
    MachineSeal(tmp_path, "compiled")
    code = KILLED.replace("SEAL,", "seal,").replace("def die", "seal = MachineSeal(home, 'compiled')\ndef die")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), step], check=False)
    assert done.returncode == -signal.SIGKILL
    cache = cache_of(tmp_path)
    entry = cache.load("key")
    assert (entry is not None) == (step == "directory")
    assert entry is None or entry.blob == bytes(range(256)) * 4096
    cache.save("key", lambda scratch: b"next", b"p" * 32)
    found = cache.load("key")
    assert found is not None and found.blob == b"next"
