"""The settings tree."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from irmsia.settings.tree import Settings


def test_the_environment_reaches_every_level(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """IRMSIA_HOME and nested variables set their fields."""
    monkeypatch.setenv("IRMSIA_HOME", str(tmp_path))
    monkeypatch.setenv("IRMSIA_LIMITS__FRAMES", "7")
    monkeypatch.setenv("IRMSIA_SERVER__GRPC_PORT", "50099")
    settings = Settings()
    assert (settings.home, settings.limits.frames, settings.server.grpc_port) == (tmp_path, 7, 50099)
    assert settings.limits.nesting == 64  # its neighbours keep their defaults


def test_the_tree_is_frozen() -> None:
    """Nobody changes a setting while the platform runs."""
    with pytest.raises(ValidationError):
        Settings().server.grpc_port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"), [("LIMITS__FRAMES", "0"), ("SERVER__PORT", "70000"), ("LOG__LEVEL", "LOUD")]
)
def test_values_out_of_range_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A malformed setting is an error at start, not later."""
    monkeypatch.setenv(f"IRMSIA_{name}", value)
    with pytest.raises(ValidationError):
        Settings()
