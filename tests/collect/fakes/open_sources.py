"""The stand-ins of TCIA and IDC, served for a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.collect.fakes.contents import Series, collections
from tests.collect.fakes.faults import Faulty
from tests.collect.fakes.nbia import Archive
from tests.collect.fakes.s3 import ObjectStore, objects_of
from tests.collect.fakes.serving import serve


@dataclass(frozen=True)
class OpenArchive:
    """A served NBIA. ``url``: what `CollectSettings.nbia_url` takes."""

    archive: Archive
    app: Faulty
    url: str


@dataclass(frozen=True)
class OpenStore:
    """A served S3. ``url``: what `CollectSettings.s3_url` takes."""

    store: ObjectStore
    app: Faulty
    url: str


@contextmanager
def open_nbia(series: tuple[Series, ...] | None = None) -> Iterator[OpenArchive]:
    """NBIA with ``series``, or with all of `collections`."""
    archive = Archive(collections() if series is None else series)
    app = archive.app()
    with serve(app) as url:
        yield OpenArchive(archive, app, f"{url}/nbia-api/services")


@contextmanager
def open_s3(series: tuple[Series, ...] | None = None, *, page: int = 1000) -> Iterator[OpenStore]:
    """S3 with the buckets of IDC that hold ``series``, or all of `collections`."""
    store = ObjectStore(objects_of(collections() if series is None else series), page=page)
    app = store.app()
    with serve(app) as url:
        yield OpenStore(store, app, url)
