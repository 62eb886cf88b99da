"""The k-th call to the operating system fails, every other one works: full disk, broken disk, no descriptor, no memory.

Calls are those of Python's `os` by which files are made, and of the file objects that `os.fdopen` gives. Removing a
file is not among them: where that fails nothing can tidy up.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ERRORS: dict[str, Callable[[], BaseException]] = {
    "ENOSPC": lambda: OSError(errno.ENOSPC, "planted"),
    "EIO": lambda: OSError(errno.EIO, "planted"),
    "EMFILE": lambda: OSError(errno.EMFILE, "planted"),
    "MemoryError": MemoryError,
}
_CALLS = (
    "open",
    "fsync",
    "replace",
    "rename",
    "link",
    "mkdir",
    "fstat",
    "listdir",
    "scandir",
    "dup",
    "pread",
    "pwrite",
    "read",
)
_MOST_CALLS = 400


class Counter:
    """Counts calls and fails the ``k``-th one."""

    def __init__(self, k: int, make_error: Callable[[], BaseException]) -> None:
        self.calls = 0
        self._k = k
        self._make_error = make_error

    @property
    def reached(self) -> bool:
        """Whether the fault came."""
        return self.calls >= self._k

    def tick(self) -> None:
        """One more call."""
        self.calls += 1
        if self.calls == self._k:
            raise self._make_error()

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call`` that is counted first."""

        def counted(*arguments: Any, **options: Any) -> Any:
            self.tick()
            return call(*arguments, **options)

        return counted


class _CountedFile:
    """A file object whose writing is counted."""

    def __init__(self, file: Any, counter: Counter) -> None:
        self._file = file
        self.write = counter.wrap(file.write)
        self.read = counter.wrap(file.read)
        self.flush = counter.wrap(file.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _CountedFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


@contextmanager
def failing(counter: Counter) -> Iterator[None]:
    """Within, the ``k``-th call fails; only for code of one thread."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _CALLS:
            patch.setattr(os, name, counter.wrap(getattr(os, name)))
        opened = io.open
        patch.setattr(os, "fdopen", lambda *given, **named: _CountedFile(opened(*given, **named), counter))
        patch.setattr(io, "open", counter.wrap(opened))  # what `Path.read_bytes` calls
        yield


def each_call(
    make_error: Callable[[], BaseException], operation: Callable[[], object]
) -> Iterator[BaseException | None]:
    """Run ``operation`` with its first call failing, then its second, until none is left; yield what each run raised.

    No run may leave a descriptor open.
    """
    for k in range(1, _MOST_CALLS):
        counter = Counter(k, make_error)
        before = _descriptors()
        raised: BaseException | None = None
        with failing(counter):
            try:
                operation()
            except BaseException as error:  # noqa: BLE001 - the caller looks at it
                raised = error
        if not counter.reached:
            assert raised is None
            assert k > 1, "nothing was counted"
            return
        assert _descriptors() <= before, f"call {k} left a descriptor open"
        yield raised
    raise AssertionError("the operation never ended")


def temporary_files(folder: Path) -> list[str]:
    """Names below ``folder`` of files or folders that a write should have removed."""
    return sorted(path.name for path in folder.rglob("*") if path.name.endswith(".tmp"))


def _descriptors() -> set[str]:
    links = [path for path in Path("/proc/self/fd").iterdir() if path.exists()]
    return {f"{path.name} {path.readlink()}" for path in links if path.is_symlink()}
