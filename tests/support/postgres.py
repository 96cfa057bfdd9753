"""A PostgreSQL of the suite's own: a private cluster in a temporary folder, on a unix socket.

    @pytest.fixture
    def databases(postgres):
        return {"default": postgres.database(CONN_MAX_AGE=60)}

`postgres` is a fixture of `tests.support.postgres`; a conftest.py imports it. Tests that use it are
skipped where PostgreSQL or psycopg is missing.
"""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUICK, require
from tests.support.environment import environment
from tests.support.waiting import DEADLINE

OUTSIDE = "outside"  # what the connections of query() are called
# It's thrown away, and shared by as many connections as several servers may want.
OPTIONS = {
    "fsync": "off",
    "listen_addresses": "",
    "max_connections": "150",
    "shared_buffers": "32MB",
}


class Cluster:
    """A running PostgreSQL with one database, "test"."""

    def __init__(self, folder: Path, programs: Path, user: str | None) -> None:
        self.folder = folder
        self._programs = programs
        self._user = user
        self._data = folder / "data"

    def database(self, **settings: Any) -> dict[str, Any]:
        """An entry for DATABASES."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "test",
            "USER": "postgres",
            "HOST": str(self.folder),
            **settings,
        }

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a query from outside, over a connection of its own."""
        import psycopg

        with psycopg.connect(
            host=str(self.folder),
            user="postgres",
            dbname="test",
            autocommit=True,
            application_name=OUTSIDE,
        ) as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def backends(self) -> set[int]:
        """The process ids of the connections that others have to the database now."""
        rows = self.query(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = 'test' AND backend_type = 'client backend'"
            " AND application_name <> %s",
            OUTSIDE,
        )
        return {pid for (pid,) in rows}

    def terminate_backends(self) -> int:
        """Cut all those connections; returns how many they were, once they are gone."""
        backends = self.backends()
        for pid in backends:
            # With a timeout it waits until the process has ended, and its socket is closed.
            self.query("SELECT pg_terminate_backend(%s, %s)", pid, DEADLINE * 1000)
        return len(backends)

    def start(self) -> None:
        options = " ".join(f"-c {name}='{value}'" for name, value in OPTIONS.items())
        options += f" -k {self.folder}"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def create(self) -> None:
        self._run("initdb", "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8")

    def create_database(self) -> None:
        self._run("createdb", "-h", str(self.folder), "-U", "postgres", "test")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self.folder,
            env=environment(PGDATA=str(self._data), LC_ALL="C.UTF-8"),
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{done.stdout or ''}\n{self._log()}")

    def _log(self) -> str:
        log = self.folder / "log"
        return log.read_text() if log.exists() else ""


def find_programs() -> Path | None:
    """The folder of PostgreSQL's server programs; distributions keep it off PATH."""
    if path := shutil.which("initdb"):
        return Path(path).resolve().parent
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql*/bin")]
    found = [folder for folder in folders if (folder / "initdb").exists()]
    return max(found, key=lambda folder: int(re.sub(r"\D", "", folder.parent.name)), default=None)


def server_user() -> str | None:
    """Whom to run PostgreSQL as: it refuses to run as root."""
    return None if os.geteuid() else "postgres"


def missing_part() -> str | None:
    """What keeps a cluster from being started here, if anything does."""
    if QUICK:
        return "not in a quick run: PostgreSQL"
    if find_programs() is None:
        return "needs PostgreSQL"
    if user := server_user():
        try:
            pwd.getpwnam(user)
        except KeyError:
            return f"needs PostgreSQL's user {user}, as it refuses to run as root"
    return None


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Make a cluster, start it; end and remove it."""
    programs = find_programs()
    if programs is None:
        raise RuntimeError("There is no PostgreSQL here.")
    user = server_user()
    # A short path, as a unix socket's must be, that the server's user may enter.
    folder = Path(tempfile.mkdtemp(prefix="aiodjango-pg-"))
    cluster = Cluster(folder, programs, user)
    try:
        if user:
            shutil.chown(folder, user, user)
        cluster.create()
        cluster.start()
        try:
            cluster.create_database()
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    if reason := missing_part():
        pytest.skip(reason)
    require(module="psycopg")
    with running_cluster() as cluster:
        yield cluster
