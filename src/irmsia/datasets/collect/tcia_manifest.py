"""``.tcia`` manifests, the shopping lists of TCIA's retriever: lines ``key=value``, then one Series UID a line."""

from __future__ import annotations

from pathlib import Path

from irmsia.datasets.collect.series import is_uid
from irmsia.errors import InvalidRequestError, NotFoundError, from_system

SUFFIX = ".tcia"

_LIST = "ListOfSeriesToDownload="
_MOST_BYTES = 64 * 1024 * 1024


def read_manifest(path: Path) -> tuple[str, ...]:
    """The Series UIDs of a manifest file, each once, in its order.

    Raises:
        NotFoundError: there is no such file.
        InvalidRequestError: it is no manifest, or it names no series.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise NotFoundError("there is no such manifest") from None
    except OSError as error:
        raise from_system(error, "the manifest cannot be read") from None
    if len(content) > _MOST_BYTES:
        raise InvalidRequestError("the manifest is larger than 64 MiB")
    return parse_manifest(content)


def parse_manifest(content: bytes) -> tuple[str, ...]:
    """`read_manifest` of its bytes. What the other keys say, the address of a server above all, is not looked at."""
    lines = [line.strip() for line in content.decode("utf-8-sig", "replace").splitlines()]
    if _LIST not in lines:
        raise InvalidRequestError(f"not a manifest of TCIA: no line says {_LIST}")
    uids = [line for line in lines[lines.index(_LIST) + 1 :] if line]
    if not uids or not all(is_uid(uid) for uid in uids):
        raise InvalidRequestError("the manifest lists no series, or what is no UID")
    return tuple(dict.fromkeys(uids))
