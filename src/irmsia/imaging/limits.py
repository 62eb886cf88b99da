"""The limits every reader keeps; they are settings, so they are declared in `irmsia.settings.limits`."""

from irmsia.settings.limits import MIB, ReadLimits

__all__ = ["MIB", "ReadLimits"]
