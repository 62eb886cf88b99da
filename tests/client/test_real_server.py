"""The client against the platform's own gRPC server: uploads that are cut, batches, both faces."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from irmsia.client import AsyncDicomDiagnosticClient, DicomDiagnosticClient, RetryPolicy, StreamProgress
from irmsia.errors import TruncatedError
from irmsia.findings.types import Diagnosis, Problem
from irmsia.inference.protocol import DiagnoseRequest, Priority, Stage
from tests.client.scripted import Cutter
from tests.server.scripted import Door, ScriptedService, make_answer, open_door

CHUNK = 64 * 1024
IMAGE = random.Random(7).randbytes(64 * CHUNK + 17)
DIGEST = hashlib.sha256(IMAGE).hexdigest()
BAD = b"bad"
RETRY = RetryPolicy(unavailable=20, pause_s=0.01)


def _answer(request: DiagnoseRequest) -> Diagnosis:
    source = request.source if isinstance(request.source, bytes) else request.source.read_bytes()
    if request.progress is not None:
        for stage in (Stage.DECODING, Stage.INFERRING):
            request.progress(stage, 20.0 * stage)
    if source == BAD:
        return Diagnosis(error=Problem("TRUNCATED", "ends early"))
    return make_answer(replace(request, source=source))


@pytest.fixture
def door() -> Iterator[Door]:
    """A server whose answers hold the digest of what came."""
    with open_door(ScriptedService(_answer)) as door:
        yield door


@contextmanager
def _cut(door: Door, budgets: list[int]) -> Iterator[Cutter]:
    cutter = Cutter(door.target, budgets)
    door.call(cutter.start())
    try:
        yield cutter
    finally:
        door.call(cutter.close())


def _digest(answer: Diagnosis) -> str | None:
    return answer.evidence.input_sha256 if answer.evidence else None


def test_an_upload_with_progress(door: Door, tmp_path: Path) -> None:
    """A file in chunks gives the answer to its bytes; stages and percentages only rise, to DONE."""
    path = tmp_path / "image"
    path.write_bytes(IMAGE)
    heard: list[StreamProgress] = []
    with DicomDiagnosticClient(door.target) as client:
        answer = client.diagnose_dicom_stream(path, chunk_bytes=CHUNK, progress=heard.append, heatmap=True)
        with pytest.raises(TruncatedError):
            client.diagnose_dicom_stream(BAD)
    assert (_digest(answer), answer.input) == (DIGEST, str(path))
    assert [update.percent for update in heard] == sorted(update.percent for update in heard)
    assert [Stage[update.stage] for update in heard] == sorted(Stage[update.stage] for update in heard)
    assert (heard[-1].stage, heard[-1].percent, heard[-1].received) == ("DONE", 100.0, len(IMAGE))


@pytest.mark.parametrize("seed", range(3))
def test_twenty_cuts(door: Door, seed: int) -> None:
    """20 random cuts: one digest, and what went over the line twice is less than the cut connections carried."""
    choice = random.Random(seed)
    budgets = [choice.randrange(CHUNK // 2, 3 * CHUNK) for _ in range(20)]
    with _cut(door, list(budgets)) as cutter, DicomDiagnosticClient(cutter.target, retry=RETRY) as client:
        answer = client.diagnose_dicom_stream(IMAGE, chunk_bytes=CHUNK // 4)
    assert _digest(answer) == DIGEST
    assert cutter.cuts == 20
    assert cutter.carried - len(IMAGE) < sum(budgets)


def test_a_batch_with_a_bad_image(door: Door) -> None:
    """Answers in order, the bad image in its place, all with batch priority; the summary counts them."""
    images = [b"%d" % number for number in range(40)]
    images[7] = BAD
    with DicomDiagnosticClient(door.target) as client:
        result = client.diagnose_batch(images)
    assert [answer.error.code if answer.error else None for answer in result.answers].index("TRUNCATED") == 7
    assert (result.summary.counts.accept, result.summary.counts.failed) == (39, 1)
    assert {request.priority for request in door.service.requests} == {Priority.BATCH}
    assert len({request.client for request in door.service.requests}) == 1


def test_a_batch_that_is_cut(door: Door) -> None:
    """Cuts cost images that were not answered a second try, and nothing else."""
    images = [bytes([number]) * 1000 for number in range(100)]
    choice = random.Random(1)
    with (
        _cut(door, [choice.randrange(2000, 9000) for _ in range(10)]) as cutter,
        DicomDiagnosticClient(cutter.target, retry=RETRY) as client,
    ):
        answers = client.diagnose_batch(images).answers
    assert cutter.cuts == 10
    assert [_digest(answer) for answer in answers] == [hashlib.sha256(image).hexdigest() for image in images]


def test_the_asynchronous_face(door: Door) -> None:
    """One loop, all three ways at once, one answer."""

    async def ask() -> list[Diagnosis]:
        async with AsyncDicomDiagnosticClient(door.target) as client:
            single, stream, batch = await asyncio.gather(
                client.diagnose_dicom(IMAGE), client.diagnose_dicom_stream(IMAGE), client.diagnose_batch([IMAGE])
            )
            return [single, stream, *batch.answers]

    assert [replace(answer, timings_ms=None) for answer in asyncio.run(ask())] == [
        replace(make_answer(DiagnoseRequest(None, IMAGE)), timings_ms=None)
    ] * 3
