from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from irmsia._proto.irmsia.v1 import diagnosis_pb2 as pb
from irmsia.client import DicomDiagnosticClient, RetryPolicy, StreamProgress
from irmsia.client.calls import DiagnoseOptions, idempotency_key, make_chunk
from irmsia.errors import (
    InternalError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    TimedOutError,
    TruncatedError,
    UnavailableError,
)
from tests.client.scripted import PeerDoor, answer_to, open_peer

CHUNK = 64 * 1024
IMAGE = random.Random(5).randbytes(64 * CHUNK + 123)
DIGEST = hashlib.sha256(IMAGE).hexdigest()


@pytest.fixture
def door() -> Iterator[PeerDoor]:
    """A server that takes uploads."""
    with open_peer() as door:
        yield door


def _digest(answer: object) -> str | None:
    return answer.evidence.input_sha256  # type: ignore[attr-defined, no-any-return]


def test_bytes_and_paths_in_chunks(door: PeerDoor, tmp_path: Path) -> None:
    """A path and its bytes arrive whole, each byte once; the path is the answer's input and is not sent."""
    path = tmp_path / "Doe^Jane.dcm"
    path.write_bytes(IMAGE)
    with DicomDiagnosticClient(door.target) as client:
        for source, name in ((IMAGE, None), (path, str(path)), (str(path), str(path))):
            answer = client.diagnose_dicom_stream(source, chunk_bytes=CHUNK, heatmap=True, term="glioma")
            assert (answer.input, _digest(answer)) == (name, DIGEST)
    assert sum(length for _, length in door.peer.chunks) == 3 * len(IMAGE)
    assert door.peer.options == [pb.DiagnoseOptions(heatmap=True, term="glioma")] * 3


def test_a_large_image_is_streamed_by_itself(door: PeerDoor) -> None:
    """Above 10 MB `diagnose_dicom` sends chunks of 1 MiB; up to there one message."""
    with DicomDiagnosticClient(door.target) as client:
        client.diagnose_dicom(bytes(10_000_000))
        assert door.peer.chunks == []
        client.diagnose_dicom(bytes(10_000_001))
    assert [length for _, length in door.peer.chunks] == [1 << 20] * 9 + [10_000_001 - (9 << 20)]


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1])
def test_sizes_at_the_edge_of_a_chunk(door: PeerDoor, size: int) -> None:
    """Nothing, one byte, a whole chunk and one more: each ends with `last` and comes back as its own digest."""
    with DicomDiagnosticClient(door.target) as client:
        answer = client.diagnose_dicom_stream(IMAGE[:size], chunk_bytes=CHUNK)
    assert _digest(answer) == hashlib.sha256(IMAGE[:size]).hexdigest()


def test_chunks_are_proto() -> None:
    """The chunk put together by hand is the message that protobuf would write."""
    for offset, data, last in ((0, b"", True), (7, b"x" * 127, False), (1 << 33, b"y" * 70000, True)):
        message = pb.DiagnoseStreamRequest.FromString(make_chunk(offset, data, last=last))
        assert message.chunk == pb.UploadChunk(offset=offset, data=data, last=last)


def test_progress_never_goes_back(door: PeerDoor) -> None:
    """The callback hears the bytes that are kept, then the stages, in the caller's thread."""
    heard: list[StreamProgress] = []
    threads = set()

    def progress(update: StreamProgress) -> None:
        heard.append(update)
        threads.add(threading.current_thread())

    with DicomDiagnosticClient(door.target) as client:
        client.diagnose_dicom_stream(IMAGE, chunk_bytes=CHUNK, progress=progress)
    receiving = [update for update in heard if update.stage == "RECEIVED"]
    assert [update.received for update in receiving] == [*range(0, len(IMAGE), CHUNK), len(IMAGE)]
    assert [(update.stage, update.percent) for update in heard[len(receiving) :]] == [("DECODING", 10), ("DONE", 100)]
    assert {update.size for update in heard} == {len(IMAGE)}
    assert threads == {threading.current_thread()}


def test_an_error_of_the_callback_ends_the_call(door: PeerDoor) -> None:
    """What the callback raises comes out, and the upload stops."""

    def progress(update: StreamProgress) -> None:
        raise ZeroDivisionError

    with DicomDiagnosticClient(door.target) as client, pytest.raises(ZeroDivisionError):
        client.diagnose_dicom_stream(IMAGE, chunk_bytes=CHUNK, progress=progress)


