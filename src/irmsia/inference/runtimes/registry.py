"""Runtimes by name. Adding one is one new module here that registers itself, and its row in ``_ROWS``."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from irmsia.errors import InvalidRequestError
from irmsia.inference.runtimes.protocol import Runtime

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class _Row:
    """``module`` is imported when first asked for: a runtime costs time and memory that most commands need not pay.

    ``library``: what must be installed, by the ``extra`` of this package (empty: the core brings it), under one of the
    names ``packages``, of which those in ``cards`` can compute on a graphics card.
    """

    module: str
    library: str
    packages: tuple[str, ...]
    extra: str = ""
    cards: frozenset[str] = frozenset()


_ROWS = {
    "openvino": _Row("irmsia.inference.runtimes.openvino", "openvino", ("openvino",)),
    "onnxruntime": _Row(
        "irmsia.inference.runtimes.onnxruntime",
        "onnxruntime",
        ("onnxruntime", "onnxruntime-gpu"),
        "onnxruntime",
        frozenset({"onnxruntime-gpu"}),
    ),
}
"""In the order in which ``auto`` takes them."""

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
    """Every name that `make_runtime` knows, sorted; the library of some may not be installed."""
    return tuple(sorted({*_ROWS, *_FACTORIES}))


def installed_runtimes() -> tuple[str, ...]:
    """The names whose library is installed, the preferred one first. Nothing is imported."""
    return tuple(name for name, row in _ROWS.items() if _is_installed(row.library))


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:  # an import hook that hides it says so
        return False


def resolve_runtime(name: str) -> str:
    """``name`` itself, or for ``auto`` the preferred runtime that is installed.

    Raises:
        InvalidRequestError: there is none of that name, or its library is not installed.
    """
    installed = installed_runtimes()
    if name == AUTO and installed:
        return installed[0]
    if name in _ROWS and name not in installed:
        row = _ROWS[name]
        what = f"irmsia[{row.extra}]" if row.extra else row.library
        raise InvalidRequestError(f"the runtime {name} is not installed here; pip install '{what}'")
    if name not in runtime_names():
        raise InvalidRequestError(f"there is no runtime {name[:40]!r}; there are: {', '.join(runtime_names())}")
    return name


def is_accelerated(name: str) -> bool:
    """Whether the runtime of this name, or ``auto``, is to compute on a graphics card here; False where there is none.

    The library is imported only where the package that can do so is installed.
    """
    try:
        exact = resolve_runtime(name)
    except InvalidRequestError:
        return False
    cards = _ROWS[exact].cards if exact in _ROWS else frozenset()
    return any(map(_is_distributed, cards)) and make_runtime(exact).accelerated


def _is_distributed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def library_version(name: str) -> str:
    """Which package brings the runtime of this name, and its version. Nothing is imported."""
    for package in _ROWS[name].packages:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def make_runtime(name: str) -> Runtime:
    """A runtime by its name, or ``auto``. Raises as `resolve_runtime`."""
    exact = resolve_runtime(name)
    if exact not in _FACTORIES:
        importlib.import_module(_ROWS[exact].module)
    return _FACTORIES[exact]()
