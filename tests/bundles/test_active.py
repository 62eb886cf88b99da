"""active.json is whole, ours and in turn, or it is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from irmsia.bundles.active import MAX_HISTORY, Activation, go_back, read_active, set_active
from irmsia.errors import BundleRejectedError, UnsafeSettingsError

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def test_there_and_back_again(tmp_path: Path) -> None:
    """Null is the packaged starter; the same again adds nothing; going back forgets the last step, to the first."""
    assert read_active(tmp_path) == Activation(None, ())
    for identity in (A, B, B, None):
        set_active(tmp_path, identity)
    assert read_active(tmp_path) == Activation(None, (None, A, B))
    for identity in (B, A, None):
        assert go_back(tmp_path, identity).identity == identity
    with pytest.raises(BundleRejectedError, match="nothing was active before"):
        go_back(tmp_path, None)


def test_another_activation_in_between_is_not_undone(tmp_path: Path) -> None:
    """Who verified A and goes back must not land elsewhere."""
    for identity in (A, B, C):
        set_active(tmp_path, identity)
    with pytest.raises(BundleRejectedError, match="meanwhile"):
        go_back(tmp_path, A)
    assert read_active(tmp_path).identity == C


def test_history_is_bounded(tmp_path: Path) -> None:
    """The oldest are forgotten."""
    activation = Activation()
    for number in range(MAX_HISTORY + 50):
        activation = activation.then(f"{number:064x}")
    assert len(activation.previous) == MAX_HISTORY
    assert activation.back().identity == f"{MAX_HISTORY + 48:064x}"


def test_the_old_form_is_read(tmp_path: Path) -> None:
    """A file that knows no history yet."""
    (tmp_path / "active.json").write_text(json.dumps({"id": A}))
    assert read_active(tmp_path) == Activation(A, ())


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    """Forty activations from eight threads: each is in the history once."""
    identities = [f"{number:064x}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda identity: set_active(tmp_path, identity), identities))
    found = read_active(tmp_path)
    assert sorted([*found.previous[1:], found.identity]) == identities  # type: ignore[type-var,list-item]


def _write(text: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text.encode() if isinstance(text, str) else text)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "empty": _write(""),
    "truncated": _write(json.dumps({"id": A, "previous": [B]})[:40]),
    "a list": _write("[]"),
    "no id": _write('{"previous": []}'),
    "a path": _write('{"id": "../../etc"}'),
    "upper case": _write(json.dumps({"id": "A" * 64})),
    "a number": _write('{"id": 1}'),
    "more": _write(json.dumps({"id": A, "run": "x"})),
    "twice": _write(f'{{"id": "{A}", "id": "{B}"}}'),
    "NaN": _write('{"id": NaN}'),
    "huge number": _write('{"id": 1e400}'),
    "history of paths": _write(json.dumps({"id": A, "previous": ["../x"]})),
    "history is text": _write(json.dumps({"id": A, "previous": A})),
    "deep": _write("[" * 100_000),
    "not UTF-8": _write(b'{"id": "\xff"}'),
    "huge": _write(" " * 100_000),
    "link": lambda path: path.symlink_to("/etc/hostname"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_and_can_be_replaced(tmp_path: Path, kind: str) -> None:
    """Nobody guesses what was meant, nothing hangs, no path is said; an explicit activation puts a good one there."""
    path = tmp_path / "active.json"
    HOSTILE[kind](path)
    with pytest.raises(BundleRejectedError) as caught:
        read_active(tmp_path)
    assert str(tmp_path) not in caught.value.message
    if kind != "folder":
        assert set_active(tmp_path, B) == read_active(tmp_path) == Activation(B, ())


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    """UNSAFE_SETTINGS, until an activation has made it ours again."""
    set_active(tmp_path, A)
    (tmp_path / "active.json").chmod(0o666)
    with pytest.raises(UnsafeSettingsError, match="chmod"):
        read_active(tmp_path)
    set_active(tmp_path, B)
    assert read_active(tmp_path).identity == B
