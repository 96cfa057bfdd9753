"""How the connections of the ORM threads are opened, kept, checked and closed: as Django's are."""

import asyncio
import resource
import time

import pytest

from aiodjango.orm.work import PAUSE
from tests.conftest import THOROUGH, require
from tests.support.server import DEADLINE

THREADS = 4
EVERY = 3 * THREADS  # so many requests at once use every thread
MANY = 5000 if THOROUGH else 500  # WebSockets


async def until(condition):
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.05)


async def use_every_thread(client):
    """Returns the database's ends of the connections."""
    answers = await client.many(EVERY, ("pause", 0.05), "aget", ("pause", 0.1), "aget")
    return {answer["backend"] for _, first, _, second in answers for answer in (first, second)}


@pytest.fixture
def connect(site, postgres):
    """Start a site on PostgreSQL: with the settings of the database, and of the site."""

    async def start(settings=None, **more):
        return await site(postgres.database(**{"CONN_MAX_AGE": None, **(settings or {})}), **more)

    return start


async def test_there_are_never_more_connections_than_threads(connect, postgres):
    client = await connect(AIO_ORM_THREADS=THREADS)
    backends = set()
    for _ in range(5):
        backends |= await use_every_thread(client)
    assert len(backends) == THREADS
    assert postgres.backends() == backends


async def test_open_websockets_hold_no_connections(connect, postgres):
    client = await connect({"CONN_MAX_AGE": 0}, AIO_ORM_THREADS=THREADS)
    sockets = []
    for _ in range(300):
        ws = await client.session.ws_connect("/socket/")
        sockets.append(ws)
        await ws.send_json(["aget"])
    for ws in sockets:
        await ws.receive_json(timeout=DEADLINE)
    assert len(postgres.backends()) <= THREADS
    await until(lambda: not postgres.backends())
    await asyncio.gather(*(ws.send_json(["aget"]) for ws in sockets))
    for ws in sockets:
        await ws.receive_json(timeout=DEADLINE)
    await until(lambda: not postgres.backends())
    for ws in sockets:
        await ws.close()


@pytest.fixture
def many_files():
    """Let this process, and those that it starts, open a file for each of many sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY + 500:
        pytest.skip(f"no more than {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
async def test_thousands_of_websockets_need_no_more_connections_than_threads(connect, postgres):
    client = await connect(AIO_ORM_THREADS=THREADS)
    sockets = []

    async def use():
        ws = await client.session.ws_connect("/socket/")
        sockets.append(ws)
        await ws.send_json(["aget"])
        return (await ws.receive_json(timeout=DEADLINE))["backend"]

    backends = set()
    while len(sockets) < MANY:
        backends.update(await asyncio.gather(*(use() for _ in range(100))))
    assert len(backends) == THREADS
    assert postgres.backends() == backends
    # All at once, each after a while in which the others had the connections.
    await asyncio.gather(*(ws.send_json(["aget"]) for ws in sockets))
    for ws in sockets:
        assert (await ws.receive_json(timeout=DEADLINE))["backend"] in backends
    assert postgres.backends() == backends
    await asyncio.gather(*(ws.close() for ws in sockets))


@pytest.mark.parametrize("checks", [False, True])
@pytest.mark.parametrize("pause", [0, PAUSE * 2])
async def test_requests_succeed_after_all_connections_were_cut(connect, postgres, checks, pause):
    client = await connect({"CONN_HEALTH_CHECKS": checks}, AIO_ORM_THREADS=THREADS)
    async with client.socket() as step, client.socket() as other_step:
        for _ in range(3):
            before = await use_every_thread(client)
            await asyncio.gather(step("aget"), other_step("run"))
            assert postgres.terminate_backends() == len(before)
            await asyncio.sleep(pause)
            answers = await asyncio.gather(step("aget"), other_step("run"))
            after = await use_every_thread(client)
            assert not before & after
            assert {answer["backend"] for answer in answers} <= after


async def test_requests_under_way_recover_after_their_error(connect, postgres):
    """A connection that breaks under a query: that fails, and the next is on a new connection."""
    client = await connect(AIO_ORM_THREADS=1)
    async with client.socket() as step:
        before = await step("aget")
        waiting = asyncio.create_task(client.session.post("/steps/", json=[["slow_query", 20]]))
        sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        await until(lambda: postgres.query(sleeping))
        postgres.terminate_backends()
        assert (await waiting).status == 500
        assert (await step("aget"))["backend"] != before["backend"]
        assert (await client.steps("aget"))[0]["backend"] != before["backend"]


async def test_requests_succeed_after_a_restart(connect, postgres):
    client = await connect(AIO_ORM_THREADS=THREADS)
    async with client.socket() as step:
        before = await use_every_thread(client)
        await step("aget")
        postgres.stop()
        try:
            async with client.session.post("/steps/", json=[["aget"]]) as response:
                assert response.status == 500
            assert (await step("try_aget")) == "OperationalError"
        finally:
            postgres.start()
        assert not before & await use_every_thread(client)
        await step("aget")


async def test_an_error_of_a_query_costs_no_connection(connect):
    client = await connect(AIO_ORM_THREADS=1)
    before, error, after = await client.steps("aget", "broken_query", "aget")
    assert error == "ProgrammingError"
    assert before == after


class TestConnMaxAge:
    async def test_0_closes_when_the_request_is_over(self, connect, postgres):
        client = await connect({"CONN_MAX_AGE": 0}, AIO_ORM_THREADS=1)
        first, again = await client.steps("aget", "run")
        assert first == again
        (second,) = await client.steps("aget")
        assert second["backend"] != first["backend"]
        await until(lambda: not postgres.backends())

    async def test_0_serves_many_at_once_on_few_connections(self, connect, postgres):
        client = await connect({"CONN_MAX_AGE": 0}, AIO_ORM_THREADS=2)
        assert len(await use_every_thread(client)) <= EVERY
        await until(lambda: not postgres.backends())

    async def test_none_keeps(self, connect):
        client = await connect({"CONN_MAX_AGE": None}, AIO_ORM_THREADS=1)
        first = await client.steps("aget")
        await asyncio.sleep(PAUSE * 2)
        assert await client.steps("aget") == first

    async def test_a_number_keeps_for_so_many_seconds(self, connect):
        client = await connect({"CONN_MAX_AGE": 2}, AIO_ORM_THREADS=1)
        begun = time.monotonic()
        first = await client.steps("aget")
        again = await client.steps("aget")
        assert again == first or time.monotonic() - begun > 2
        await asyncio.sleep(2)
        assert await client.steps("aget") != first

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("age", [0, 1])
    async def test_holds_in_threads_that_are_never_idle(self, connect, age, threads):
        """Requests overlap without a gap; still every connection is replaced."""
        client = await connect({"CONN_MAX_AGE": age}, AIO_ORM_THREADS=threads)
        seen = []
        is_over = False

        async def keep_busy():
            while not is_over:
                first, _, second = await client.steps("aget", ("pause", 0.03), "aget")
                seen.append((first["backend"], second["backend"]))

        tasks = [asyncio.create_task(keep_busy()) for _ in range(8)]
        try:
            await until(lambda: len(seen) > 50)
            old = {backend for pair in seen for backend in pair}
            await until(lambda: not old & {backend for pair in seen[-50:] for backend in pair})
        finally:
            is_over = True
            await asyncio.gather(*tasks)
        if threads > 1:
            # A thread got no new requests until it was idle: none lost its connection half-way.
            assert all(first == second for first, second in seen)


class TestPool:
    @pytest.fixture(autouse=True)
    def needs_pool(self):
        require(module="psycopg_pool")

    def settings(self, **options):
        return {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 1, "timeout": 20, **options}}}

    async def test_connections_go_back(self, connect, postgres):
        client = await connect(self.settings(max_size=8), AIO_ORM_THREADS=THREADS)
        await use_every_thread(client)
        async with asyncio.timeout(DEADLINE):
            while True:
                ((stats,),) = [await client.steps("pool")]
                if stats["pool_available"] == stats["pool_size"]:
                    break
                await asyncio.sleep(0.05)

    async def test_smaller_than_the_threads(self, connect, postgres):
        """Threads wait for each other's connections, and get them."""
        client = await connect(self.settings(max_size=2), AIO_ORM_THREADS=6)
        steps = ["aget", ("pause", 0.01), "aget"]
        for _ in range(5):
            await client.many(30, *steps)
            assert len(postgres.backends()) <= 2

    async def test_checked_connections_survive_a_cut(self, connect, postgres):
        settings = {**self.settings(max_size=4), "CONN_HEALTH_CHECKS": True}
        client = await connect(settings, AIO_ORM_THREADS=THREADS)
        before = await use_every_thread(client)
        postgres.terminate_backends()
        assert not before & await use_every_thread(client)


