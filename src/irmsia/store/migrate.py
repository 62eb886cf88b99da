"""Brings the tables of a database to what this version needs, once, whoever else tries at the same time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection, Engine, column, func, inspect, select, table

from irmsia.errors import NotConfiguredError
from irmsia.store.schema import HEAD, VERSION_TABLE, metadata

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x49524D534941  # "IRMSIA", the key of the advisory lock


def migrate(engine: Engine, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
    """Run the migrations that the database lacks, all in one transaction of ``writing``.

    Raises:
        NotConfiguredError: a newer version made it, or its tables belong to something else.
    """
    with engine.connect() as connection:
        if _version(connection) == HEAD:
            return
    with writing() as connection:  # on SQLite the lock is the transaction itself
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        version = _version(connection)  # another process may have been faster
        if version != HEAD:
            _check_tables(connection, version)
            _upgrade(connection, version)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(select(column("version_num")).select_from(table(VERSION_TABLE))).scalar()


def _check_tables(connection: Connection, version: str | None) -> None:
    if version is None and set(metadata.tables) & set(inspect(connection).get_table_names()):
        raise NotConfiguredError(
            "the database holds tables of something else: set IRMSIA_DATABASE_URL to one of its own"
        )


def _upgrade(connection: Connection, version: str | None) -> None:
    # Only here: most commands find the tables as they should be, and Alembic takes time to load.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise NotConfiguredError("the database was made by a newer version of irmsia: update, or set another database")
    command.upgrade(config, "head")