@pytest.mark.parametrize("seed", range(3))
def test_twenty_cuts_give_one_digest(door: PeerDoor, tmp_path: Path, seed: int) -> None:
    """After each of 20 cuts at random bytes the upload goes on where the server stopped; nothing kept is sent again."""
    choice = random.Random(seed)
    budgets = [choice.randrange(CHUNK // 2, 3 * CHUNK) for _ in range(20)]
    cutter = door.cutter(list(budgets))
    path = tmp_path / "image"
    path.write_bytes(IMAGE)
    retry = RetryPolicy(unavailable=20, pause_s=0.001)
    heard: list[StreamProgress] = []
    with DicomDiagnosticClient(cutter.target, retry=retry) as client:
        answer = client.diagnose_dicom_stream(path, chunk_bytes=CHUNK // 4, progress=heard.append)
    assert _digest(answer) == DIGEST
    assert cutter.cuts == 20
    assert len(door.peer.uploads) == 1
    assert door.peer.regressions == 0
    assert sum(length for _, length in door.peer.chunks) == len(IMAGE)  # each byte that arrived did so once
    kept = [offset for _, offset in door.peer.opened]
    assert kept == sorted(kept)
    assert [update.received for update in heard] == sorted(update.received for update in heard)
    # What went over the line twice is what the cut connections carried and the server had not kept, but headers.
    resent = cutter.carried - len(IMAGE)
    assert 0 < resent <= sum(budgets) - kept[-1] + 21 * 2048
    assert kept[-1] > sum(budgets) / 4


def test_cuts_before_anything_is_kept(door: PeerDoor) -> None:
    """A connection that breaks before the first acknowledgement is one of the tries, no more."""
    cutter = door.cutter([100, 150])
    with DicomDiagnosticClient(cutter.target, retry=RetryPolicy(unavailable=3, pause_s=0.001)) as client:
        assert _digest(client.diagnose_dicom_stream(IMAGE, chunk_bytes=CHUNK)) == DIGEST
    assert cutter.cuts == 2


def test_it_gives_up_where_nothing_gets_further(door: PeerDoor) -> None:
    """So many cuts in a row without a kept chunk end it as UNAVAILABLE, and a deadline ends it as well."""
    cutter = door.cutter([300] * 1000)
    with DicomDiagnosticClient(cutter.target, retry=RetryPolicy(unavailable=4, pause_s=0.001)) as client:
        with pytest.raises(UnavailableError):
            client.diagnose_dicom_stream(IMAGE)
        assert cutter.cuts <= 8
    with DicomDiagnosticClient(cutter.target, retry=RetryPolicy(unavailable=10**6, pause_s=0.01)) as client:
        began = time.monotonic()
        with pytest.raises((UnavailableError, TimedOutError)):
            client.diagnose_dicom_stream(IMAGE, timeout=0.5)
        assert time.monotonic() - began < 10


def test_a_server_that_lost_the_upload(door: PeerDoor) -> None:
    """A server that was started anew, or waited too long, gets the image from the start."""
    cutter = door.cutter([8 * CHUNK])
    door.peer.forgetful = True
    with DicomDiagnosticClient(cutter.target, retry=RetryPolicy(pause_s=0.001)) as client:
        answer = client.diagnose_dicom_stream(IMAGE, chunk_bytes=CHUNK)
    assert _digest(answer) == DIGEST
    assert [upload for upload, _ in door.peer.opened] == [None, None]


def test_another_server_takes_over(door: PeerDoor) -> None:
    """When the server that keeps the upload is gone for good, another one gets the image from the start."""
    with open_peer() as other:

        def stop(update: StreamProgress) -> None:
            if update.received >= 4 * CHUNK and len(door.peer.opened) == 1 and not stopped:
                stopped.append(True)
                door.stop()

        stopped: list[bool] = []
        retry = RetryPolicy(pause_s=0.001)
        with DicomDiagnosticClient([door.target, other.target], retry=retry) as client:
            answer = client.diagnose_dicom_stream(IMAGE, chunk_bytes=CHUNK // 8, progress=stop)
        assert _digest(answer) == DIGEST
        assert stopped
        assert sum(length for _, length in other.peer.chunks) == len(IMAGE)


def test_overload_at_the_end_asks_again_without_the_bytes(door: PeerDoor) -> None:
    """A server that is full when the image is whole is asked later; the image stays there."""
    told = iter([OverloadedError("full", 0.05), OverloadedError("full", 0.05)])

    def busy(request: pb.DiagnoseDicomRequest) -> pb.Diagnosis:
        if (error := next(told, None)) is not None:
            raise error
        return answer_to(request)

    door.peer.answer = busy
    with DicomDiagnosticClient(door.target) as client:
        assert _digest(client.diagnose_dicom_stream(IMAGE, chunk_bytes=CHUNK)) == DIGEST
    assert sum(length for _, length in door.peer.chunks) == len(IMAGE)
    key = idempotency_key(bytes.fromhex(DIGEST), DiagnoseOptions())
    assert [told.get("irmsia-idempotency-key") for told in door.peer.metadata] == [None, key, key]


def test_a_failed_image(door: PeerDoor) -> None:
    """What is wrong with the image is raised at once, or is an answer on request."""

    def broken(request: pb.DiagnoseDicomRequest) -> pb.Diagnosis:
        raise TruncatedError("ends early")

    door.peer.answer = broken
    with DicomDiagnosticClient(door.target) as client:
        with pytest.raises(TruncatedError):
            client.diagnose_dicom_stream(IMAGE)
        answer = client.diagnose_dicom_stream(IMAGE, raise_errors=False, name="a")
        assert (answer.input, answer.error and answer.error.code) == ("a", "TRUNCATED")
    assert len(door.peer.opened) == 2


def test_an_answer_to_other_bytes_is_none(door: PeerDoor) -> None:
    """An answer whose digest is not that of what was sent is not given out."""
    door.peer.answer = lambda request: answer_to(pb.DiagnoseDicomRequest(content=b"other"))
    with DicomDiagnosticClient(door.target) as client, pytest.raises(InternalError):
        client.diagnose_dicom_stream(IMAGE)


def test_sources_that_give_nothing(door: PeerDoor, tmp_path: Path) -> None:
    """A missing file is told without a call, and so is a chunk of a size that no server takes."""
    with DicomDiagnosticClient(door.target) as client:
        with pytest.raises(NotFoundError):
            client.diagnose_dicom_stream(tmp_path / "none")
        for size in (0, (4 << 20) + 1):
            with pytest.raises(InvalidRequestError):
                client.diagnose_dicom_stream(IMAGE, chunk_bytes=size)
    assert door.peer.opened == []


def test_a_server_that_acknowledges_rarely(door: PeerDoor) -> None:
    """Acknowledgements of several chunks at once are enough."""
    door.peer.ack_every = 1000
    with DicomDiagnosticClient(door.target) as client:
        assert _digest(client.diagnose_dicom_stream(IMAGE, chunk_bytes=CHUNK)) == DIGEST
