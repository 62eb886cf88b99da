"""Safety lines I8, I9, F4: ``python -m benchmarks.hostile_sources [--kills N] [--mutants N] [--out FILE]``.

Hostile addresses are asked and hostile archives unpacked (the tables of the tests, and mutants of good archives beside
them); a download is killed at random moments, another at every single call to the system. Counts with their 95 % upper
bound; exit 1 when any line is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.counts import Lines, told
from irmsia.datasets.collect.extract import unpack
from irmsia.errors import IrmsiaError
from tests.collect import hostile_addresses, hostile_archives
from tests.collect.asking import refusals
from tests.collect.hostile_archives import LIMITS, Entry, make_tar, make_zip
from tests.collect.killing import kill_again_and_again
from tests.collect.test_faults import make_source
from tests.collect.unpacking import rejections
from tests.collect.wanting import noise, tree

_LONGEST_S = 2.0


def main() -> int:
    """Run all four and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="random moments at which a download is killed")
    parser.add_argument("--mutants", type=int, default=5000, help="archives with a few bytes changed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the counts as JSON")
    given = parser.parse_args()
    lines = Lines()
    lines.head()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _addresses(lines)
        _archives(lines, folder / "archives")
        _mutants(lines, folder / "mutants", given.mutants, given.seed)
        _every_call(lines, folder / "calls")
        _kills(lines, folder / "kills", given.kills, given.seed)
    return lines.end(given.out)


def _addresses(lines: Lines) -> None:
    """I9: each is refused, and nobody is dialled."""
    found, count = refusals(hostile_addresses.HOSTILE), len(hostile_addresses.HOSTILE)
    seen = f"{told(count - found.refused, count)}, {found.connections} connections {found.wrong or ''}"
    lines.check("I9: hostile addresses that were asked", seen, good=found.refused == count and found.connections == 0)


def _archives(lines: Lines, folder: Path) -> None:
    """I8: each is refused with its error; the tree is hashed before and after."""
    found, count = rejections(hostile_archives.HOSTILE, folder), len(hostile_archives.HOSTILE)
    seen = f"{told(count - found.rejected, count)} {found.wrong or ''}"
    lines.check("I8: hostile archives that were unpacked", seen, good=found.rejected == count)
    lines.check("I8: trees changed by them", told(len(found.changed), count), good=not found.changed)


def _mutants(lines: Lines, folder: Path, count: int, seed: int) -> None:
    """I8: good archives with some bytes turned: typed or whole, quick, and nothing beside them touched."""
    chance, ends, failures = random.Random(seed), Counter[str](), 0
    files = {f"d{number % 3}/{number}.bin": noise(number, 400 * number) for number in range(12)}
    zipped = [Entry(name.encode(), content, method) for method in (0, 8) for name, content in files.items()]
    whole = [
        make_zip(zipped[:12]),
        make_zip(zipped[12:]),
        make_tar([(name, content, {}) for name, content in files.items()]),
    ]
    (folder / "root").mkdir(parents=True)
    (folder / "outside").write_bytes(b"precious")
    for _ in range(count):
        data = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (folder / "root" / "archive").write_bytes(data)
        before, began = tree(folder), time.monotonic()
        try:
            unpack(folder / "root" / "archive", folder / "root" / "out", LIMITS)
            ends["whole"] += 1
            subprocess.run(["rm", "-r", str(folder / "root" / "out")], check=True)
        except IrmsiaError as error:
            ends[error.code] += 1
        failures += tree(folder) != before or time.monotonic() - began > _LONGEST_S
    seen = f"{told(failures, count)}; {dict(ends.most_common())}"
    lines.check(f"I8: mutants untyped, over {_LONGEST_S:g} s, or with a changed tree", seen, good=failures == 0)


def _every_call(lines: Lines, folder: Path) -> None:
    """F4: a process dies at its k-th call, for every k; the next one completes the work."""
    make_source(folder / "from")
    command = [sys.executable, "-m", "tests.collect.crashing", str(folder / "from"), str(folder / "to")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    failures = found["points"] - found["whole_after"] + found["calls_to_heal_failed"]
    lines.check("F4: killed at every call, not whole afterwards", told(failures, found["points"]), good=failures == 0)


def _kills(lines: Lines, folder: Path, kills: int, seed: int) -> None:
    """F4: random moments, by SIGKILL and Ctrl-C; set equality by SHA-256."""
    found = kill_again_and_again(kills, folder, seed)
    what = f"F4: {found.kills} kills in {found.rounds} downloads of {found.files} files"
    leftovers = len(found.leftovers)
    seen = f"{found.lost} lost, {found.wrong} wrong, {found.doubled} doubled, {leftovers} left over"
    lines.check(what, seen, good=not (found.lost or found.wrong or found.doubled or leftovers))


if __name__ == "__main__":
    sys.exit(main())
