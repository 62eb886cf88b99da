"""The models that one engine can answer with: the active one, and others that a request may name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from irmsia.errors import BundleRejectedError
from irmsia.findings.naming import find_model
from irmsia.findings.service import ModelInfo
from irmsia.inference.model import ReadyModel, make_info
from irmsia.inference.runtimes.protocol import Session


@dataclass(frozen=True, slots=True)
class ReadyModels:
    """One moment's models. ``active`` is null where the one that served was revoked."""

    active: ReadyModel | None
    others: tuple[ReadyModel, ...] = ()

    @property
    def all(self) -> tuple[ReadyModel, ...]:
        """The active one first."""
        return (*((self.active,) if self.active is not None else ()), *self.others)

    def find(self, name: str | None) -> ReadyModel:
        """The active model, or the one that ``name`` means (`irmsia.findings.naming`).

        Raises:
            ModelNotFoundError: none is meant, or several are.
            BundleRejectedError: none is active.
        """
        if name is not None:
            by_id = {model.ref.id: model for model in self.all}
            return by_id[find_model(name, [model.ref for model in self.all]).id]
        if self.active is None:
            raise BundleRejectedError("the active model was revoked")
        return self.active

    def get(self, identity: str) -> ReadyModel | None:
        """The model of this id, if it is ready."""
        return next((model for model in self.all if model.bundle.id == identity), None)

    def with_active(self, model: ReadyModel) -> ReadyModels:
        """``model`` answers whoever names none; the one before it, who names it."""
        return ReadyModels(model, tuple(other for other in self.all if other.bundle.id != model.bundle.id))

    def with_others(self, others: Collection[ReadyModel]) -> ReadyModels:
        """``others`` answer when they are named, and no more than these."""
        active = None if self.active is None else self.active.bundle.id
        return ReadyModels(self.active, tuple(model for model in others if model.bundle.id != active))

    def without(self, identities: Collection[str]) -> ReadyModels:
        """As it was, but for the models of these ids."""
        left = [model for model in self.all if model.bundle.id not in identities]
        active = self.active if self.active in left else None
        return ReadyModels(active, tuple(model for model in left if model is not active))

    def infos(self) -> tuple[ModelInfo, ...]:
        """What a service says of them, the active one first."""
        return tuple(make_info(model, active=model is self.active) for model in self.all)


class Sessions:
    """One worker's sessions: one a model that it has answered with and that is still ready."""

    def __init__(self) -> None:
        self._open: list[tuple[ReadyModel, Session]] = []

    def of(self, model: ReadyModel, ready: Collection[ReadyModel]) -> Session:
        """The session with ``model``; those with models that are no longer ``ready`` are let go."""
        self._open = [pair for pair in self._open if pair[0] is model or any(pair[0] is other for other in ready)]
        for known, session in self._open:
            if known is model:
                return session
        session = model.compiled.open_session()
        self._open.append((model, session))
        return session

    def drop(self) -> None:
        """Open new ones next time: something went wrong."""
        self._open.clear()
