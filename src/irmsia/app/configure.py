"""The settings of this process, and the server that runs here: what even the lightest command needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from irmsia import telemetry
from irmsia.errors import InvalidRequestError, UnavailableError
from irmsia.server.run_file import find_running
from irmsia.settings.tree import Settings

AUTO = "auto"


def read_settings(
    *, runtime: str | None = None, client: Mapping[str, Path | None] | None = None, **server: Any
) -> Settings:
    """Build the settings tree from the environment, with what the command line says of it on top.

    Also points the log at standard error as the settings say.

    Raises:
        InvalidRequestError: a setting is malformed; the message names the settings, never their values.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        names = sorted({"IRMSIA_" + "__".join(str(part) for part in item["loc"]).upper() for item in error.errors()})
        raise InvalidRequestError(f"malformed settings: {', '.join(names)}") from None
    telemetry.configure(settings.log.level, settings.log.format)
    engine = {} if runtime is None else {"runtime": runtime}
    return settings.model_copy(
        update={
            "server": settings.server.model_copy(update=_given(server)),
            "client": settings.client.model_copy(update=_given(client or {})),
            "engine": settings.engine.model_copy(update=engine),
        }
    )


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def find_servers(settings: Settings, servers: str | Sequence[str]) -> tuple[str, ...]:
    """``HOST:PORT`` of each server meant: as it is named, or for ``auto`` the one that runs here.

    Raises:
        UnavailableError: none runs here.
    """
    named = [servers] if isinstance(servers, str) else servers
    return tuple(dict.fromkeys(_find_server(settings, server) for server in named))


def _find_server(settings: Settings, server: str) -> str:
    target = running_target(settings) if server == AUTO else server
    if target is None:
        raise UnavailableError("no server runs here; start one with `irmsia serve` or name it with --server HOST:PORT")
    return target


def running_target(settings: Settings) -> str | None:
    """``HOST:PORT`` of the server that runs here and became ready last, or null."""
    running = find_running(settings.home)
    return running.grpc_target if running is not None else None
