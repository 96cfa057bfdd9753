"""The connections of the fallback's threads: few, kept, replaced when broken, closed at the end."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.gateway.client import Client
from tests.orm.conftest import SETTINGS
from tests.orm.fallback_site import CLEAN
from tests.support.server import DEADLINE, serve, until

THREADS = 4
ORM_THREADS = 2
CLIENTS = 16
SITE = "the site"  # what its connections are called: those of the test stay about for a moment
SLEEPING = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


class Site:
    """A site in a process of its own, and a client of it."""

    def __init__(self, server, session):
        self.server = server
        self._session = session

    def request(self, path):
        return self._session.get(f"http://127.0.0.1:{self.server.address}{path}")

    async def get(self, path):
        """The status, and which backend of the database has answered, if one has."""
        async with self.request(path) as response:
            if response.status != 200:
                return response.status, None
            return response.status, (await response.json())["backend"]

    async def load(self, number, *paths):
        """So many requests for the paths in turn, by many clients; what get() gave for each."""
        answers = []
        numbers = iter(range(number))

        async def client():
            for number in numbers:
                answers.append(await self.get(paths[number % len(paths)]))

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return answers

    async def use_every_thread(self):
        """The backends of all threads; every request has to succeed."""
        answers = await self.load(3 * THREADS, "/query/0.05/")
        assert {status for status, _ in answers} == {200}
        return {backend for _, backend in answers}


def backends(postgres):
    """The process ids of the site's connections."""
    rows = postgres.query("SELECT pid FROM pg_stat_activity WHERE application_name = %s", SITE)
    return {pid for (pid,) in rows}


def terminate_backends(postgres):
    """Cut the site's connections; returns how many they were, once they are gone."""
    sql = (
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name = %s"
    )
    return len(postgres.query(sql, SITE))


def serve_site(postgres, database, folder, runner_options=None):
    database = postgres.database(OPTIONS={"application_name": SITE}, **database)
    settings = {
        "DATABASES": {"default": database},
        "ROOT_URLCONF": "tests.orm.fallback_site",
        "AIO_ORM_THREADS": ORM_THREADS,
    }
    options = {"options": {"threads": THREADS}, "runner_options": runner_options or {}}
    command = ["-m", "tests.orm.fallback_site", "{fd}"]
    for argument in settings, options:
        command.append(json.dumps(argument).replace("{", "{{").replace("}", "}}"))
    return serve(command, folder / "log", settings=SETTINGS)


@pytest.fixture
async def session():
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(DEADLINE)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


@pytest.fixture
async def start(tmp_path, postgres, session):
    """Start a site with such settings of its database, and such options of the runner."""
    async with AsyncExitStack() as stack:

        async def start(database, **runner_options):
            # A server that was killed leaves connections behind for a moment.
            await until(lambda: not backends(postgres))
            server = stack.enter_context(serve_site(postgres, database, tmp_path, runner_options))
            return Site(server, session)

        yield start


async def most_backends(postgres, answers):
    """The most connections at any moment until the answers are there, and those answers."""
    answers = asyncio.ensure_future(answers)
    most = 0
    while not answers.done():
        most = max(most, len(await asyncio.to_thread(backends, postgres)))
    return most, await answers


@pytest.fixture(
    scope="class",
    params=[{"CONN_MAX_AGE": None}, {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}],
    ids=["unchecked", "checked"],
)
def server(request, postgres, tmp_path_factory):
    with serve_site(postgres, request.param, tmp_path_factory.mktemp("site")) as server:
        server.checks = "CONN_HEALTH_CHECKS" in request.param
        yield server


class TestKept:
    """Connections that CONN_MAX_AGE keeps.

    One that the database has closed costs one request, unless connections are checked, and no
    more. That is what Django promises under any server: it looks after a connection that has had
    an error when the request is over, and into one that has had none only for CONN_HEALTH_CHECKS.
    """

    @pytest.fixture
    async def site(self, server, session, postgres):
        """The site, with a connection for every thread and no other."""
        site = Site(server, session)
        async with asyncio.timeout(DEADLINE):
            while await site.use_every_thread() != backends(postgres):
                pass
        return site

    async def test_never_more_than_threads_and_each_is_used_again(self, site, postgres):
        before = backends(postgres)
        most, answers = await most_backends(postgres, site.load(200, "/query/0.01/"))
        assert most == THREADS
        assert set(answers) == {(200, backend) for backend in before}

    @pytest.mark.parametrize("how", ["cut", "restart"])
    async def test_closed_by_the_database(self, site, postgres, how):
        before = backends(postgres)
        if how == "cut":
            assert terminate_backends(postgres) == THREADS
        else:
            postgres.stop()
            postgres.start()
        answers = await site.load(50, "/query/0.01/")
        failures = sum(status == 500 for status, _ in answers)
        assert failures == (0 if site.server.checks else THREADS)
        after = {backend for status, backend in answers if status == 200}
        assert not after & before
        assert len(after) == THREADS
        assert backends(postgres) == after

    async def test_used_while_the_database_is_away(self, site, postgres):
        postgres.stop()
        try:
            answers = await site.load(50, "/query/0.01/")
        finally:
            postgres.start()
        assert {status for status, _ in answers} == {500}
        # Requests that fail at once may all have been of one thread: it has lost its connection.
        answers = await site.load(50, "/query/0.01/")
        failures = sum(status == 500 for status, _ in answers)
        assert failures < (1 if site.server.checks else THREADS)
        assert len(await site.use_every_thread()) == THREADS

    async def test_broken_under_a_query(self, site, postgres):
        queries = [asyncio.ensure_future(site.get("/query/10/")) for _ in range(THREADS)]
        await until(lambda: len(postgres.query(SLEEPING)) == THREADS)
        assert terminate_backends(postgres) == THREADS
        assert await asyncio.gather(*queries) == [(500, None)] * THREADS
        assert len(await site.use_every_thread()) == THREADS


