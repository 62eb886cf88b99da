"""The journal of a study: every answer on disk as soon as it is there, so that a run that was killed goes on.

Two files. One holds the answers and nothing else, a line of JSON each, appended and synced one by one. The other stands
beside it and says what they were asked with; whoever writes holds its lock, which ends with the process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from irmsia import durable
from irmsia.errors import InvalidRequestError, from_system
from irmsia.findings.types import Diagnosis
from irmsia.wire.json import diagnosis_from_json, diagnosis_to_line

_VERSION = 1
_WAY_OUT = "choose another file, or --restart to begin anew"


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What every answer of one journal was asked with: the model's id and the options, for the paths as given."""

    model: str
    inputs: tuple[str, ...]
    maps: bool = False
    term: str | None = None
    all_findings: bool = False


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One answer of a journal, without what is large: `Journal.read` gives it whole.

    ``place``: where its line begins, in bytes. ``pixels``: one SHA-256 over the digests of its frames, null where the
    file could not be read. ``renamed``: its line has another name for the input.
    """

    place: int
    answer: Diagnosis
    pixels: str | None
    renamed: bool = False

    def named(self, name: str) -> StudyRow:
        """The same row for a file that is now called ``name``."""
        if name == self.answer.input:
            return self
        return replace(self, answer=replace(self.answer, input=name), renamed=True)


class Journal:
    """Answers in a file that only grows. Made by `open_journal`."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._path = path
        try:
            self.found = self._load()
            self._places = [row.place for row in self.found]
            self._end = os.fstat(self._descriptor).st_size
        except BaseException:
            self.close()
            raise

    def append(self, answer: Diagnosis) -> StudyRow:
        """Write one answer; it survives a power cut when this returns.

        Raises:
            StorageFullError, InvalidRequestError: it cannot be written. The next run cuts off what was begun.
        """
        place, line = self._end, diagnosis_to_line(answer).encode("ascii") + b"\n"
        with written():
            left = memoryview(line)
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        self._end += len(line)
        self._places.append(place)
        return _row(place, answer)

    def read(self, row: StudyRow) -> Diagnosis:
        """The whole answer of ``row``, with the row's name for its input."""
        with self._path.open("rb") as file:
            file.seek(row.place)
            return replace(_parsed(file.readline()), input=row.answer.input)

    def settle(self, rows: Sequence[StudyRow]) -> None:
        """Let the file hold ``rows`` alone, in this order. It is replaced whole, and only where it holds anything else.

        The journal takes no more answers afterwards.

        Raises:
            OSError: what the file system says.
        """
        if [row.place for row in rows] != self._places or any(row.renamed for row in rows):
            lines = (diagnosis_to_line(self.read(row)).encode("ascii") + b"\n" for row in rows)
            durable.write_parts(self._path, lines)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _load(self) -> list[StudyRow]:
        """What earlier runs answered. A last line that a run died over is cut off.

        Raises:
            InvalidRequestError: another line is no answer.
        """
        rows, place = [], 0
        with self._path.open("rb") as file:
            for line in file:
                try:
                    rows.append(_row(place, _parsed(line)))
                except InvalidRequestError:
                    if file.read(1):
                        raise InvalidRequestError(
                            f"line {len(rows) + 1} of the results is damaged; {_WAY_OUT}"
                        ) from None
                    os.ftruncate(self._descriptor, place)
                    os.fsync(self._descriptor)
                    break
                place += len(line)
        return rows


@contextmanager
def open_journal(path: Path, beside: Path, header: RunHeader, *, restart: bool = False) -> Iterator[Journal]:
    """The journal at ``path`` whose header stands at ``beside``, for this process alone.

    ``restart`` drops what stands there.

    Raises:
        InvalidRequestError: the answers there were asked with something else, or are none of ours, or another run is
            writing them, or nothing can be written there.
        StorageFullError: no room is left.
    """
    if not restart and _is_filled(path) and not beside.exists():
        raise InvalidRequestError(f"the file is there already and was not begun by this command; {_WAY_OUT}")
    with _locked(beside) as descriptor:
        with written():
            if restart and path.exists():
                durable.write_bytes(path, b"")
            _agree(descriptor, header, fresh=not _is_filled(path))
            journal = Journal(path)
            durable.sync_directory(path.parent)
        try:
            yield journal
        finally:
            journal.close()


@contextmanager
def written() -> Iterator[None]:
    """What the system says to a file of results, as a leaf of the tree."""
    try:
        yield
    except (OSError, MemoryError) as error:
        raise from_system(error, "the results cannot be written", InvalidRequestError) from None


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """An open descriptor of ``path`` that no other process holds; the system lets go when this one dies."""
    with written():
        descriptor = _lock(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise InvalidRequestError(
                "another run is writing these results; wait for it, or choose another file"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # a run that ended between the two calls has removed this file


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _agree(descriptor: int, header: RunHeader, *, fresh: bool) -> None:
    """Write ``header`` where there are no answers yet; else it must be the one that they were asked with."""
    asked = {"version": _VERSION, **json.loads(json.dumps(asdict(header)))}
    if fresh:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asked, indent=1).encode("ascii") + b"\n", 0)
        os.fsync(descriptor)
        return
    stood = _header(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    changed = sorted(key for key in asked.keys() | stood.keys() if asked.get(key) != stood.get(key))
    if changed:
        raise InvalidRequestError(f"the answers in this file were asked otherwise ({', '.join(changed)}); {_WAY_OUT}")


def _header(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _parsed(line: bytes) -> Diagnosis:
    """The answer of one whole line; `InvalidRequestError` for anything else."""
    try:
        data = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not {"input", "decision", "error"} <= data.keys():
        raise InvalidRequestError("no answer")
    return diagnosis_from_json(data)


def _row(place: int, answer: Diagnosis) -> StudyRow:
    evidence = answer.evidence
    digests = evidence.frame_sha256 if evidence is not None else ()
    return StudyRow(
        place,
        replace(
            answer,
            explanation=None,
            segmentation=None,
            frames=answer.frames and replace(answer.frames, items=()),
            evidence=evidence and replace(evidence, frame_sha256=()),
        ),
        hashlib.sha256(" ".join(digests).encode()).hexdigest() if digests else None,
    )
