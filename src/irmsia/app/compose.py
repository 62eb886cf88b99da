"""Settings -> objects. The one place where a local or a remote implementation is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from irmsia.app.configure import find_servers, running_target
from irmsia.app.ready import model_maker
from irmsia.app.remote import RemoteInference
from irmsia.app.remote_doors import open_server_doors
from irmsia.bundles.load import Bundle
from irmsia.bundles.store import BundleStore
from irmsia.errors import InvalidRequestError, from_system
from irmsia.findings.naming import find_model
from irmsia.imaging.guard import DecoderPool
from irmsia.imaging.pseudonym import load_or_create_key
from irmsia.imaging.types import ImageInfo
from irmsia.inference.engine import Engine
from irmsia.inference.observer import Observer
from irmsia.inference.plan import make_plan
from irmsia.inference.protocol import InferenceService
from irmsia.server.run_file import RunningServer, list_running
from irmsia.settings.tree import ClientSettings, EngineSettings, Settings


@contextmanager
def open_service(
    settings: Settings, server: str | Sequence[str] | None, *, at_most: int | None = None, model: str | None = None
) -> Iterator[InferenceService]:
    """What answers: the engine in this process, or the servers named by ``server`` (``HOST:PORT``, or ``auto``).

    Args:
        settings: the tree.
        server: null for this process.
        at_most: how many images will be asked; no more workers than that are started.
        model: the model that every request will name; null for the active one.

    Raises:
        UnavailableError: no server answers.
        ModelNotFoundError, BundleRejectedError: there is no such model, in this process or at the server.
    """
    if server:
        with open_remote(find_servers(settings, server), settings.client) as remote:
            if model is not None:
                find_model(model, remote.models())
            yield remote
    else:
        workers = min(settings.engine.workers, at_most or settings.engine.workers)
        load = partial(BundleStore(settings.home).load, model)
        with open_pool(settings, workers) as pool, open_engine(settings, pool, workers, load=load) as engine:
            yield engine


@dataclass(frozen=True, slots=True)
class Doors:
    """Every door that is up, by name, and a reader of headers for what no answer carries."""

    services: Mapping[str, InferenceService]
    inspect: Callable[[bytes], ImageInfo]


@contextmanager
def open_doors(settings: Settings, server: str | Sequence[str] | None) -> Iterator[Doors]:
    """This process, and every door of each server that ``server`` names; null takes the one that runs here, if any.

    Raises:
        UnavailableError: a server that was named does not answer.
    """
    here = running_target(settings)
    targets = find_servers(settings, server) if server else ([here] if here is not None else [])
    workers = settings.engine.workers
    with ExitStack() as stack:
        remote: dict[str, InferenceService] = {}
        for target in targets:
            doors = stack.enter_context(open_server_doors(target, _running_at(settings, target), settings.client))
            place = f" {target}" if len(targets) > 1 else ""
            remote |= {f"{name}{place}": door for name, door in doors.items()}
        pool = stack.enter_context(open_pool(settings, workers))
        engine = stack.enter_context(open_engine(settings, pool, workers))
        yield Doors({"process": engine, **remote}, pool.inspect)


def _running_at(settings: Settings, target: str) -> RunningServer | None:
    """The run file of the server at ``target``, if it runs here: gRPC alone does not tell where its HTTP door is."""
    return next((server for server in list_running(settings.home) if server.grpc_target == target), None)


@contextmanager
def open_remote(target: str | Sequence[str], tls: ClientSettings | None = None) -> Iterator[RemoteInference]:
    """Servers of which one has answered once, or UnavailableError."""
    remote = RemoteInference(target, tls=tls)
    try:
        remote.health()
        yield remote
        remote.close()
    finally:
        remote.close(timeout=0)


@contextmanager
def open_pool(settings: Settings, workers: int) -> Iterator[DecoderPool]:
    """Decoder children, gone afterwards.

    Raises:
        InvalidRequestError, StorageFullError: ``IRMSIA_HOME`` cannot be written, so there is no pseudonym key.
        UnsafeSettingsError: others may read the key.
    """
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = load_or_create_key(settings.home)
    except (OSError, MemoryError) as error:
        raise from_system(error, "IRMSIA_HOME cannot be used", InvalidRequestError) from None
    pool = DecoderPool(workers, settings.limits, pseudonym_key=key)
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def open_engine(
    settings: Settings,
    pool: DecoderPool,
    workers: int,
    *,
    load: Callable[[], Bundle] | None = None,
    observer: Observer | None = None,
) -> Iterator[Engine]:
    """An engine whose model answers. Admitted work is answered at the end, but not after an error or Ctrl-C.

    ``load`` gives its bundle; null for the active one. ``observer`` hears of every request.

    Raises:
        ModelNotFoundError, BundleRejectedError: there is no model to answer with.
    """
    own = _with_workers(settings.engine, workers)
    load = load or BundleStore(settings.home).load
    plan = make_plan(own)
    engine = Engine(pool, load, own, make=model_maker(settings, plan.streams, plan.batch), observer=observer)
    try:
        engine.start(warm=workers > 1)
        engine.wait_ready()
        yield engine
        engine.close()
    except BaseException:
        pool.close()  # so that no worker waits for an answer that nobody wants any more
        raise
    finally:
        engine.close(timeout=0)


def _with_workers(engine: EngineSettings, workers: int) -> EngineSettings:
    return engine.model_copy(update={"workers": workers})
