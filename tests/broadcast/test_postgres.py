"""PostgreSQL's own ways: a restart, pools, sessions, and many channels."""

import asyncio
import threading

import pytest
from django.db import connections

from aiodjango.broadcast import apublish, subscribe
from tests.conftest import require
from tests.support.postgres import missing_part, running_cluster
from tests.support.waiting import DEADLINE

from .conftest import with_backends
from .test_broker_away import REMOTE, other
from .test_delivery import hub, take

__all__ = ["REMOTE", "hub", "other"]

POSTGRES = with_backends("postgres")


@pytest.fixture
def postgres():
    """One of this test's own: it is stopped."""
    if reason := missing_part():
        pytest.skip(reason)
    require(module="psycopg")
    with running_cluster() as cluster:
        yield cluster


@POSTGRES
async def test_a_restart(other, postgres):
    async with subscribe("channel") as events:
        postgres.stop()
        await apublish("channel", "alone")
        assert await take(events, 1) == ["alone"]
        async with asyncio.timeout(DEADLINE):
            await asyncio.to_thread(postgres.start)
            assert [event async for event in events if event != "alone"] == []
        assert events.missed == "the connection to the broker was interrupted"
    await other.until({"missed": "the connection to the broker was interrupted"})
    await other.until("listening")
    async with asyncio.timeout(DEADLINE), subscribe("channel") as events:
        other.publish("back")
        assert await take(events, 1) == ["back"]


@POSTGRES
async def test_a_pool_is_left_alone(hub, broker, monkeypatch, django_db_blocker):
    """The back end has connections of its own: those of a pool may be in use."""
    options = {"pool": {"min_size": 1, "max_size": 1, "timeout": 1}}
    monkeypatch.setitem(connections.settings["notify"], "OPTIONS", options)
    used, free = threading.Event(), threading.Event()

    def use_the_only_one():
        connection = connections["notify"]
        try:
            with connection.cursor():
                used.set()
                free.wait(DEADLINE)
        finally:
            used.set()
            connection.close()
            connection.close_pool()

    with django_db_blocker.unblock():
        using = asyncio.create_task(asyncio.to_thread(use_the_only_one))
        await asyncio.to_thread(used.wait, DEADLINE)
        try:
            async with asyncio.timeout(DEADLINE), subscribe("channel") as events:
                await apublish("channel", 1)
                assert await take(events, 1) == [1]
        finally:
            free.set()
            await using


@POSTGRES
async def test_thousands_of_channels(hub, broker):
    names = [f"user-{number}" for number in range(3000)]
    async with asyncio.timeout(DEADLINE), subscribe(*names) as events:
        await apublish(names[-1], "last")
        assert await take(events, 1) == ["last"]
        await events.leave(*names[:-1])
        await apublish(names[0], "left")
        await apublish(names[-1], "stayed")
        assert await take(events, 1) == ["stayed"]
