"""Runtimes by name. Adding one is one new module here that registers itself, and its row in ``_MODULES``."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from irmsia.errors import InvalidRequestError
from irmsia.inference.runtimes.protocol import Runtime

_MODULES = {"openvino": "irmsia.inference.runtimes.openvino"}
"""Imported when first asked for: a runtime costs time and memory that most commands need not pay."""

_FACTORIES: dict[str, Callable[[], Runtime]] = {}


def register_runtime(name: str) -> Callable[[Callable[[], Runtime]], Callable[[], Runtime]]:
    """Decorator: the class or function below makes the runtime ``name``.

    Raises:
        ValueError: the name is taken.
    """

    def register(factory: Callable[[], Runtime]) -> Callable[[], Runtime]:
        if name in _FACTORIES:
            raise ValueError(f"a runtime named {name!r} is registered already")
        _FACTORIES[name] = factory
        return factory

    return register


def runtime_names() -> tuple[str, ...]:
    """Every name that `make_runtime` takes, sorted."""
    return tuple(sorted({*_MODULES, *_FACTORIES}))


def make_runtime(name: str) -> Runtime:
    """A runtime by its name.

    Raises:
        InvalidRequestError: there is none of that name.
    """
    if name not in _FACTORIES and name in _MODULES:
        importlib.import_module(_MODULES[name])
    if name not in _FACTORIES:
        raise InvalidRequestError(f"there is no runtime {name[:40]!r}; there are: {', '.join(runtime_names())}")
    return _FACTORIES[name]()
