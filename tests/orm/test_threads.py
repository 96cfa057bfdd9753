"""Which thread does the work of a view, and that all of it works there."""

import asyncio

import pytest

from aiodjango.orm.work import PAUSE
from tests.support.waiting import DEADLINE

READS = ["aget", "sync", "run"]


def threads(results):
    return {result["thread"] for result in results}


async def test_all_calls_of_a_request_are_in_one_thread_while_others_are_served(site, database):
    client = await site(database(CONN_MAX_AGE=60), AIO_ORM_THREADS=3)
    steps = [*READS, ("pause", 0.02), *READS, ("pause", PAUSE * 2), *READS]
    answers = await client.many(12, *steps)
    used = []
    for answer in answers:
        (thread,) = threads(filter(None, answer))
        used.append(thread)
    assert set(used) == {f"aiodjango-orm-{n}" for n in range(3)}


async def test_eight_requests_run_at_once(site, sqlite):
    client = await site(sqlite)
    await asyncio.wait_for(client.many(8, ("meet", "all")), DEADLINE)


async def test_threads_are_started_as_they_are_needed(site, sqlite):
    client = await site(sqlite, AIO_ORM_THREADS=4)
    assert await client.steps("threads") == [[]]
    for _ in range(5):
        assert (await client.steps("aget", "threads"))[1] == ["aiodjango-orm-0"]
    await client.many(20, ("pause", 0.05), "run", ("pause", 0.05), "run")
    assert (await client.steps("threads"))[0] == [f"aiodjango-orm-{n}" for n in range(4)]


async def test_what_is_called_through_async_to_sync_stays_in_the_thread(site, database):
    client = await site(database())
    before, nested = await client.steps("run", "nested")
    assert [before, before] == nested


async def test_atomic_is_rolled_back(site, database):
    client = await site(database())
    error, titles = await client.steps(("fail", "never"), "titles")
    assert error == "as the test asked"
    assert titles == [f"book {n}" for n in range(1, 8)]


async def test_async_for_reads_in_the_thread(site, database):
    client = await site(database(), AIO_ORM_THREADS=2)
    first, rest, here = await client.steps(("iterate", 3), ("more", 9), "run")
    assert [book["title"] for book in first + rest] == [f"book {n}" for n in range(1, 8)]
    assert threads([*first, *rest]) == {here["thread"]}


@pytest.mark.parametrize("kind", ["request", "stream", "socket"])
async def test_an_iterator_is_left_alone_while_others_come_and_go(site, database, kind):
    """With CONN_MAX_AGE=0 every other request's end would close the connection under it."""
    client = await site(database(CONN_MAX_AGE=0), AIO_ORM_THREADS=1)
    begin, go_on = [("iterate", 3), ("set", "begun")], [("wait", "others"), ("more", 9)]
    if kind == "socket":
        async with client.socket() as step:
            first = await step(*begin[0])
            await others_come_and_go(client)
            rest = await step(*go_on[1])
    elif kind == "stream":
        async with client.stream(*begin, *go_on) as answers:
            first = await anext(answers)
            await others_come_and_go(client)
            await client.steps(("set", "others"))
            first, _, _, rest = [first, *[answer async for answer in answers]]
    else:
        reading = asyncio.create_task(client.steps(*begin, *go_on))
        await client.steps(("wait", "begun"))
        await others_come_and_go(client)
        await client.steps(("set", "others"))
        first, _, _, rest = await reading
    assert [book["title"] for book in first + rest] == [f"book {n}" for n in range(1, 8)]


async def others_come_and_go(client):
    await client.many(5, "aget")
    await asyncio.sleep(PAUSE * 2.5)  # so long that what is at rest is let go
    await client.many(5, "aget")


async def test_background_tasks_go_on_after_the_view(site, database):
    client = await site(database(CONN_MAX_AGE=0), AIO_ORM_THREADS=2)
    await client.background(
        "b", ("wait", "answered"), "aget", ("pause", PAUSE * 2), "run", "nested", ("create", "late")
    )
    await client.steps(("set", "answered"))
    await client.results("b")
    assert "late" in (await client.steps("titles"))[0]


async def test_a_websocket_is_not_tied_to_a_busy_thread(site, sqlite):
    client = await site(sqlite, AIO_ORM_THREADS=2)
    async with client.socket() as step:
        before = await step("run")
        await asyncio.sleep(PAUSE * 2)
        # Its thread is the one that work is given to first.
        blocking = asyncio.create_task(client.steps("aget", ("set", "busy"), ("meet", "nobody")))
        await client.steps(("wait", "busy"))
        async with asyncio.timeout(DEADLINE):
            after = await step("run")
        blocking.cancel()
    assert after["thread"] != before["thread"]


async def test_atomic_requests_is_no_obstacle(site, database):
    client = await site(database(ATOMIC_REQUESTS=True))
    assert (await client.steps("aget", "titles"))[1] == [f"book {n}" for n in range(1, 8)]
    assert (await client.sync())["thread"].startswith("aiodjango-")


async def test_both_halves_see_the_same_database(site, database):
    client = await site(database(CONN_MAX_AGE=60))
    (here,) = await client.steps("run")
    there = await client.sync()
    assert there["thread"] != here["thread"]
