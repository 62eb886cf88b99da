"""Uploads of 50 MB against the limit: ``python -m benchmarks.upload [--out FILE] [--quick]``. Linux.

The file is no image, so that no door spends time on an answer: what is seen is receiving, keeping and hashing. Limit: a
process that receives the same bytes from a plain socket into one buffer and hashes them. *kept*: until the server
has said that it holds every byte (gRPC stream and REST upload), *answered*: until the call is over. Every way is
interleaved with the limit, medians of 7, two rounds. Each digest that comes back is compared. Exit 1 when a goal is
missed, the rounds disagree by more than 10 % or others used the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from benchmarks.asking import Http, Stream, Unary, base64_json
from benchmarks.beside import newcomer, raw_socket, send_raw
from benchmarks.counts import Lines
from benchmarks.pictures import no_image
from benchmarks.served import OtherLoad, Watched, serving
from irmsia.app.remote_http import make_form
from irmsia.errors import NotAnImageError
from irmsia.settings.limits import MIB

SIZE = 50_000_000
REPEATS, ROUNDS = 7, 2
AGREE = 0.10
OTHERS = 0.2
NEAR_LIMIT = 1.20
GROWTH_MIB = 16.0
CHUNKS = {"64 KiB": 64 << 10, "256 KiB": 256 << 10, "1 MiB": 1 << 20, "4 MiB": 4 << 20}
LIMIT, UNARY, MULTIPART, BASE64 = "socket + SHA-256", "gRPC unary", "REST multipart upload", "REST base64 JSON"
DEFAULT = "gRPC stream, 1 MiB chunks"


@dataclass
class Sample:
    """One upload: seconds until kept, seconds until answered, and what the server spent."""

    kept_s: float
    answered_s: float
    cpu_s: float
    grown_mib: float


@dataclass(frozen=True)
class Way:
    """One way to upload: ``send`` gives the moment when all was kept, or null where only the answer tells."""

    name: str
    server: Watched
    send: Callable[[bytes], float | None]


@dataclass
class Row:
    """Medians of one way; ``rounds``: times the limit in each round."""

    name: str
    kept_s: float
    answered_s: float
    cpu_s: float
    grown_mib: float
    times_the_limit: float
    rounds: list[float] = field(default_factory=list)


@contextmanager
def open_ways(size: int) -> Iterator[list[Way]]:
    """Every way with its server up."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        limit, address = stack.enter_context(raw_socket(home / "limit"))
        served = stack.enter_context(serving(home / "served"))
        other, newcomers = stack.enter_context(newcomer(home / "newcomer"))
        connection = stack.enter_context(socket.create_connection(address))
        streams = {name: Stream(served.target, count) for name, count in CHUNKS.items() if count <= size}
        unary, rest, theirs = Unary(served.target), Http(served.http), Http(newcomers)
        for client in (*streams.values(), unary, rest, theirs):
            stack.callback(client.close)
        yield [
            Way(LIMIT, limit, lambda data: _told(data, send_raw(connection, data))),
            *(
                Way(f"gRPC stream, {name} chunks", served, lambda data, one=one: _stream(one, data))
                for name, one in streams.items()
            ),
            Way(UNARY, served, lambda data: _fails(unary, data)),
            Way(MULTIPART, served, lambda data: _multipart(rest, data)),
            Way(BASE64, other, lambda data: _base64(theirs, data)),
        ]


def _stream(client: Stream, data: bytes) -> float:
    _fails(client, data)
    return client.kept_s


def _fails(client: Unary | Stream, data: bytes) -> None:
    """The answer must be that this is no image: the bytes were received, hashed and looked at."""
    try:
        client.ask(data)
    except NotAnImageError:
        return
    raise SystemExit("an answer to what is no image")


def _multipart(client: Http, data: bytes) -> float:
    kept = client.post("/api/v1/dicom/upload", *make_form((), data), wanted=201)
    return _told(data, kept["sha256"])


def _base64(client: Http, data: bytes) -> float:
    return _told(data, client.post("/upload", "application/json", base64_json(data))["sha256"])


def _told(data: bytes, digest: str) -> float:
    now = time.monotonic()
    if digest != _digest(data):
        raise SystemExit("a digest differs: what arrived is not what was sent")
    return now


