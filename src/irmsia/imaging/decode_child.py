"""The decoder child: one process that reads hostile bytes so that no other has to. Started by `irmsia.imaging.guard`.

It takes its socket as a file descriptor, limits its own memory, and handles one input at a time until the pool closes
the socket.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from irmsia.errors import IrmsiaError, LimitExceededError
from irmsia.imaging.decode_input import read_descriptor
from irmsia.imaging.decode_task import Order, Task, Terms
from irmsia.imaging.decode_wire import (
    Accepted,
    Done,
    Failed,
    PeerGoneError,
    Ready,
    Tick,
    receive_bytes,
    receive_message,
    send_message,
)

TICK_EVERY_S = 0.1
_TOO_LARGE = "the image takes more memory than a decoder may use"
_ALARM_GRACE_S = 5.0
_MAY_KEEP = 128 << 20
_OPENCV_NO_MEMORY = -4  # cv2.Error.StsNoMem


# pydicom imports every codec plug-in it finds; none is used here, and one of them aborts on some files.
_UNUSED_PLUGINS = ("gdcm", "jpeg_ls", "libjpeg", "openjpeg", "pylibjpeg", "rle")


def main(descriptor: int) -> None:
    """Serve the pool until it closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    _silence()
    link = socket.socket(fileno=descriptor)
    with contextlib.suppress(PeerGoneError):
        terms: Terms = receive_message(link, trusted=True)
        _warm_up()
        _limit_memory(terms.limits.child_bytes)
        begins_with = _private_bytes()
        send_message(link, Ready())
        while not _serve(link, terms, begins_with):
            pass


def _silence() -> None:
    """Codecs print; nothing of it may reach the terminal or a log."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def _warm_up() -> None:
    """Import what the first image would import, so that it does not pay for it."""
    import cv2

    cv2.setNumThreads(1)
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(_UNUSED_PLUGINS))  # None there makes their import fail
    from irmsia.imaging.formats import bmp, dicom, jpeg, nifti, png, tiff

    del bmp, dicom, jpeg, nifti, png, tiff


def _limit_memory(allowed: int) -> None:
    """At most ``allowed`` bytes beyond what the process holds now.

    RLIMIT_DATA counts private memory and no mapped file; the address space is limited as well, more widely.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return
    held = {line.split(":")[0]: line.split()[1] for line in status.read_text().splitlines() if line.startswith("Vm")}
    for limit, name in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
        # Mapped input files count as address space: room for one of the largest allowed size.
        room = allowed if limit == resource.RLIMIT_DATA else 2 * allowed + (1 << 30)
        _, hard = resource.getrlimit(limit)
        most = int(held[name]) * 1024 + room
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _private_bytes() -> int:
    """Resident bytes of this process alone: no mapped file, no shared library. 0 where the system does not tell."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * mmap.PAGESIZE


def _serve(link: socket.socket, terms: Terms, began_with: int) -> bool:
    """Handle one input; True when this was the last one.

    Some codecs keep the picture of a stream that they fail on. A child that grew this way would turn good images down
    at its memory limit one day, so it gives way to a fresh one.
    """
    order: Order = receive_message(link, trusted=True)
    clock = _Clock(link, terms.limits.frame_seconds, told=order.told)
    answer = _answer(link, order, terms, clock)
    clock.stop()
    last = _private_bytes() - began_with > min(_MAY_KEEP, terms.limits.child_bytes // 4)
    send_message(link, replace(answer, last=last))
    return last


def _answer(link: socket.socket, order: Order, terms: Terms, clock: _Clock) -> Done | Failed:
    try:
        data = _input_of(link, order)
    except IrmsiaError as error:
        send_message(link, Accepted())
        return Failed(error.code, error.message)
    send_message(link, Accepted())
    return _run(order.task, data, terms, clock)


def _input_of(link: socket.socket, order: Order) -> memoryview:
    """The input's bytes.

    Raises:
        NotReadableError, LimitExceededError: the file gives an error, or does not fit into this process.
    """
    try:
        return memoryview(receive_bytes(link)) if not order.by_descriptor else _read_descriptor(link)
    except MemoryError:
        raise LimitExceededError(_TOO_LARGE) from None


def _read_descriptor(link: socket.socket) -> memoryview:
    _, descriptors, _, _ = socket.recv_fds(link, 1, 1)
    if not descriptors:
        raise PeerGoneError
    with os.fdopen(descriptors[0], "rb") as file:
        return read_descriptor(file.fileno())


def _run(task: Task, data: memoryview, terms: Terms, clock: _Clock) -> Done | Failed:
    try:
        clock.tick(0, 1)
        return Done(task.run(data, terms.limits, terms.pseudonym_key, clock.tick))
    except IrmsiaError as error:
        return Failed(error.code, error.message)
    except MemoryError:
        return Failed("LIMIT_EXCEEDED", _TOO_LARGE)
    except Exception as error:  # noqa: BLE001 - the edge of the process: a bug of ours is not the end of the child
        if getattr(error, "code", None) == _OPENCV_NO_MEMORY:
            return Failed("LIMIT_EXCEEDED", _TOO_LARGE)
        return Failed("INTERNAL", "reading the image failed")


class _Clock:
    """Tells the pool that frames pass, and ends this very process where none does and nobody else ends it."""

    def __init__(self, link: socket.socket, frame_seconds: float, *, told: bool) -> None:
        self._link = link
        self._says_when_decoded = told
        self._most = frame_seconds + _ALARM_GRACE_S
        self._told = time.monotonic()

    def tick(self, index: int, total: int) -> None:
        """``index`` frames of ``total`` are decoded, and the next one begins."""
        signal.setitimer(signal.ITIMER_REAL, self._most)
        now = time.monotonic()
        if now - self._told >= TICK_EVERY_S or (self._says_when_decoded and index == total):
            self._told = now
            send_message(self._link, Tick(index, total))

    def stop(self) -> None:
        """The input is done with."""
        signal.setitimer(signal.ITIMER_REAL, 0)
