"""Every door beside the engine alone: ``python -m benchmarks.doors [--out FILE] [--quick]``. Linux.

The engine in a process of its own, each gRPC and REST door of one server, and a newcomer's REST server with base64 in
JSON on the same engine answer the same image, asked by 1, 8 and 32 clients at once: a CT slice of 0.5 MB and a
radiograph of 21 MB. Primary figure: processor time of the server and its children a request, and its ratio to
in-process. Interleaved, medians of 7, two rounds. A client that is turned away waits as long as it is told and asks
again; its time counts. The answers of all doors are compared. Exit 1 when a goal is missed, an answer differs, the
rounds disagree by more than 10 %, or others used the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.asking import GRPC_DOORS, HTTP_DOORS
from benchmarks.counts import Lines, percentile
from benchmarks.pictures import ct_slice, enlarged, mammogram
from benchmarks.served import OtherLoad
from benchmarks.stations import INSIDE, Asked, Station, open_stations
from irmsia.app.same import first_difference

REPEATS, ROUNDS = 7, 2
CLIENTS = (1, 8, 32)
AGREE, OTHERS = 0.10, 0.2
CT, MAMMOGRAM = "CT, 0.5 MB", "radiograph, 21 MB"
IMAGES: dict[str, Callable[[], bytes]] = {CT: ct_slice, MAMMOGRAM: mammogram}
LEAST = {CT: 32, MAMMOGRAM: 8}
"""Requests of one sample, unless there are more clients: so many that the kernel's ticks do not matter."""
GOALS = {CT: ("gRPC unary", 1.10), MAMMOGRAM: ("gRPC stream", 1.25)}
"""The door that the client library takes by itself for such an image, and how much processor time it may cost."""


@dataclass(frozen=True)
class Sample:
    """One run of one station."""

    asked: Asked
    wall_s: float
    cpu_s: float
    peak_mib: float

    @property
    def cpu_ms(self) -> float:
        """Processor milliseconds a request."""
        return 1000 * self.cpu_s / len(self.asked.seconds)


@dataclass(frozen=True)
class Row:
    """One door, one image, so many clients. ``peak_mib``: of the server's process and its children together."""

    image: str
    clients: int
    door: str
    images_s: float
    p50_ms: float
    p99_ms: float
    wire_bytes: int | None
    cpu_ms: float
    times_inside: float
    rounds: tuple[float, ...]
    peak_mib: float
    refused: int
    same: str | None


