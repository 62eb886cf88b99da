"""The database is opened, migrated once, durable; and says what is wrong in words of ours."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, event, insert, inspect, text

from irmsia import errors
from irmsia.store import open_database
from irmsia.store.database import reading, writing
from irmsia.store.schema import HEAD, VERSION_TABLE, dataset, metadata, sample
from tests.databases import PostgresqlServer

SECRET = "hunter2"
OPEN_OFTEN = """
import sys
from irmsia.store import open_database
sys.stdin.read()  # until everybody is there
open_database(sys.argv[1]).dispose()
"""
OPEN_LOUD = """
import logging, sys
logging.basicConfig(level="DEBUG")
from pathlib import Path
from irmsia.datasets.catalogue import Catalogue
from irmsia.datasets.record import Record
from irmsia.store import open_database
engine = open_database(sys.argv[1])
Catalogue(engine).create("set", Path("/canary"))
Catalogue(engine).commit("set", [Record("canary/canary.png", 1, 1, "ab" * 32, label="canary")], operation="scan")
engine.dispose()
"""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An open database."""
    opened = open_database(database_url, wait_seconds=0.2)
    yield opened
    opened.dispose()


def _row(name: str) -> dict[str, object]:
    return {"name": name, "root": "/", "created_at": "", "about": {}, "head": 0}


