"""What happens when the broker goes away, and comes back."""

import asyncio
import json
import subprocess
import sys

import pytest

from aiodjango.broadcast import apublish, process, subscribe
from aiodjango.broadcast import outbox as outboxes
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE

from .conftest import with_backends
from .test_delivery import hub, take

__all__ = ["hub"]

# Another process, which publishes what it reads and prints what it hears.
OTHER = """
import asyncio, json, sys
import django
django.setup()
from aiohttp import web
from aiodjango import get_aio_subapp
from aiodjango.broadcast import apublish, subscribe

async def hear():
    while True:
        async with subscribe("channel") as events:
            print(json.dumps("listening"), flush=True)
            async for event in events:
                print(json.dumps(event), flush=True)
        print(json.dumps({"missed": events.missed}), flush=True)
        if events.missed is None:
            return

async def main():
    runner = web.AppRunner(get_aio_subapp([]))
    await runner.setup()
    hearing = asyncio.create_task(hear())
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        for event in json.loads(line):
            await apublish("channel", event)
    await runner.cleanup()
    await hearing

asyncio.run(main())
"""


class Other:
    """The other process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def heard(self) -> object:
        async with asyncio.timeout(DEADLINE):
            return json.loads(await self._process.stdout.readline())

    async def until(self, event: object) -> None:
        """Wait until it has heard that."""
        while await self.heard() != event:
            pass

    def publish(self, *events: object) -> None:
        self._process.stdin.write(json.dumps(events).encode() + b"\n")

    async def end(self) -> int:
        self._process.stdin.close()
        async with asyncio.timeout(DEADLINE):
            return await self._process.wait()


@pytest.fixture
async def other(hub, broker, settings):
    from django.db import connections

    databases = {"default": dict(connections.settings["default"])}
    if "notify" in connections.settings:
        databases["notify"] = {
            name: value
            for name, value in connections.settings["notify"].items()
            if name in ("ENGINE", "NAME", "USER", "HOST")
        }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER),
        env=environment(
            DJANGO_SETTINGS_MODULE="tests.broadcast.project.settings",
            TEST_BROADCAST=json.dumps(settings.AIO_BROADCAST),
            TEST_DATABASES=json.dumps(databases, default=str),
        ),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    other = Other(process)
    try:
        assert await other.heard() == "listening"
        yield other
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


REMOTE = with_backends("redis", "postgres")


@REMOTE
async def test_processes_hear_each_other_in_order(other):
    async with subscribe("channel") as events:
        other.publish(*range(500))
        assert await take(events, 500) == list(range(500))
    for number in range(500):
        await apublish("channel", number)
    for number in [*range(500), *range(500)]:
        assert await other.heard() == number


@REMOTE
async def test_what_was_published_before_the_end_arrives(other):
    async with subscribe("channel") as events:
        other.publish(*range(200))
        assert await other.end() == 0
        assert await take(events, 200) == list(range(200))


@with_backends("redis")
async def test_a_process_goes_on_alone_while_the_broker_is_away(other, redis):
    async with subscribe("channel") as events:
        redis.stop()
        try:
            await apublish("channel", "alone")
            assert await take(events, 1) == ["alone"]
            async with subscribe("channel") as late:
                await apublish("channel", "still alone")
                for reader in events, late:
                    assert await take(reader, 1) == ["still alone"]
        finally:
            redis.start()
        # What the other process said meanwhile is lost, so the subscription ends.
        async with asyncio.timeout(DEADLINE):
            assert [event async for event in events if event != "again"] == []
        assert events.missed is not None
    await other.until({"missed": "the connection to the broker was interrupted"})
    await other.until("listening")
    # And then all is as before.
    async with subscribe("channel") as events:
        other.publish("back")
        assert await take(events, 1) == ["back"]


@with_backends("postgres")
async def test_subscriptions_end_when_connections_were_lost(other, postgres):
    async with subscribe("channel") as events:
        postgres.terminate_backends()
        async with asyncio.timeout(DEADLINE):
            assert [event async for event in events] == []
        assert events.missed == "the connection to the broker was interrupted"
    await other.until("listening")
    async with subscribe("channel") as events:
        other.publish("back")
        assert await take(events, 1) == ["back"]


@with_backends("redis")
async def test_subscribers_elsewhere_are_told_of_what_had_no_room(other, monkeypatch, redis):
    """The broker delivers to the other process all the time, but this one publishes too much."""
    monkeypatch.setattr(outboxes, "LIMIT", 10)
    hub = process.hub_of_this_loop()
    for number in range(20):  # without waiting
        process.send(process_message(number))
    assert hub is process.hub_of_this_loop()
    await other.until({"missed": "events were lost on the way to the broker"})
    await other.until("listening")
    await apublish("channel", "after")
    assert await other.heard() == "after"


def process_message(number: int):
    from aiodjango.broadcast.publishing import encode

    return encode("channel", number)


@with_backends("redis", "postgres")
async def test_a_process_subscribes_only_to_what_it_listens_to(hub, broker, request):
    async with subscribe("only this") as events, subscribe("only this"):
        assert len(subscribed(broker, request)) == 1
        await events.join("that")
        assert len(subscribed(broker, request)) == 2
    async with asyncio.timeout(DEADLINE):
        while subscribed(broker, request):
            await asyncio.sleep(0.01)


def subscribed(broker: str, request: pytest.FixtureRequest) -> list[object]:
    """The channels of the broker that somebody has subscribed to."""
    if broker == "redis":
        import redis

        with redis.Redis.from_url(request.getfixturevalue("redis").url) as client:
            return client.pubsub_channels("aiodjango:*")
    # PostgreSQL tells only the connection itself.
    hub = process.hub_of_this_loop()
    return sorted(hub._link._confirmed)
