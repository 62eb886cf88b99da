"""The models of this machine: list and load."""

from __future__ import annotations

from dataclasses import dataclass

from irmsia.app.configure import running_target
from irmsia.app.ready import is_proven
from irmsia.bundles.load import Bundle
from irmsia.bundles.store import BundleEntry, BundleStore
from irmsia.client import DicomDiagnosticClient
from irmsia.errors import IrmsiaError
from irmsia.settings.tree import Settings


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model of this machine.

    ``state``: active, ready (may be activated or named), unproven (whole, but its golden records were not run here), or
    rejected for ``problem``. ``served``: the server that runs here answers with it; null where none runs.
    """

    entry: BundleEntry
    state: str
    problem: str | None
    served: bool | None


@dataclass(frozen=True, slots=True)
class ModelList:
    """``problem``: why the active model cannot serve; ``server_problem``: what the server that runs here says."""

    models: tuple[ModelStatus, ...]
    problem: str | None
    server_problem: str | None


def list_models(settings: Settings) -> ModelList:
    """The packaged starter, then the bundles of this machine; broken ones are listed with their problem."""
    served, server_problem = _ask_server(settings)
    entries = BundleStore(settings.home).list()
    return ModelList(
        tuple(_status(settings, entry, served) for entry in entries), _active_problem(settings), server_problem
    )


def load_model(settings: Settings, name: str | None) -> Bundle:
    """The bundle that ``name`` means (`irmsia.findings.naming`), null for the active one, checked whole.

    Raises:
        ModelNotFoundError, BundleRejectedError: there is none, or it is not to be trusted.
    """
    return BundleStore(settings.home).load(name)


def _status(settings: Settings, entry: BundleEntry, served: frozenset[str] | None) -> ModelStatus:
    state = "active" if entry.active else "ready"
    if entry.bundle is None:
        state = "rejected"
    elif not entry.packaged and not is_proven(settings, entry.id):
        state = "unproven"
    return ModelStatus(entry, state, entry.problem, None if served is None else entry.id in served)


def _active_problem(settings: Settings) -> str | None:
    try:
        BundleStore(settings.home).load()
    except IrmsiaError as error:
        return f"{error.code}: {error.message}"
    return None


def _ask_server(settings: Settings) -> tuple[frozenset[str] | None, str | None]:
    """The ids that the server here answers with, and its problem; nulls where none runs."""
    target = running_target(settings)
    if target is None:
        return None, None
    tls = settings.client
    try:
        with DicomDiagnosticClient(target, ca=tls.ca, certificate=tls.certificate, key=tls.key) as client:
            return frozenset(model.id for model in client.get_available_models()), client.health_check().problem
    except IrmsiaError:  # it is just starting or stopping
        return None, None
