"""Verification finds real images in a folder, and says when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from irmsia.app.verify import verify_model
from irmsia.errors import InvalidRequestError
from irmsia.settings.tree import Settings


def test_a_folder_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    """A mistyped folder must not pass as "the images are not at hand"."""
    with pytest.raises(InvalidRequestError, match="--data") as caught:
        verify_model(Settings(home=tmp_path), None, data=tmp_path / "typo", precision="f32")
    assert str(tmp_path) not in caught.value.message