async def test_orm_threads_have_connections_beside(start, postgres):
    site = await start({"CONN_MAX_AGE": None})
    load = site.load(200, "/query/0.01/", "/orm/0.01/")
    most, answers = await most_backends(postgres, load)
    assert {status for status, _ in answers} == {200}
    assert most == THREADS + ORM_THREADS
    assert len({backend for _, backend in answers}) == THREADS + ORM_THREADS


async def test_streams_have_theirs_only_while_they_last(start, postgres):
    site = await start({"CONN_MAX_AGE": None})
    async with AsyncExitStack() as stack:
        for _ in range(3 * THREADS):
            response = await stack.enter_async_context(site.request("/stream/"))
            await response.content.readline()
        assert len(backends(postgres)) == 3 * THREADS
    await until(lambda: len(backends(postgres)) <= THREADS)
    assert await site.use_every_thread() == backends(postgres)


async def test_one_that_is_too_old_is_replaced(start, postgres):
    site = await start({"CONN_MAX_AGE": 1})
    before = await site.use_every_thread()
    await asyncio.sleep(1)
    assert not before & await site.use_every_thread()
    await until(lambda: len(backends(postgres)) <= THREADS)


async def test_none_is_kept_by_default(start, postgres):
    site = await start({"CONN_MAX_AGE": 0})
    answers = await site.load(50, "/query/0/")
    assert len({backend for _, backend in answers}) == 50
    await until(lambda: not backends(postgres))


class TestEnd:
    """What an application that has ended leaves behind in a process that goes on: nothing."""

    async def clean_up(self, site):
        site.server.process.send_signal(signal.SIGTERM)
        await until(lambda: CLEAN in site.server.output())

    async def leave(self, site):
        site.server.process.send_signal(signal.SIGTERM)
        assert await site.server.wait() == 0
        assert "ResourceWarning" not in site.server.output()

    async def test_threads_that_are_idle(self, start, postgres):
        site = await start({"CONN_MAX_AGE": None})
        assert await site.use_every_thread() == backends(postgres)
        await self.clean_up(site)
        await until(lambda: not backends(postgres))
        await self.leave(site)

    async def test_a_thread_that_finishes_its_work(self, start, postgres):
        site = await start({"CONN_MAX_AGE": None})
        await site.use_every_thread()
        request = asyncio.ensure_future(site.get("/query/0.5/"))
        await until(lambda: postgres.query(SLEEPING))
        await self.clean_up(site)
        assert (await request)[0] == 200
        await until(lambda: not backends(postgres))
        await self.leave(site)

    async def test_a_thread_that_is_left_behind(self, start, postgres):
        """It closes its connection when it has done what kept it."""
        site = await start({"CONN_MAX_AGE": None}, shutdown_timeout=0.1)
        await site.use_every_thread()
        async with Client("127.0.0.1", site.server.address) as client:
            await client.send(b"GET /query/2.5/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: postgres.query(SLEEPING))
            await self.clean_up(site)
            assert await client.at_end()
        assert "1 worker threads are still busy: left behind" in site.server.output()
        assert len(postgres.query(SLEEPING)) == 1
        await until(lambda: not backends(postgres))
        await self.leave(site)

    async def test_a_thread_that_makes_a_stream(self, start, postgres):
        site = await start({"CONN_MAX_AGE": None})
        async with site.request("/stream/") as response:
            backend = int(await response.content.readline())
            assert backends(postgres) == {backend}
            await self.clean_up(site)
            with pytest.raises(aiohttp.ClientPayloadError, match="not completed"):
                await response.read()
        await until(lambda: not backends(postgres))
        await self.leave(site)
