"""The table of claims S1.71 to S1.104 as seen here: ``python -m benchmarks.claims_s1 [--json FILE] [--quick]``. Linux.

REST as the claims mean it: an image as base64 in JSON, by a newcomer's server on the same engine; beside it the
platform's own REST (multipart), gRPC stream for one radiograph of 50 MB, and for 100 CT slices gRPC batch stream
against REST one by one. Interleaved, medians of 7 (of 3 for the hundred). *Upload* is the time of a request less what
the answer says that the engine took. Peak memory and processor time are those of the server with its children.
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

from benchmarks.asking import base64_json
from benchmarks.counts import Lines
from benchmarks.pictures import ct_slice, enlarged, large_image
from benchmarks.served import OtherLoad
from benchmarks.stations import BASE64, Station, open_stations
from irmsia.app.compose import open_service
from irmsia.app.same import first_difference
from irmsia.client.calls import DiagnoseOptions, make_request
from irmsia.findings.types import Diagnosis
from irmsia.inference.protocol import DiagnoseRequest
from irmsia.settings.tree import Settings
from irmsia.wire.json import diagnosis_to_line
from irmsia.wire.proto import diagnosis_to_message

REPEATS, HUNDREDS, MANY = 7, 3, 100
OTHERS = 0.2
STREAM, MULTIPART, BATCH = "gRPC stream", "REST multipart", "gRPC batch stream"
ONE_DOORS = (BASE64, MULTIPART, STREAM)
GOAL_MS = 500.0
GOAL_IMAGES_S = 4.5


@dataclass(frozen=True)
class One:
    """One large image through one door: medians."""

    total_s: float
    upload_s: float
    engine_s: float
    infer_ms: float
    cpu_s: float
    peak_mib: float
    wire_bytes: int


@dataclass(frozen=True)
class Many:
    """So many slices through one door."""

    seconds: float
    images_s: float
    cpu_ms: float


@dataclass(frozen=True)
class Sizes:
    """Bytes of the same answer and of the same request as JSON and as Protobuf."""

    answer_json: int
    answer_proto: int
    map_json: int
    map_proto: int
    request_json: int
    request_list: int
    request_proto: int


def ask_one(station: Station, file: Path) -> tuple[One, Diagnosis]:
    """One request."""
    station.server.reset_peak()
    spent = station.server.cpu_s()
    asked = station.ask(file, 1, 1)
    cpu = station.server.cpu_s() - spent
    times = asked.answer.timings_ms
    assert times is not None and times.total is not None
    engine = times.total / 1000
    total = asked.seconds[0]
    peak = station.server.peak_all_mib()
    return One(total, total - engine, engine, times.infer or 0.0, cpu, peak, 0), asked.answer


def large(stations: dict[str, Station], file: Path, repeats: int) -> tuple[dict[str, One], list[str]]:
    """The large image through every door in turn; and where answers differ."""
    samples: dict[str, list[One]] = {name: [] for name in ONE_DOORS}
    answers: dict[str, Diagnosis] = {}
    for number in range(repeats + 1):
        for name in ONE_DOORS:
            one, answers[name] = ask_one(stations[name], file)
            samples[name] += [one] if number else []
    found = {name: _median(many, stations[name].wire_bytes(file) or 0) for name, many in samples.items()}
    differing = (first_difference(answers[STREAM], answer) for answer in answers.values())
    return found, [place for place in differing if place is not None]


def _median(samples: list[One], wire_bytes: int) -> One:
    def median(value: Callable[[One], float]) -> float:
        return statistics.median(value(one) for one in samples)

    return One(
        total_s=median(lambda one: one.total_s),
        upload_s=median(lambda one: one.upload_s),
        engine_s=median(lambda one: one.engine_s),
        infer_ms=median(lambda one: one.infer_ms),
        cpu_s=statistics.mean(one.cpu_s for one in samples),
        peak_mib=max(one.peak_mib for one in samples),
        wire_bytes=wire_bytes,
    )


def hundred(stations: dict[str, Station], file: Path, repeats: int, many: int) -> dict[str, Many]:
    """So many slices, one after the other by REST and in one batch by gRPC, in turn."""
    samples: dict[str, list[Many]] = {name: [] for name in (BASE64, MULTIPART, BATCH)}
    for name in samples:
        stations[name].ask(file, 1, 2)
    for _ in range(repeats):
        for name, found in samples.items():
            server = stations[name].server
            spent, began = server.cpu_s(), time.monotonic()
            stations[name].ask(file, 1, many)
            seconds = time.monotonic() - began
            found.append(Many(seconds, many / seconds, 1000 * (server.cpu_s() - spent) / many))
    return {name: sorted(found, key=lambda one: one.seconds)[len(found) // 2] for name, found in samples.items()}


def sizes() -> Sizes:
    """The answer to a CT slice, without and with its map, and the request for it."""
    data = ct_slice()
    with tempfile.TemporaryDirectory() as home, open_service(Settings(home=Path(home)), None, at_most=1) as service:
        plain, shown = (
            service.submit(DiagnoseRequest(None, data, heatmap=heatmap)).result() for heatmap in (False, True)
        )
    listed = len(str(list(data)).replace(" ", ""))
    return Sizes(
        answer_json=len(diagnosis_to_line(plain)),
        answer_proto=diagnosis_to_message(plain).ByteSize(),
        map_json=len(diagnosis_to_line(shown)),
        map_proto=diagnosis_to_message(shown).ByteSize(),
        request_json=len(base64_json(data)),
        request_list=listed,
        request_proto=len(make_request(data, DiagnoseOptions())),
    )


def print_table(one: dict[str, One], many: dict[str, Many], size: Sizes) -> None:
    """The rows of the claims, to paste."""
    rest, form, grpc = one[BASE64], one[MULTIPART], one[STREAM]
    slow, batch = many[BASE64], many[BATCH]
    answer, request = size.answer_json / size.answer_proto, size.request_json / size.request_proto
    rows = [
        ("S1.71", "under 500 ms an image", _each(one, lambda x: f"{1000 * x.engine_s:.0f} ms in the engine")),
        ("S1.72", "batch 4.5 images/s", f"{batch.images_s:.1f} images/s"),
        (
            "S1.78",
            "Protobuf 6 to 10 times more compact",
            f"the answer {answer:.1f} x ({size.answer_json} to {size.answer_proto} bytes), with its map "
            f"{size.map_json / size.map_proto:.1f} x; the request {request:.2f} x against base64, "
            f"{size.request_list / size.request_proto:.1f} x against a list of numbers",
        ),
        ("S1.95", "upload of 50 MB: 15 s to 4 s", _each(one, lambda x: f"{x.upload_s:.2f} s")),
        ("S1.96", "inference: 3 s = 3 s", _each(one, lambda x: f"{x.infer_ms:.0f} ms")),
        ("S1.97", "total latency 18 s to 7 s", _each(one, lambda x: f"{x.total_s:.2f} s")),
        ("S1.98", "bandwidth 65 MB to 52 MB", _each(one, lambda x: f"{x.wire_bytes / 1e6:.1f} MB")),
        ("S1.99", "CPU 100 % to 65 %", _each(one, lambda x: f"{x.cpu_s / rest.cpu_s:.0%}")),
        ("S1.100", "memory 2.1 GB to 1.4 GB", _each(one, lambda x: f"{x.peak_mib:.0f} MiB")),
        ("S1.101", "REST one by one: 0.5 images/s", f"{slow.images_s:.1f} images/s, {MANY} in {slow.seconds:.1f} s"),
        ("S1.102", "gRPC batch: 4.5 images/s", f"{batch.images_s:.1f} images/s, {MANY} in {batch.seconds:.1f} s"),
        ("S1.103", "nine times faster", f"{batch.images_s / slow.images_s:.2f} x"),
        (
            "S1.104",
            "gRPC 3 to 10 times faster than REST/JSON",
            f"50 MB: {rest.total_s / grpc.total_s:.1f} x against base64, {form.total_s / grpc.total_s:.1f} x against "
            f"multipart; 0.5 MB: {slow.images_s and batch.images_s / slow.images_s:.1f} x by batch",
        ),
    ]
    print(f"\n| row | claim | seen here: {' / '.join(ONE_DOORS)} |\n|---|---|---|")
    for row, claim, seen in rows:
        print(f"| {row} | {claim} | {seen} |")


def _each(one: dict[str, One], told: Callable[[One], str]) -> str:
    return " / ".join(told(one[name]) for name in ONE_DOORS)


def check(one: dict[str, One], many: dict[str, Many], differing: list[str], lines: Lines, others: float) -> None:
    """What must hold for the table to mean something, and the two claims that are goals."""
    lines.head()
    lines.check("the same answer from every door", ", ".join(differing) or "yes", good=not differing)
    slowest = 1000 * max(found.engine_s for found in one.values())
    lines.check(f"the engine takes less than {GOAL_MS:.0f} ms", f"{slowest:.0f} ms", good=slowest < GOAL_MS)
    speed = many[BATCH].images_s
    lines.check(f"batch of at least {GOAL_IMAGES_S} images/s", f"{speed:.1f}", good=speed >= GOAL_IMAGES_S)
    lines.check(f"others used at most {OTHERS} cores", f"{others:.2f}", good=others <= OTHERS)


def main() -> int:
    """Run all and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.claims_s1", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="small, once: does it run? Its figures mean nothing")
    options = parser.parse_args()
    repeats, hundreds, many_images = (1, 1, 4) if options.quick else (REPEATS, HUNDREDS, MANY)
    with tempfile.TemporaryDirectory() as folder, open_stations(Path(folder), [*ONE_DOORS, BATCH]) as opened:
        load, file = OtherLoad(), Path(folder) / "image.dcm"
        stations = {station.name: station for station in opened}
        file.write_bytes(enlarged("DX", 256, 256) if options.quick else large_image())
        one, differing = large(stations, file, repeats)
        file.write_bytes(ct_slice())
        many = hundred(stations, file, hundreds, many_images)
        others = load.cores()
    size = sizes()
    print_table(one, many, size)
    lines = Lines()
    check(one, many, differing, lines, others)
    lines.figures |= {
        "one": {name: asdict(found) for name, found in one.items()},
        "many": {name: asdict(found) for name, found in many.items()},
        "sizes": asdict(size),
        "other_cores": others,
    }
    code = lines.end(options.json)
    return 0 if options.quick else code


if __name__ == "__main__":
    sys.exit(main())