def test_the_migrations_make_the_tables_of_the_code(engine: Engine) -> None:
    """A database that was migrated has every table, column, constraint and index of the code, and no other."""
    with engine.connect() as connection:
        absent = () if engine.dialect.name == "sqlite" else ("ix_sample_listed",)
        options = {
            "version_table": VERSION_TABLE,
            "compare_server_default": True,
            "include_object": lambda thing, name, *_: name not in absent,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert context.get_current_revision() == HEAD
        assert compare_metadata(context, metadata) == []
        found = inspect(connection)
        for table in metadata.tables.values():
            [key] = {tuple(key["constrained_columns"]) for key in found.get_foreign_keys(table.name)} or {()}
            assert key == (() if table is dataset else ("dataset_id",))
        assert {one["name"] for one in found.get_indexes("sample")}.isdisjoint(absent)
        uniques = {tuple(one["column_names"]) for one in found.get_unique_constraints("sample")}
        assert uniques == {("dataset_id", "path", "since")}


def test_opening_again_changes_nothing(database_url: str) -> None:
    """What was written is there when the database is opened the next time."""
    first = open_database(database_url)
    with writing(first) as connection:
        connection.execute(insert(dataset).values(_row("a")))
    first.dispose()
    second = open_database(database_url)
    with reading(second) as connection:
        assert connection.execute(dataset.select()).one().name == "a"
    second.dispose()


def test_many_processes_may_open_a_new_database_at_once(database_url: str) -> None:
    """One of them migrates, the others wait for it; all of them work afterwards."""
    command = [sys.executable, "-c", OPEN_OFTEN, database_url]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    said = [child.stderr.read() for child in children if child.stderr is not None]
    for child in children:
        assert child.stderr is not None
        child.stderr.close()
    assert [child.wait() for child in children] == [0] * 4, said


def test_one_open_row_a_path(engine: Engine) -> None:
    """The database itself refuses a second current row of one file."""
    row = {"dataset_id": 1, "path": "a", "size": 1, "modified_ns": 1, "sha256": "", "facts": "{}"}
    with pytest.raises(errors.InternalError), writing(engine) as connection:
        key = connection.execute(insert(dataset).values(_row("a")).returning(dataset.c.id)).scalar_one()
        connection.execute(insert(sample), [row | {"dataset_id": key, "since": since} for since in (1, 2)])
    with reading(engine) as connection:
        assert connection.execute(dataset.select()).all() == []


def test_sqlite_is_durable_private_and_lets_readers_be(tmp_path: Path) -> None:
    """WAL, every commit synced, references checked; the file belongs to its user alone, and so do those beside it."""
    engine = open_database(tmp_path / "irmsia.db")
    with reading(engine) as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
        assert pragmas == ["wal", 2, 1]
        with writing(engine) as writer:
            writer.execute(insert(dataset).values(_row("a")))
            assert connection.execute(dataset.select()).all() == []
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    engine.dispose()
    assert modes == {name: 0o600 for name in ("irmsia.db", "irmsia.db-wal", "irmsia.db-shm")}
    assert [path.name for path in tmp_path.iterdir()] == ["irmsia.db"]


def test_a_newer_schema_is_refused(database_url: str) -> None:
    """A database that a later version has migrated is left alone."""
    engine = open_database(database_url)
    with writing(engine) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(errors.NotConfiguredError, match="newer version"):
        open_database(database_url)
    with reading(engine) as connection:
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == "9999"
    engine.dispose()


def test_tables_of_something_else_are_left_alone(database_url: str) -> None:
    """A database in which another program has a table of one of our names is refused before anything is made."""
    engine = open_database(database_url)
    with writing(engine) as connection:
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    with pytest.raises(errors.NotConfiguredError, match="something else"):
        open_database(database_url)
    engine.dispose()


def test_what_is_locked_is_unavailable(engine: Engine, database_url: str) -> None:
    """A writer that must wait for too long says so, and nothing of it is done."""
    other = open_database(database_url, wait_seconds=0.2)
    with writing(engine) as connection:
        connection.execute(insert(dataset).values(_row("a")))
        with pytest.raises(errors.UnavailableError, match="in use"), writing(other) as second:
            second.execute(insert(dataset).values(_row("a")))
    other.dispose()
    with reading(engine) as connection:
        assert len(connection.execute(dataset.select()).all()) == 1


def test_a_full_disk_is_storage_full(tmp_path: Path) -> None:
    """SQLITE_FULL; the database stands as it was and goes on when there is room again."""
    engine = open_database(tmp_path / "irmsia.db")

    def limit(pages: int) -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count=40"))
    engine.dispose()
    with pytest.raises(errors.StorageFullError), writing(engine) as connection:
        connection.execute(insert(dataset).values(_row("a") | {"root": "x" * 1_000_000}))
    limit(1_000_000)
    with writing(engine) as connection:
        connection.execute(insert(dataset).values(_row("b")))
        assert [row.name for row in connection.execute(dataset.select())] == ["b"]
    engine.dispose()


@pytest.mark.parametrize("content", [b"this is no database, " * 300, b"SQLite format 3\0" + bytes(range(256)) * 40])
def test_what_is_no_database_is_said_to_be_damaged(tmp_path: Path, content: bytes) -> None:
    """The file is not touched."""
    file = tmp_path / "irmsia.db"
    file.write_bytes(content)
    with pytest.raises(errors.UnavailableError, match="damaged"):
        open_database(file)
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "sqlite://",
        "sqlite:///:memory:",
        f"sqlite:///x.db?mode={SECRET}",
        f"mysql://root:{SECRET}@host/name",
        f"postgresql+asyncpg://root:{SECRET}@host/name",
        f"postgresql://root:{SECRET}@host:port/name",
        f"sqlite:////nowhere/{SECRET}/irmsia.db",
        f"sqlite:///{SECRET}\0",
    ],
)
def test_addresses_that_name_no_database_are_refused_without_being_repeated(url: str) -> None:
    """The message says what to do and holds neither the address nor its password."""
    with pytest.raises(errors.InvalidRequestError) as caught:
        open_database(url)
    assert SECRET not in caught.value.message and "host" not in caught.value.message


