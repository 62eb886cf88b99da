"""Databases of the tests: SQLite in a folder of its own, and a PostgreSQL server that is started for the run."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

NO_SERVER = "no PostgreSQL: neither initdb and postgres on the PATH nor below /usr/lib/postgresql"
ENGINES = ("sqlite", "postgresql")

_READY_SECONDS = 60.0


class PostgresqlServer:
    """One cluster below a temporary folder, reached by a socket in it; run by another user where we are root."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # Not below pytest's own folder, which other users may not enter; and short, as names of sockets must be.
        self.folder = Path(tempfile.mkdtemp(prefix="irmsia-pg-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", "data", "-U", "irmsia", "--auth=trust", "--encoding=UTF8", "--no-sync")

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}", "-c", "fsync=off"]
        command = [self._programs / "postgres", "-D", "data", *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdout=log, stderr=log, **self._as
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text("utf-8"))
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stop it and remove what it wrote."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_database(self, *, encoding: str = "UTF8") -> str:
        """The address of a new empty database."""
        name = f"test{next(self._numbers)}"
        how = "" if encoding == "UTF8" else f" ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        self.execute(f"CREATE DATABASE {name}{how}")
        return self.url(name)

    def url(self, name: str, user: str = "irmsia") -> str:
        """The address of a database of that name."""
        return f"postgresql://{user}@/{name}?host={self.folder}"

    def execute(self, statement: str) -> None:
        """Run one statement as the server's owner."""
        import psycopg

        with psycopg.connect(host=str(self.folder), user="irmsia", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def _answers(self) -> bool:
        import psycopg

        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._programs / program, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False, **self._as
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)


def find_programs() -> Path | None:
    """The folder of a PostgreSQL server's programs."""
    named = shutil.which("initdb")
    folders = [Path(named).resolve().parent] if named else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A running server; without its programs the test is skipped, or fails where IRMSIA_REQUIRE_DATA is set."""
    programs = find_programs()
    if programs is None:
        if os.environ.get("IRMSIA_REQUIRE_DATA"):
            pytest.fail(NO_SERVER)
        pytest.skip(NO_SERVER)
    server = PostgresqlServer(programs)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, once of each kind."""
    if request.param == "postgresql":
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        return server.make_database()
    return f"sqlite:///{tmp_path}/irmsia.db"
