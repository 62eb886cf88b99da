"""The remote implementation keeps the promises of `InferenceService`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from irmsia.app.remote import RemoteInference
from irmsia.errors import CancelledError, OverloadedError, UnavailableError
from irmsia.inference.protocol import DiagnoseRequest, Priority, Stage
from tests.client.scripted import open_peer
from tests.server.scripted import ScriptedService, open_door


def test_answers_come_back_under_the_name_given_here() -> None:
    """The name of the file stays on this machine and in the answer."""
    with open_door() as door:
        remote = RemoteInference(door.target)
        answer = remote.submit(DiagnoseRequest("a.png", b"one")).result(10)
        assert (answer.input, answer.decision) == ("a.png", "ACCEPT")
        assert remote.health().ready
        assert remote.models()
        remote.close()


def test_an_overloaded_server_is_asked_again() -> None:
    """Overload is no answer: the client waits as long as it is told and tries again."""

    tries = iter([OverloadedError("full", 0.05), OverloadedError("full", 0.05)])

    def busy() -> None:
        error = next(tries, None)
        if error is not None:
            raise error

    with open_door(ScriptedService(submitting=busy)) as door:
        remote = RemoteInference(door.target)
        assert remote.submit(DiagnoseRequest("a", b"one")).result(10).error is None
        assert next(tries, None) is None
        remote.close()


def test_a_server_that_went_away_is_an_error_of_the_item() -> None:
    """The future gives a `Diagnosis` all the same; asking after `close` is refused."""
    remote = RemoteInference("127.0.0.1:9")
    answer = remote.submit(DiagnoseRequest("a", b"one")).result(20)
    assert answer == replace(answer, input="a", decision=None)
    assert answer.error is not None
    assert answer.error.code == UnavailableError.code
    remote.close(timeout=0)
    with pytest.raises(CancelledError):
        remote.submit(DiagnoseRequest("a", b"one"))


def test_a_file_that_is_not_there_fails_alone(tmp_path: Path) -> None:
    """Reading happens on this side, with the same codes as in the process."""
    with open_door() as door:
        remote = RemoteInference(door.target)
        answer = remote.submit(DiagnoseRequest("gone", tmp_path / "gone")).result(10)
        assert answer.error is not None
        assert answer.error.code == "NOT_FOUND"
        remote.close()


def test_images_of_a_batch_share_a_call_and_single_ones_do_not(tmp_path: Path) -> None:
    """Batch priority goes through DiagnoseBatchStream, over all servers; a failed image is an answer."""
    (tmp_path / "here").write_bytes(b"image")
    with open_peer() as one, open_peer() as two:
        remote = RemoteInference([one.target, two.target])
        requests = [DiagnoseRequest(str(number), b"%d" % number, priority=Priority.BATCH) for number in range(20)]
        futures = [remote.submit(request) for request in requests]
        gone = remote.submit(DiagnoseRequest("gone", tmp_path / "gone", priority=Priority.BATCH)).result(30)
        assert [future.result(30).input for future in futures] == [str(number) for number in range(20)]
        assert gone.error is not None
        assert gone.error.code == "NOT_FOUND"
        remote.close()
        assert len(one.peer.items) + len(two.peer.items) == 20
        assert len(one.peer.metadata) + len(two.peer.metadata) <= 2


def test_progress_is_heard_of_an_image_in_chunks() -> None:
    """Who asks for progress has the image streamed and hears the stages of the seam."""
    heard: list[tuple[Stage, float]] = []
    with open_peer() as door:
        remote = RemoteInference(door.target)
        request = DiagnoseRequest("a", b"image", progress=lambda stage, percent: heard.append((stage, percent)))
        assert remote.submit(request).result(30).decision == "ACCEPT"
        remote.close()
    assert [stage for stage, _ in heard if stage is not Stage.RECEIVED] == [Stage.DECODING, Stage.DONE]
    assert len(door.peer.opened) == 1
