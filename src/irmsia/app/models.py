"""The models of this machine: list and load."""

from __future__ import annotations

from irmsia.bundles.load import Bundle
from irmsia.bundles.store import BundleEntry, BundleStore
from irmsia.settings.tree import Settings


def list_models(settings: Settings) -> tuple[BundleEntry, ...]:
    """The packaged starter, then the bundles of this machine; broken ones are listed with their problem."""
    return BundleStore(settings.home).list()


def load_model(settings: Settings, name: str | None) -> Bundle:
    """The bundle of that name or id, null for the active one, checked whole.

    Raises:
        ModelNotFoundError, BundleRejectedError: there is none, or it is not to be trusted.
    """
    return BundleStore(settings.home).load(name)
