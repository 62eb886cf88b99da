"""IRMSIA: medical-imaging AI in one package. Research use only, not a medical device."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("irmsia")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

DISCLAIMER = "Research use only. Not a medical device."

__all__ = ["DISCLAIMER", "__version__"]