@cache
def _digest(data: bytes) -> str:
    """Made once: its time must not count."""
    return hashlib.sha256(data).hexdigest()


def measure(way: Way, data: bytes) -> Sample:
    """One upload."""
    way.server.reset_peak()
    held, spent, began = way.server.memory_mib(), way.server.cpu_s(), time.monotonic()
    kept = way.send(data)
    ended = time.monotonic()
    return Sample(
        kept_s=(kept or ended) - began,
        answered_s=ended - began,
        cpu_s=way.server.cpu_s() - spent,
        grown_mib=max(0.0, way.server.peak_mib() - held),
    )


def run_rounds(ways: list[Way], data: bytes, *, repeats: int, rounds: int) -> list[Row]:
    """All ways in turn, so often, after one of each that does not count."""
    for way in ways:
        measure(way, data)
    found: list[dict[str, list[Sample]]] = []
    for number in range(rounds):
        samples: dict[str, list[Sample]] = {way.name: [] for way in ways}
        for _ in range(repeats):
            for way in ways:
                samples[way.name].append(measure(way, data))
        found.append(samples)
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    return [make_row(way.name, found) for way in ways]


def make_row(name: str, rounds: list[dict[str, list[Sample]]]) -> Row:
    """Medians over all rounds, the largest growth, and the ratio of each round."""
    every = [sample for samples in rounds for sample in samples[name]]
    ratios = [_kept(samples[name]) / _kept(samples[LIMIT]) for samples in rounds]
    return Row(
        name=name,
        kept_s=_kept(every),
        answered_s=statistics.median(sample.answered_s for sample in every),
        cpu_s=statistics.mean(sample.cpu_s for sample in every),
        grown_mib=max(sample.grown_mib for sample in every),
        times_the_limit=statistics.mean(ratios),
        rounds=ratios,
    )


def _kept(samples: list[Sample]) -> float:
    return statistics.median(sample.kept_s for sample in samples)


def print_table(rows: list[Row], size: int) -> None:
    """A table to paste."""
    print(f"\n| {size / 1e6:.0f} MB by | kept, s | answered, s | times the limit | rounds | server CPU, ms | memory |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        rounds = " ".join(f"{ratio:.2f}" for ratio in row.rounds)
        times = f"{row.kept_s:.3f} | {row.answered_s:.3f} | {row.times_the_limit:.2f} | {rounds}"
        print(f"| {row.name} | {times} | {1000 * row.cpu_s:.0f} | +{row.grown_mib:.1f} MiB |")


def check(rows: list[Row], lines: Lines, others: float) -> None:
    """The goals."""
    by_name = {row.name: row for row in rows}
    stream = by_name[DEFAULT]
    lines.head()
    lines.check(
        f"stream within {NEAR_LIMIT - 1:.0%} of the limit",
        f"{stream.times_the_limit:.2f} x",
        good=stream.times_the_limit <= NEAR_LIMIT,
    )
    grown = max(row.grown_mib for row in rows if row.name.startswith("gRPC stream"))
    lines.check(f"server memory +{GROWTH_MIB:.0f} MiB at most", f"+{grown:.1f} MiB", good=grown <= GROWTH_MIB)
    spread = max(max(row.rounds) / min(row.rounds) for row in rows)
    lines.check("rounds within 10 %", f"{spread - 1:.0%}", good=spread <= 1 + AGREE)
    lines.check(f"others used at most {OTHERS} cores", f"{others:.2f}", good=others <= OTHERS)


def main() -> int:
    """Run all and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.upload", description=__doc__)
    parser.add_argument("--out", "--json", type=Path, help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="2 MB, once: does it run? Its figures mean nothing")
    options = parser.parse_args()
    size, repeats, rounds = (2 * MIB, 1, 1) if options.quick else (SIZE, REPEATS, ROUNDS)
    lines, data = Lines(), no_image(size)
    with open_ways(size) as ways:
        load = OtherLoad()
        rows = run_rounds(ways, data, repeats=repeats, rounds=rounds)
        others = load.cores()
    print_table(rows, size)
    check(rows, lines, others)
    code = lines.end(options.out, rows=[asdict(row) for row in rows], other_cores=others)
    return 0 if options.quick else code


if __name__ == "__main__":
    sys.exit(main())