def measure(station: Station, file: Path, clients: int, count: int) -> Sample:
    """One run."""
    station.server.reset_peak()
    spent, began = station.server.cpu_s(), time.monotonic()
    asked = station.ask(file, clients, max(1, count // clients))
    wall = time.monotonic() - began
    return Sample(asked, wall, station.server.cpu_s() - spent, station.server.peak_all_mib())


def run_cell(
    stations: list[Station], image: str, file: Path, clients: int, *, count: int, repeats: int, rounds: int
) -> list[Row]:
    """One image and so many clients through every station, all in turn."""
    for station in stations:
        station.ask(file, clients, 1)
    found: list[dict[str, list[Sample]]] = []
    for _ in range(rounds):
        samples: dict[str, list[Sample]] = {station.name: [] for station in stations}
        for _ in range(repeats):
            for station in stations:
                samples[station.name].append(measure(station, file, clients, max(count, clients)))
        found.append(samples)
    return [make_row(image, clients, station, file, found) for station in stations]


def make_row(image: str, clients: int, station: Station, file: Path, rounds: list[dict[str, list[Sample]]]) -> Row:
    """Medians over all samples; ratios of the processor time by round."""
    name = station.name
    every = [sample for samples in rounds for sample in samples[name]]
    seconds = [second for sample in every for second in sample.asked.seconds]
    ratios = tuple(_cpu_ms(samples[name]) / _cpu_ms(samples[INSIDE]) for samples in rounds)
    return Row(
        image=image,
        clients=clients,
        door=name,
        images_s=statistics.median(len(sample.asked.seconds) / sample.wall_s for sample in every),
        p50_ms=1000 * percentile(seconds, 0.50),
        p99_ms=1000 * percentile(seconds, 0.99),
        wire_bytes=station.wire_bytes(file) if clients == 1 else None,
        cpu_ms=_cpu_ms(every),
        times_inside=statistics.mean(ratios),
        rounds=ratios,
        peak_mib=max(sample.peak_mib for sample in every),
        refused=sum(sample.asked.refused for sample in every),
        same=first_difference(rounds[0][INSIDE][0].asked.answer, every[-1].asked.answer),
    )


def _cpu_ms(samples: list[Sample]) -> float:
    return statistics.median(sample.cpu_ms for sample in samples)


def print_table(rows: list[Row]) -> None:
    """Tables to paste, one an image."""
    for image in dict.fromkeys(row.image for row in rows):
        print(
            f"\n| {image}, by | clients | images/s | p50, ms | p99, ms | bytes on the wire | CPU ms a request", end=" "
        )
        print("| times in-process | rounds | peak, MiB | turned away |\n" + "|---" * 11 + "|")
        for row in rows:
            if row.image == image:
                print(_cells(row))


def _cells(row: Row) -> str:
    wire = f"{row.wire_bytes:,}" if row.wire_bytes is not None else ""
    rounds = " ".join(f"{ratio:.2f}" for ratio in row.rounds)
    speed = f"{row.images_s:.1f} | {row.p50_ms:.0f} | {row.p99_ms:.0f} | {wire}"
    cost = f"{row.cpu_ms:.1f} | {row.times_inside:.2f} | {rounds} | {row.peak_mib:.0f} | {row.refused}"
    return f"| {row.door} | {row.clients} | {speed} | {cost} |"


def check(rows: list[Row], lines: Lines, others: float) -> None:
    """The goals."""
    lines.head()
    for image, (door, most) in GOALS.items():
        found = [row for row in rows if row.image == image and row.door == door]
        if found:
            seen = ", ".join(f"{row.times_inside:.2f} ({row.clients})" for row in found)
            good = all(row.times_inside <= most for row in found)
            lines.check(f"{image}: CPU by {door} at most {most:.2f} x in-process (clients)", f"{seen} x", good=good)
    different = sorted({f"{row.door}: {row.same}" for row in rows if row.same is not None})
    lines.check("the same answer from every door", ", ".join(different) or "yes", good=not different)
    spread = max(max(row.rounds) / min(row.rounds) for row in rows) - 1
    lines.check("rounds within 10 %", f"{spread:.0%}", good=spread <= AGREE)
    lines.check(f"others used at most {OTHERS} cores", f"{others:.2f}", good=others <= OTHERS)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.doors", description=__doc__)
    parser.add_argument("--out", "--json", type=Path, help="write the figures as JSON")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="how many at once")
    parser.add_argument("--images", choices=("ct", "radiograph"), nargs="+", default=("ct", "radiograph"))
    parser.add_argument("--doors", nargs="+", default=[INSIDE, *GRPC_DOORS, *HTTP_DOORS], help="in-process is needed")
    parser.add_argument("--quick", action="store_true", help="few small images: does it run? Its figures mean nothing")
    return parser.parse_args()


def main() -> int:
    """Run all and print."""
    options = _parse()
    wanted = {"ct": CT, "radiograph": MAMMOGRAM}
    images = {wanted[name]: IMAGES[wanted[name]] for name in options.images}
    repeats, rounds, clients = (1, 1, (1, 2)) if options.quick else (REPEATS, ROUNDS, tuple(options.clients))
    if options.quick:
        images = {CT: lambda: enlarged("CT", 64, 64)}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, open_stations(Path(folder), options.doors) as stations:
        load = OtherLoad()
        for name, make in images.items():
            file = Path(folder) / "image.dcm"
            file.write_bytes(make())
            for number in clients:
                count = 2 if options.quick else LEAST[name]
                rows += run_cell(stations, name, file, number, count=count, repeats=repeats, rounds=rounds)
                print(f"{name}, {number} clients: done", file=sys.stderr, flush=True)
        others = load.cores()
    print_table(rows)
    lines = Lines()
    check(rows, lines, others)
    code = lines.end(options.out, rows=[asdict(row) for row in rows], other_cores=others)
    return 0 if options.quick else code


if __name__ == "__main__":
    sys.exit(main())
