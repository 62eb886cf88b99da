"""What a database says, as an error of ours: its own words hold statements, values and paths, and stay out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError, StatementError

from irmsia.errors import (
    InternalError,
    InvalidRequestError,
    IrmsiaError,
    LimitExceededError,
    NotConfiguredError,
    OverloadedError,
    StorageFullError,
    UnavailableError,
)

_BUSY = (UnavailableError, "the database is in use by another process; try again")
_FULL = (StorageFullError, "no room is left for the database")
_MEMORY = (OverloadedError, "the database has not enough memory")
_DAMAGED = (UnavailableError, "the database is damaged, or no database: restore it, or set IRMSIA_DATABASE_URL")
_GONE = (UnavailableError, "the database does not answer, or refuses this user or name: see IRMSIA_DATABASE_URL")
_DENIED = (NotConfiguredError, "the database cannot be opened or written: see its rights, or set IRMSIA_DATABASE_URL")
_LARGE = (LimitExceededError, "a value is too large for the database")
_TEXT = (InvalidRequestError, "a text holds a character that the database cannot keep")
_BUG = (InternalError, "the database refused a statement")

_Told = tuple[type[IrmsiaError], str]

# Primary result codes, https://www.sqlite.org/rescode.html
_SQLITE: dict[int, _Told] = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_NOMEM: _MEMORY,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_IOERR: (UnavailableError, "the database's file cannot be read or written"),
    sqlite3.SQLITE_CANTOPEN: _DENIED,
    sqlite3.SQLITE_READONLY: _DENIED,
    sqlite3.SQLITE_PERM: _DENIED,
    sqlite3.SQLITE_AUTH: _DENIED,
    sqlite3.SQLITE_TOOBIG: _LARGE,
}
# SQLSTATE, or its class of two characters: PostgreSQL manual, appendix A
_POSTGRESQL: dict[str, _Told] = {
    "08": _GONE,
    "22021": _TEXT,
    "22P05": _TEXT,
    "40": _BUSY,
    "42501": _DENIED,
    "25006": _DENIED,  # a standby, which can only be read
    "53100": _FULL,
    "53200": _MEMORY,
    "53300": (OverloadedError, "the database takes no more connections"),
    "54": _LARGE,
    "55P03": _BUSY,
    "57": _GONE,
    "58": (UnavailableError, "the database's files cannot be read or written"),
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}


@contextmanager
def typed_failures() -> Iterator[None]:
    """Turn every error of SQLAlchemy and of the drivers into a leaf.

    Raises:
        UnavailableError: locked for too long, damaged, or not reached.
        StorageFullError, OverloadedError, LimitExceededError: no room, no memory or connection, a value too large.
        NotConfiguredError: no right to read or write.
        InvalidRequestError: a text that the database cannot keep.
        InternalError: anything else.
    """
    try:
        yield
    except StatementError as error:
        if isinstance(error.orig, IrmsiaError):  # from a conversion of ours inside SQLAlchemy
            raise error.orig from None
        raise to_leaf(error.orig) from error
    except SQLAlchemyError as error:
        raise to_leaf(None) from error
    except (sqlite3.Error, UnicodeError) as error:  # where SQLAlchemy lets them through
        raise to_leaf(error) from error


def to_leaf(said: BaseException | None) -> IrmsiaError:
    """The leaf for a driver's exception; null and what is unknown become `InternalError`."""
    kind, message = _tell(said)
    return kind(message)


def _tell(said: BaseException | None) -> _Told:
    if isinstance(said, UnicodeError):
        return _TEXT
    if isinstance(said, sqlite3.Error):
        return _SQLITE.get((getattr(said, "sqlite_errorcode", None) or 0) & 0xFF, _BUG)
    if said is None or not hasattr(said, "sqlstate"):
        return _BUG
    state = said.sqlstate
    if state is None:  # psycopg itself: the server was not reached, did not let us in, or has gone
        return _GONE if type(said).__name__ in {"OperationalError", "ConnectionTimeout"} else _BUG
    return _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2]) or _BUG
