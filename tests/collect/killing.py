"""A download in a process of its own that is killed at random moments, again and again, and then looked at.

``python -m tests.collect.killing URL TARGET`` is that process; the list of files is asked of the server itself.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from irmsia.datasets.collect.engine import download
from irmsia.datasets.collect.protocol import Wanted
from irmsia.datasets.collect.receipt import RECEIPTS, read_receipts
from tests.collect.scripted import Handler, Resource, Server, serving
from tests.collect.wanting import digest, local_web, noise, plan_of, tree

_PLAIN, _ARCHIVES = 16, 6
_PIECE, _PAUSE_S = 16384, 0.02
_LONGEST_LIFE_S = 0.4


def main(url: str, target: Path) -> None:
    """Get everything; an archive is what ends in .zip."""
    with local_web(connections=4, retries=0) as web:
        files = [
            Wanted(f"{url}/{path}", path, unpack=path.removesuffix(".zip") if path.endswith(".zip") else None)
            for path in web.ask(f"{url}/list").json()
        ]
        print("begun", flush=True)
        outcome = download(plan_of(files), target, web)
    if outcome.failures:
        raise outcome.failures[0].error


@dataclass
class Killed:
    """What a series of kills came to; the four below count files or names, over all rounds.

    ``rounds``: downloads that were completed, each compared with what the server has.
    """

    kills: int = 0
    rounds: int = 0
    files: int = 0
    lost: int = 0
    wrong: int = 0
    doubled: int = 0
    leftovers: list[str] = field(default_factory=list)


def kill_again_and_again(kills: int, folder: Path, seed: int) -> Killed:
    """Kill a download at ``kills`` random moments (every fourth time by Ctrl-C), let it end, compare.

    Where it ends before it was killed often enough, another round begins in another folder.
    """
    chance, found = random.Random(seed), Killed()
    with serving() as server:
        contents = _fill(server)
        while found.kills < kills:
            target = folder / f"round{found.rounds}"
            while found.kills < kills and not _lives(server, target, chance.uniform(0.0, _LONGEST_LIFE_S), found):
                pass
            process = _start(server, target)
            assert process.wait(120) == 0, "the last call failed"
            _compare(found, target, contents)
    return found


def _lives(server: Server, target: Path, seconds: float, found: Killed) -> bool:
    """Whether a download came to its end before it was killed."""
    process = _start(server, target)
    time.sleep(seconds)
    if process.poll() is not None:
        assert process.returncode == 0, "the download failed by itself"
        return True
    process.send_signal(signal.SIGINT if found.kills % 4 == 3 else signal.SIGKILL)
    process.wait(30)
    found.kills += 1
    return False


def _start(server: Server, target: Path) -> subprocess.Popen[str]:
    """A download that has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.collect.killing", server.url(""), str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "begun\n"
    return process


def _fill(server: Server) -> dict[str, bytes]:
    contents = {f"plain/{number}.bin": noise(number, 9000 * number + 1) for number in range(_PLAIN)}
    for number in range(_ARCHIVES):
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for member in range(20):
                archive.writestr(f"d{member % 3}/{member}.bin", noise(1000 * number + member, 5000))
        contents[f"archives/{number}.zip"] = buffer.getvalue()
    for path, content in contents.items():
        server.add(f"/{path}", content, faults=[_slowly] * 10_000)
    server.add("/list", json.dumps(sorted(contents)).encode())
    return contents


def _slowly(handler: Handler, resource: Resource) -> None:
    """The file or its range, in pieces with pauses."""
    start, total = handler.start_of(resource), len(resource.content)
    body = resource.content[start or 0 :]
    headers = {"Content-Length": str(len(body)), **handler.known(resource)}
    if start is not None:
        headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
    handler.head(200 if start is None else 206, headers)
    for at in range(0, len(body), _PIECE):
        handler.wfile.write(body[at : at + _PIECE])
        handler.server.released.wait(_PAUSE_S)


def _compare(found: Killed, target: Path, contents: dict[str, bytes]) -> None:
    """Set equality by SHA-256 of what stands there and what should."""
    expected: dict[str, str] = {}
    for path, content in contents.items():
        if path.endswith(".zip"):
            with zipfile.ZipFile(BytesIO(content)) as archive:
                folder = path.removesuffix(".zip")
                expected |= {f"{folder}/{name}": digest(archive.read(name)) for name in archive.namelist()}
        else:
            expected[path] = digest(content)
    there = tree(target)
    there.pop(RECEIPTS, None)
    receipts = {receipt.path: receipt.sha256 for receipt in read_receipts(target)}
    lines = (target / RECEIPTS).read_bytes().splitlines()
    found.rounds += 1
    found.files += len(expected)
    found.lost += len(expected.keys() - there.keys()) + len(contents.keys() - receipts.keys())
    found.wrong += sum(there[name] != expected[name] for name in expected.keys() & there.keys())
    found.wrong += sum(digest(contents[path]) != receipts[path] for path in contents.keys() & receipts.keys())
    found.doubled += len(lines) - len(receipts)
    found.leftovers += sorted(there.keys() - expected.keys())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
