"""A server with the demo data for each module, and a client that can log in."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import require
from tests.support.postgres import postgres  # noqa: F401 (a fixture)
from tests.system.example.client import Client, log_in
from tests.system.example.server import DEADLINE, EMBEDDED, GUNICORN, Server, manage


@pytest.fixture(scope="session")
def demo_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("demo") / "db.sqlite3"
    manage(database, "demo")
    return database


@contextmanager
def serve(
    command: tuple[str, ...], demo_database: Path, folder: Path, **variables: str
) -> Iterator[Server]:
    database = folder / "db.sqlite3"
    shutil.copy(demo_database, database)
    server = Server(command, database, folder / "log", **variables)
    server.start()
    try:
        yield server
    except BaseException:
        server.kill()
        raise
    if server.is_running:  # a test may have ended it
        server.stop()


@pytest.fixture(scope="module")
def site(demo_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The site at the root, under gunicorn."""
    require(module="gunicorn")
    with serve(GUNICORN, demo_database, tmp_path_factory.mktemp("site")) as server:
        yield server


@pytest.fixture(scope="module")
def embedded(demo_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The site under /site/ of another program."""
    with serve(EMBEDDED, demo_database, tmp_path_factory.mktemp("embedded")) as server:
        yield server


@pytest.fixture
async def make_client() -> AsyncIterator[Callable[[Server], Client]]:
    """Makes clients with cookies of their own."""
    clients: list[Client] = []

    def make(server: Server) -> Client:
        client = Client(
            server.url,
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # an IP address may set cookies
            timeout=aiohttp.ClientTimeout(DEADLINE),
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def guest(site: Server, make_client: Callable[[Server], Client]) -> Client:
    return make_client(site)


@pytest.fixture
async def admin(site: Server, make_client: Callable[[Server], Client]) -> Client:
    client = make_client(site)
    await log_in(client)
    return client
