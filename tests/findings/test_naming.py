"""One way to name a model, at every door."""

from __future__ import annotations

import pytest

from irmsia.errors import ModelNotFoundError
from irmsia.findings.naming import find_model
from irmsia.findings.types import ModelRef

ONE = ModelRef(id="ab" * 32, name="lung", version="1.0")
TWO = ModelRef(id="ab" * 4 + "cd" * 28, name="lung", version="2.0")
HEX = ModelRef(id="ef" * 32, name="abababab", version="1.0")
MODELS = (ONE, TWO, HEX, ONE)


@pytest.mark.parametrize(
    ("name", "meant"),
    [(ONE.id, ONE), ("lung:1.0", ONE), ("lung:2.0", TWO), (TWO.id[:9], TWO), ("efefefef", HEX), ("abababab:1.0", HEX)],
)
def test_finds(name: str, meant: ModelRef) -> None:
    """By id, start of id and NAME:VERSION; a model that is listed twice is one."""
    assert find_model(name, MODELS) is meant


@pytest.mark.parametrize(
    "name", ["", "heart", "lung:3.0", "efefefe", "EF" * 32, "*", "lung:", ":1.0", "../lung", "f" * 65]
)
def test_unknown(name: str) -> None:
    """MODEL_NOT_FOUND; seven digits are too few."""
    with pytest.raises(ModelNotFoundError, match="there is no model"):
        find_model(name, MODELS)


@pytest.mark.parametrize("name", ["lung", "abababab"])
def test_ambiguous(name: str) -> None:
    """MODEL_NOT_FOUND, with what could be meant; a name that looks like the start of an id is no exception."""
    with pytest.raises(ModelNotFoundError, match=r"several models.*lung:1\.0"):
        find_model(name, MODELS)
