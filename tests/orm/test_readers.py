"""Iterators go on over the connection they began with; it is closed after the last of them."""

import asyncio
import random

import pytest

from tests.conftest import require
from tests.support.waiting import DEADLINE

TENANT = "SELECT current_setting('app.tenant', true)"
SET = "SELECT set_config('app.tenant', 'own', false)"
CURSORS = "SELECT count(*) FROM pg_cursors"
TITLES = [f"book {n}" for n in range(1, 8)]


@pytest.fixture
def connect(site, postgres):
    async def start(settings=None, **more):
        return await site(postgres.database(**{"CONN_MAX_AGE": None, **(settings or {})}), **more)

    return start


async def until(condition):
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.05)


POOL = {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 0, "max_size": 3, "timeout": 20}}}


@pytest.mark.parametrize("settings", [{}, POOL], ids=["plain", "pool"])
async def test_one_replaced_connection_at_a_time_where_readers_overlap(connect, postgres, settings):
    if settings:
        require(module="psycopg_pool")
    client = await connect(settings, AIO_ORM_THREADS=1)
    async with client.socket() as reader, client.socket() as next_reader:
        first = await reader("iterate", 3)
        for _ in range(6):
            await client.steps(("sql", SET))
            (others,) = await client.steps(("sql", TENANT))
            assert others[0][0] in (None, "")
            next_first = await next_reader("iterate", 3)
            if not settings:  # a pool itself replaces those that were closed
                assert len(postgres.backends()) == 2
            rest = await reader("more", 9)
            assert [book["title"] for book in first + rest] == TITLES
            if not settings:
                await until(lambda: len(postgres.backends()) == 1)
            reader, next_reader, first = next_reader, reader, next_first


@pytest.mark.parametrize("begin", [["begin"], ["sql", "BEGIN"], ["set_autocommit", False]])
async def test_a_transaction_that_is_left_open_is_rolled_back_under_its_readers(
    request, site, database, begin
):
    client = await site(database(CONN_MAX_AGE=None), AIO_ORM_THREADS=1, AIO_TRANSACTION_TIMEOUT=0.5)
    async with client.socket() as reader:
        first = await reader("iterate", 3)
        await client.steps(begin, ("create", "withdrawn"))
        assert "withdrawn" not in (await client.steps("titles"))[0]
        if "postgresql" in database()["ENGINE"]:
            postgres = request.getfixturevalue("postgres")
            assert not postgres.query("SELECT 1 FROM pg_locks WHERE locktype = 'transactionid'")
        rest = await reader("more", 4)
        assert [book["title"] for book in first + rest] == TITLES


async def test_an_iterator_that_is_dropped_waits_for_no_query_on_the_event_loop(connect, postgres):
    """Its cursor can be closed only between the queries of others on its connection."""
    import psycopg

    client = await connect(AIO_ORM_THREADS=1)
    async with client.socket() as reader:
        await reader("iterate", 3)
        with psycopg.connect(host=str(postgres.folder), user="postgres", dbname="test") as holding:
            holding.execute("SELECT pg_advisory_xact_lock(5)")
            waiting = asyncio.create_task(
                client.steps(("sql", "SELECT pg_advisory_xact_lock(5)"), ("sql", CURSORS))
            )
            await until(lambda: postgres.query("SELECT 1 FROM pg_locks WHERE NOT granted"))
            await reader("drop")
            await client.steps("threads")
        assert (await waiting)[1] == [[0]]


async def test_an_iterator_that_is_collected_inside_a_query_waits_for_its_end(connect):
    """psycopg has locked the connection then, and closing a cursor takes that lock."""
    client = await connect(AIO_ORM_THREADS=1)
    assert (await client.steps("collect_inside_a_query", ("sql", CURSORS)))[1] == [[0]]


class Mixture:
    """Clients that read, change sessions, begin transactions and leave, as a seed has it."""

    def __init__(self, client, seed):
        self.client = client
        self.random = random.Random(seed)

    def pause(self):
        return ("pause", self.random.choice([0, 0, 0.01, 0.05]))

    async def read(self):
        async with self.client.socket() as step:
            for _ in range(10):
                number = self.random.randint(1, 6)
                books = await step("iterate", number)
                await step(*self.pause())
                assert (await step("sql", TENANT))[0][0] in (None, "")
                if self.random.random() < 0.3:
                    await step("drop")
                else:
                    books += await step("more", 7 - number)
                    assert [book["title"] for book in books] == TITLES

    async def change(self):
        for _ in range(10):
            *_, own = await self.client.steps(("sql", SET), self.pause(), ("sql", TENANT))
            assert own == [["own"]]

    async def transact(self):
        for _ in range(10):
            steps = ["begin", ("create", "withdrawn"), self.pause()]
            if self.random.random() < 0.7:
                steps.append("roll_back")
            *_, titles, tenant = await self.client.steps(*steps, "titles", ("sql", TENANT))
            assert ("withdrawn" in titles) is (steps[-1] != "roll_back")
            assert tenant[0][0] in (None, "")

    async def leave(self):
        for n in range(10):
            kind = self.random.choice([("iterate", 3), ("sql", SET), "begin"])
            name = f"{id(self)} {n}"
            steps = kind, ("set", name), ("pause", 0.1), ("set", f"{name} over")
            leaving = asyncio.create_task(self.client.steps(*steps))
            await self.client.steps(("wait", name))
            leaving.cancel()
            await self.client.steps(("wait", f"{name} over"))


# Each thread's connection, and one for each iterator: those of the readers, and of one who left.
MOST = 3 + 5 + 1
LARGE_POOL = {"min_size": 0, "max_size": MOST, "timeout": 20}


@pytest.mark.parametrize("pool", [None, LARGE_POOL], ids=["plain", "pool"])
async def test_a_mixture(connect, postgres, pool):
    if pool:
        require(module="psycopg_pool")
    settings = {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": pool}} if pool else {}
    client = await connect(settings, AIO_ORM_THREADS=3, AIO_TRANSACTION_TIMEOUT=0.5)
    mixture = Mixture(client, seed=1)
    actors = [mixture.read, mixture.change, mixture.transact, mixture.leave]
    numbers = [0] * 5 + [1] * 4 + [2] * 2 + [3]
    open_at_once = 0
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        tasks = [group.create_task(actors[n]()) for n in numbers]
        while not all(task.done() for task in tasks):
            (now,) = await client.steps("connections")
            open_at_once = max(open_at_once, now)
            await asyncio.sleep(0.05)
    assert open_at_once <= MOST

    async def is_tidy():
        if not pool:
            return len(postgres.backends()) <= 3
        (stats,) = await client.steps("pool")
        return stats["pool_available"] == stats["pool_size"]

    async with asyncio.timeout(DEADLINE):
        while not await is_tidy():
            await asyncio.sleep(0.05)
