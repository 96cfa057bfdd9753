"""Subscriptions that come and go: none is left behind, none hangs, and none misses an event."""

import asyncio
import contextvars
import gc
import json
import random
import weakref
from contextlib import AsyncExitStack

import pytest

from aiodjango.broadcast import apublish, process, subscribe
from aiodjango.broadcast import link as links
from aiodjango.broadcast.backend import Backend, BrokerUnavailable
from tests.support.waiting import DEADLINE

from .conftest import with_backends
from .test_delivery import hub, take

__all__ = ["hub"]


class Broker(Backend):
    """A back end whose broker answers when a test says so."""

    made: list = []

    def __init__(self, location: str = "") -> None:
        super().__init__(location)
        self.asked: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.failure: asyncio.Future[None] | None = None
        self.made.append(self)

    async def send(self, messages):
        pass

    async def listen(self, receiver):
        self.receiver = receiver
        self.failure = asyncio.get_running_loop().create_future()
        receiver.confirm("")
        try:
            await self.failure
        finally:
            self.failure = None

    async def subscribe(self, channels):
        for channel in channels:
            self.asked.put_nowait(("+", channel))

    async def unsubscribe(self, channels):
        for channel in channels:
            self.asked.put_nowait(("-", channel))

    async def next(self):
        async with asyncio.timeout(DEADLINE):
            return await self.asked.get()


@pytest.fixture
async def manual(settings, aiohttp_client):
    """The back end of the hub of this loop."""
    from aiodjango import get_aio_subapp

    settings.AIO_BROADCAST = {"BACKEND": f"{__name__}.Broker"}
    Broker.made.clear()
    await aiohttp_client(get_aio_subapp([]))
    yield Broker.made[0]
    Broker.made.clear()


async def entered(events):
    await events.__aenter__()
    return events


async def leave(events):
    await events.__aexit__(None, None, None)


def nothing_is_left() -> bool:
    hub = process.hub_of_this_loop()
    return not hub._readers and not hub._link._waiters


async def test_a_channel_is_asked_for_again_only_after_the_answer(manual):
    """An answer that is late is not taken for the next one."""
    first = asyncio.create_task(entered(subscribe("a")))
    assert await manual.next() == ("+", "a")
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(entered(subscribe("a")))
    await asyncio.sleep(0)
    assert manual.asked.empty()
    manual.receiver.confirm("a")  # still holds: nothing was taken back
    events = await second
    await leave(events)
    assert await manual.next() == ("-", "a")
    third = asyncio.create_task(entered(subscribe("a")))
    assert await manual.next() == ("+", "a")
    assert not third.done()
    manual.receiver.confirm("a")
    await leave(await third)
    assert nothing_is_left()