class TestTransactionsAcrossCalls:
    """A transaction that is begun by one call and ended by another belongs to one piece of work."""

    async def test_others_are_kept_out(self, connect):
        client = await connect(AIO_ORM_THREADS=1)
        first = asyncio.create_task(
            client.steps(
                "begin", ("create", "withdrawn"), ("set", "in"), ("wait", "go"), "roll_back"
            )
        )
        await client.steps(("wait", "in"))
        second = asyncio.create_task(client.steps(("create", "kept"), "titles"))
        await asyncio.sleep(PAUSE * 2)
        assert not second.done()
        await client.steps(("set", "go"))
        await first
        titles = (await second)[1]
        assert "kept" in titles
        assert "withdrawn" not in titles

    async def test_others_take_another_thread(self, connect):
        client = await connect(AIO_ORM_THREADS=2)
        async with client.socket() as step:
            await step("begin")
            await step("create", "withdrawn")
            await asyncio.sleep(PAUSE * 3)
            answers = await client.many(6, "aget", ("create", "kept"))
            here = await step("aget")
            assert here["thread"] not in {answer[0]["thread"] for answer in answers}
            await step("roll_back")
        (titles,) = await client.steps("titles")
        assert titles.count("kept") == 6
        assert "withdrawn" not in titles

    async def test_what_a_view_leaves_open_is_rolled_back(self, connect):
        client = await connect(AIO_ORM_THREADS=1, AIO_TRANSACTION_TIMEOUT=4)
        await client.steps("begin", ("create", "lost"))
        async with asyncio.timeout(DEADLINE):
            (titles,) = await client.steps("titles")
        assert "lost" not in titles
        assert "views.steps left open" in client.server.output()
        await client.steps(("create", "kept"))
        assert "kept" in (await client.steps("titles"))[0]


async def test_a_call_that_nobody_waits_for_any_more_disturbs_nobody(connect):
    client = await connect(AIO_ORM_THREADS=1)
    out, here = await client.steps(("time_out", 0.5), "aget")
    assert out == "timed out"
    assert (await client.steps("aget"))[0] == here
