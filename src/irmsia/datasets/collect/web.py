"""Asking addresses: every request of every source goes through here (`irmsia.datasets.collect.addresses` checks them).

One client for JSON, tables and files. Addresses are validated and dialled as validated, redirects too; secrets stay with the host
they were given for; hosts are asked at a limited rate; failed requests are made again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from irmsia.errors import SourceFailedError
from irmsia.settings.tree import CollectSettings

MAX_REPLY_BYTES = 256 * 1024 * 1024
OK: frozenset[int] = frozenset({200})


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer that fits into memory. ``headers`` in lower case; ``url`` without query, after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""

    def text(self) -> str:
        """The body as UTF-8; a byte order mark is dropped."""
        return self.body.decode("utf-8-sig", "replace")

    def json(self) -> Any:
        """The body as JSON; null where it is empty (NBIA's way to say that nothing was found).

        Raises:
            SourceFailedError: it is none.
        """
        if not self.body.strip():
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise SourceFailedError("the source's answer is no JSON") from None


class Web:
    """Asks public addresses. Safe between threads."""

    def __init__(self, settings: CollectSettings) -> None:
        self.settings = settings

    def ask(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        accept: Collection[int] = OK,
        limit: int = MAX_REPLY_BYTES,
        method: str | None = None,
    ) -> Reply:
        """GET ``url`` (with ``form``: POST it as application/x-www-form-urlencoded) and read the whole answer.

        Args:
            url: absolute.
            params: added to its query.
            headers: to this host alone.
            form: fields of a POST.
            accept: statuses that are answers; others are errors.
            limit: bytes of the body.
            method: HEAD, or what else ``form`` does not tell.

        Raises:
            AddressRefusedError: an address, or a redirect, that must not be asked.
            SourceFailedError: another status, after the retries.
            LimitExceededError: more than ``limit`` bytes.
            TimedOutError, UnavailableError: no answer in time, or no connection.
        """
        raise NotImplementedError