async def test_what_is_cancelled_leaves_nothing_behind(manual):
    events = await entered(subscribe())
    for begin in (lambda: entered(subscribe("a", "b")), lambda: events.join("a", "b")):
        task = asyncio.create_task(begin())
        assert {await manual.next(), await manual.next()} == {("+", "a"), ("+", "b")}
        manual.receiver.confirm("a")
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert nothing_is_left()
        manual.receiver.confirm("b")
        assert {await manual.next(), await manual.next()} == {("-", "a"), ("-", "b")}
    waiting = asyncio.create_task(take(events, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    joining = asyncio.create_task(events.join("a"))
    assert await manual.next() == ("+", "a")
    manual.receiver.confirm("a")
    await joining
    await apublish("a", 1)
    assert await take(events, 1) == [1]  # the reader that was cancelled is not in the way
    await leave(events)


async def test_leaving_wakes_those_who_join(manual):
    async with subscribe() as events:
        joining = asyncio.create_task(events.join("a", "b"))
        assert {await manual.next(), await manual.next()} == {("+", "a"), ("+", "b")}
        await events.leave("a", "b")
        async with asyncio.timeout(DEADLINE):
            await joining
    assert nothing_is_left()


@pytest.mark.parametrize("failure", [BrokerUnavailable("gone"), ZeroDivisionError("a bug")])
async def test_every_failure_of_a_back_end_is_a_loss(manual, caplog, failure):
    entering = asyncio.create_task(entered(subscribe("a")))
    await manual.next()
    manual.receiver.confirm("a")
    events = await entering
    joining = asyncio.create_task(events.join("b"))
    await manual.next()
    manual.failure.set_exception(failure)
    async with asyncio.timeout(DEADLINE):
        await joining  # nothing keeps it waiting while the broker is away
        await apublish("a", "here")
        assert [event async for event in events] == ["here"]
    assert events.missed == "the connection to the broker was interrupted"
    assert str(failure) in caplog.text
    await leave(events)
    # And then all is as before.
    entering = asyncio.create_task(entered(subscribe("a")))
    while await manual.next() != ("+", "a"):
        pass
    manual.receiver.confirm("a")
    await leave(await entering)


async def test_no_event_follows_a_gap(manual):
    """Else a page could take the last event for the place from where to go on."""
    entering = asyncio.create_task(entered(subscribe("a")))
    await manual.next()
    manual.receiver.confirm("a")
    events = await entering
    await apublish("a", "before")
    manual.failure.set_exception(BrokerUnavailable("gone"))
    async with asyncio.timeout(DEADLINE):
        while events.missed is None:
            await asyncio.sleep(0.01)
        await apublish("a", "after")
        assert [event async for event in events] == ["before"]


async def test_a_broker_that_does_not_answer_is_away(manual, monkeypatch):
    monkeypatch.setattr(links, "TIMEOUT", 0.05)
    async with asyncio.timeout(DEADLINE), subscribe("a") as events:
        await apublish("a", "alone")
        assert await take(events, 1) == ["alone"]
    assert nothing_is_left()


@pytest.fixture
async def publish(hub, broker, request):
    """Publishes as another program does."""
    async with AsyncExitStack() as stack:
        if broker == "redis":
            from redis.asyncio import Redis

            client = Redis.from_url(request.getfixturevalue("redis").url)
            await stack.enter_async_context(client)

            async def publish(channel, event):
                await client.publish(f"aiodjango:{channel}", json.dumps(event))
        else:
            backend = process.hub_of_this_loop()._backend
            connection = await stack.enter_async_context(await backend._connect())

            async def publish(channel, event):
                payload = f"{channel}\n{json.dumps(event)}"
                await connection.execute(
                    "SELECT pg_notify(%s, %s)", (backend._name(channel), payload)
                )

        yield publish


@with_backends("redis", "postgres")
async def test_subscribers_that_come_and_go_miss_nothing(publish):
    """What another program publishes after the block is entered is heard, in every order."""
    choice = random.Random(1)

    async def come_and_go(number):
        for turn in range(40):
            first, second = choice.sample("ab", 2)
            async with subscribe(first) as events:
                await publish(first, [number, turn])
                await hear(events, [number, turn])
                if choice.random() < 0.5:
                    await events.join(second)
                    await events.leave(first)
                    await publish(second, [number, turn, "joined"])
                    await hear(events, [number, turn, "joined"])
                assert events.missed is None

    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*map(come_and_go, range(5)))
    assert nothing_is_left()


async def hear(events, wanted):
    async for event in events:
        if event == wanted:
            return
    raise AssertionError(events.missed)


@with_backends("redis")
async def test_what_is_not_json_is_left_out(hub, redis, caplog):
    from redis.asyncio import Redis

    async with subscribe("a") as events, Redis.from_url(redis.url) as client:
        for content in ("no JSON", b'"\xff"', "", "@", "@x y", "1"):
            await client.publish("aiodjango:a", content)
        assert await take(events, 1) == [1]
        assert events.missed is None
    assert "is not JSON" in caplog.text


async def test_nothing_of_a_request_is_kept_alive(manual):
    class Thing:
        pass

    variable: contextvars.ContextVar[Thing] = contextvars.ContextVar("variable")

    async def page():
        thing = Thing()
        variable.set(thing)
        entering = asyncio.create_task(entered(subscribe("a")))
        await manual.asked.get()  # without a timer, which would keep the context
        manual.receiver.confirm("a")
        events = await entering
        await apublish("a", 1)
        assert await anext(events) == 1
        await leave(events)
        return weakref.ref(thing), weakref.ref(events)

    task = asyncio.create_task(page())
    thing, events = await task
    del task
    await asyncio.sleep(0)  # the loop itself forgets the task
    gc.collect()
    assert thing() is None
    assert events() is None
