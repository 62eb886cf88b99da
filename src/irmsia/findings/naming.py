"""How a model is named at every door: its id, the start of its id, ``NAME`` or ``NAME:VERSION``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol, TypeVar

from irmsia.errors import ModelNotFoundError

_START_OF_ID = re.compile(r"[0-9a-f]{8,64}")


class Named(Protocol):
    """What `find_model` looks at."""

    @property
    def id(self) -> str:
        """64 hex digits."""
        ...

    @property
    def name(self) -> str:
        """The manifest's name."""
        ...

    @property
    def version(self) -> str:
        """The manifest's version."""
        ...


_Model = TypeVar("_Model", bound=Named)


def find_model(name: str, models: Iterable[_Model]) -> _Model:
    """The one of ``models`` that ``name`` means; at least 8 digits of an id are needed.

    Raises:
        ModelNotFoundError: none is meant, or more than one.
    """
    found = {model.id: model for model in models if _is_called(model, name)}
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise ModelNotFoundError(f"there is no model {name[:80]!r}")
    several = ", ".join(f"{model.name}:{model.version} ({model.id[:12]})" for model in found.values())
    raise ModelNotFoundError(f"several models are called {name[:80]!r}: {several[:200]}")


def _is_called(model: Named, name: str) -> bool:
    if name in {model.name, f"{model.name}:{model.version}"}:
        return True
    return _START_OF_ID.fullmatch(name) is not None and model.id.startswith(name)