def test_postgresql_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is the command that installs it."""
    for name in [name for name in sys.modules if name.split(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(errors.NotConfiguredError, match=r'pip install "irmsia\[postgresql\]"'):
        open_database(f"postgresql://root:{SECRET}@host/name")


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """No socket, no server."""
    with pytest.raises(errors.UnavailableError, match="does not answer"):
        open_database(f"postgresql://irmsia@/x?host={tmp_path}")


@pytest.mark.parametrize("wrong", [{"name": "nothing"}, {"name": "postgres", "user": SECRET}])
def test_a_wrong_name_or_user_points_at_the_settings(postgresql: PostgresqlServer, wrong: dict[str, str]) -> None:
    """It is the address that must be corrected, and the message does not repeat it."""
    with pytest.raises(errors.UnavailableError, match="IRMSIA_DATABASE_URL") as caught:
        open_database(postgresql.url(**wrong))
    assert SECRET not in caught.value.message


def test_a_database_that_may_only_be_read_is_a_matter_of_settings(postgresql: PostgresqlServer) -> None:
    """A user without the right to make tables is told so."""
    url = postgresql.make_database()
    postgresql.execute("CREATE ROLE guest LOGIN")
    with pytest.raises(errors.NotConfiguredError, match="rights"):
        open_database(url.replace("irmsia@", "guest@"))


def test_a_server_that_was_restarted_is_found_again(postgresql: PostgresqlServer) -> None:
    """Connections that died are replaced; what was acknowledged is there."""
    engine = open_database(postgresql.make_database())
    with writing(engine) as connection:
        connection.execute(insert(dataset).values(_row("a")))
    postgresql.stop()
    with pytest.raises(errors.UnavailableError), reading(engine) as connection:
        connection.execute(dataset.select())
    postgresql.start()
    with reading(engine) as connection:
        assert connection.execute(dataset.select()).one().name == "a"
    engine.dispose()


def test_a_connection_that_dies_in_a_transaction_is_unavailable(postgresql: PostgresqlServer) -> None:
    """Nothing of the transaction is there; the next one works."""
    engine = open_database(postgresql.make_database())
    with pytest.raises(errors.UnavailableError), writing(engine) as connection:
        connection.execute(insert(dataset).values(_row("a")))
        postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        connection.execute(insert(dataset).values(_row("b")))
    with writing(engine) as connection:
        connection.execute(insert(dataset).values(_row("c")))
        assert [row.name for row in connection.execute(dataset.select())] == ["c"]
    engine.dispose()


def test_a_text_that_the_database_s_encoding_lacks_is_refused(postgresql: PostgresqlServer) -> None:
    """An old database of one byte a character cannot keep every name; it says so."""
    engine = open_database(postgresql.make_database(encoding="LATIN1"))
    with pytest.raises(errors.InvalidRequestError, match="character"), writing(engine) as connection:
        connection.execute(insert(dataset).values(_row("a") | {"root": "漢"}))
    engine.dispose()


def test_not_even_the_loudest_log_holds_a_statement(database_url: str) -> None:
    """At level DEBUG neither migrations nor statements are logged: these hold paths and labels."""
    command = [sys.executable, "-c", OPEN_LOUD, database_url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert "canary" not in done.stdout + done.stderr
    assert "INSERT" not in done.stderr and "alembic" not in done.stderr
    assert done.stdout == ""


def test_an_unknown_failure_is_internal_and_silent(engine: Engine) -> None:
    """What the database says of a wrong statement reaches no message."""
    with pytest.raises(errors.InternalError) as caught, reading(engine) as connection:
        connection.execute(text(f"SELECT * FROM {SECRET}"))
    assert SECRET not in caught.value.message


def test_the_oldest_sqlite_error_code_is_looked_up_by_its_primary_part() -> None:
    """Extended codes count as what they extend."""
    from irmsia.store.failures import to_leaf

    error = sqlite3.OperationalError("x")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY_SNAPSHOT
    assert isinstance(to_leaf(error), errors.UnavailableError)
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    assert isinstance(to_leaf(error), errors.UnavailableError)
    assert isinstance(to_leaf(None), errors.InternalError)
