"""Makes ``import timm`` work beside a torchvision without compiled operators.

A torchvision wheel built for another torch (PyPI's CUDA build beside a CPU torch) lacks its C++ operators; importing it
then dies while it registers shape functions for ``torchvision::nms``. Nothing here uses those operators, so the
registration alone is skipped. Import this module before timm; where the operators are there, it does nothing.
"""

import sys
import types

_REGISTRATIONS = "torchvision._meta_registrations"


def has_operators() -> bool:
    """Return whether torchvision's compiled operators are registered or can be loaded."""
    try:
        import torchvision.extension
    except (ImportError, RuntimeError):
        _forget_torchvision()
        return False
    return bool(torchvision.extension._has_ops())


def apply_shim() -> bool:
    """Skip torchvision's shape registrations where its operators are missing; return whether that was needed."""
    if has_operators():
        return False
    sys.modules.setdefault(_REGISTRATIONS, types.ModuleType(_REGISTRATIONS))
    return True


def _forget_torchvision() -> None:
    """Drop what a failed import left behind, so that the next import starts afresh."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


apply_shim()
