"""F1: a decoder of a real server is killed, hangs or runs out of memory while 20 good clients ask beside it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

from irmsia.client import DicomDiagnosticClient
from irmsia.errors import LimitExceededError, QuarantinedError, TimedOutError, WorkerDiedError
from irmsia.findings.types import Diagnosis
from irmsia.imaging.limits import MIB
from irmsia.imaging.phantoms import qa_set
from tests.e2e.conftest import Platform
from tests.faults.long_image import make_long_image
from tests.faults.watching import PATIENCE_S, busy_child, living, until, until_idle
from tests.imaging.samples import picture

WORKERS = 2
CHILDREN = WORKERS + 1  # and a spare one
GOOD_CLIENTS = 20
RESPAWN_S = 5.0  # ten times the pass line
FRAME_S = 5.0
GOOD = qa_set()[0].data

PlatformOf = Callable[..., Platform]


@pytest.fixture
def server(platform_of: PlatformOf) -> tuple[psutil.Process, str]:
    """Return the process of a server with two workers, and its address."""
    platform = platform_of(
        IRMSIA_ENGINE__WORKERS=str(WORKERS),
        IRMSIA_LIMITS__FRAME_SECONDS=str(FRAME_S),
        IRMSIA_LIMITS__CHILD_BYTES=str(256 * MIB),
    )
    process, target = platform.serve()
    return psutil.Process(process.pid), target


@contextmanager
def _good_clients(target: str) -> Iterator[list[Future[Diagnosis]]]:
    """20 clients, each with a connection of its own, that ask for one good image each."""

    def ask() -> Diagnosis:
        with DicomDiagnosticClient(target) as client:
            return client.diagnose_dicom(GOOD, timeout=PATIENCE_S)

    with ThreadPoolExecutor(GOOD_CLIENTS) as threads:
        yield [threads.submit(ask) for _ in range(GOOD_CLIENTS)]


def _all_answered(good: list[Future[Diagnosis]]) -> bool:
    answers = [one.result(PATIENCE_S) for one in good]
    return len(answers) == GOOD_CLIENTS and all(answer.decision is not None for answer in answers)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_killed_decoder_costs_its_item_alone(server: tuple[psutil.Process, str], number: signal.Signals) -> None:
    """WORKER_DIED for the item, every good client answered, another child at once; after two deaths QUARANTINED."""
    process, target = server
    poison = make_long_image(f"killed by {number.name}")
    with DicomDiagnosticClient(target) as client:
        for _ in range(2):
            until_idle(process, CHILDREN)
            doomed = client.submit(poison, timeout=PATIENCE_S)
            victim = busy_child(process)
            with _good_clients(target) as good:
                victim.send_signal(number)
                with pytest.raises(WorkerDiedError):
                    doomed.result(PATIENCE_S)
                respawned = until(lambda: len(living(process)) == CHILDREN)
                assert _all_answered(good)
            assert respawned < RESPAWN_S
            assert victim.pid not in living(process)
        began = time.monotonic()
        with pytest.raises(QuarantinedError):
            client.diagnose_dicom(poison, timeout=PATIENCE_S)
        assert time.monotonic() - began < FRAME_S
        assert client.diagnose_dicom(GOOD, timeout=PATIENCE_S).decision is not None


def test_a_hanging_decoder_costs_its_item_alone(server: tuple[psutil.Process, str]) -> None:
    """A stopped child is ended at the frame limit: TIMED_OUT, every good client answered, another in its place."""
    process, target = server
    until_idle(process, CHILDREN)
    with DicomDiagnosticClient(target) as client:
        doomed = client.submit(make_long_image("hangs"), timeout=PATIENCE_S)
        victim = busy_child(process)
        victim.suspend()
        with _good_clients(target) as good:
            with pytest.raises(TimedOutError):
                doomed.result(PATIENCE_S)
            assert _all_answered(good)
        until(lambda: victim.pid not in living(process) and len(living(process)) == CHILDREN)


def test_a_decoder_out_of_memory_costs_its_item_alone(server: tuple[psutil.Process, str]) -> None:
    """More than the child may use, by its real limit: LIMIT_EXCEEDED, every good client answered."""
    _, target = server
    large = picture(np.zeros((9_900, 9_900, 3), np.uint8), "PNG", compress_level=1)
    with DicomDiagnosticClient(target) as client, _good_clients(target) as good:
        with pytest.raises(LimitExceededError):
            client.diagnose_dicom(large, timeout=PATIENCE_S)
        assert _all_answered(good)
        assert client.diagnose_dicom(GOOD, timeout=PATIENCE_S).decision is not None
