"""The catalogue of data, as the settings say where it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from irmsia.datasets.catalogue import Catalogue
from irmsia.errors import InvalidRequestError, from_system
from irmsia.settings.tree import Settings
from irmsia.store import open_database

DATABASE = "irmsia.db"


@contextmanager
def open_catalogue(settings: Settings) -> Iterator[Catalogue]:
    """The datasets of ``settings.database_url``; unless set, of ``irmsia.db`` in ``IRMSIA_HOME``, made where missing.

    Raises:
        InvalidRequestError, StorageFullError: ``IRMSIA_HOME`` cannot be written; and what `open_database` raises.
    """
    engine = open_database(_address(settings))
    try:
        yield Catalogue(engine)
    finally:
        engine.dispose()


def _address(settings: Settings) -> str | Path:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise from_system(error, "IRMSIA_HOME cannot be used", InvalidRequestError) from None
    return settings.home / DATABASE
