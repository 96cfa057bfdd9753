"""Broadcast through Redis, and presence: several processes' worth of them in one loop."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from example.chat.broadcast import Broadcast
from example.chat.presence import Presence
from tests.conftest import require
from tests.deploy.server import until
from tests.example.hosts import Redis, running_redis
from tests.example.server import DEADLINE


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    require(module="redis")
    with running_redis(require(program="redis-server")) as redis:
        yield redis


def make_broadcast(redis: Redis) -> Broadcast:
    from example.chat.broadcast.redis import RedisBroadcast

    return RedisBroadcast(redis.url)


@asynccontextmanager
async def workers(redis: Redis, number: int) -> AsyncIterator[list[Broadcast]]:
    """Broadcasts as so many workers have them, all of which hear Redis."""
    made = [make_broadcast(redis) for _ in range(number)]
    async with AsyncExitStack() as stack:
        for broadcast in made:
            heard = await stack.enter_async_context(broadcast.subscribe("room"))
            await stack.enter_async_context(broadcast.running())
            # Its subscriptions end when it hears Redis for the first time.
            assert await next_event(heard) is None
        yield made


async def next_event(events) -> str | None:
    async with asyncio.timeout(DEADLINE):
        return await anext(events, None)


async def test_everybody_hears_an_event_once(redis: Redis):
    async with workers(redis, 3) as broadcasts, AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(broadcast.subscribe("room")) for broadcast in broadcasts
        ]
        for number, broadcast in enumerate(broadcasts):
            await broadcast.publish("elsewhere", "not for them")
            await broadcast.publish("room", f"from {number}, with 🙂 and a space")
            for reader in readers:
                assert await next_event(reader) == f"from {number}, with 🙂 and a space"


async def test_a_burst_makes_nobody_too_slow(redis: Redis):
    """Redis hands over at once what was said in a long while; those who listen get their turn."""
    async with workers(redis, 2) as (one, other), other.subscribe("room") as reader:
        for number in range(500):
            await one.publish("room", str(number))
        assert [await next_event(reader) for _ in range(500)] == list(map(str, range(500)))


async def test_what_was_said_without_redis_is_told_later(redis: Redis):
    async with workers(redis, 2) as (one, other), other.subscribe("room") as before:
        redis.stop()
        await one.publish("room", "anybody?")
        redis.start()
        # It cannot know what it has missed, so whoever listens there has to look it up.
        assert await next_event(before) is None
        async with other.subscribe("room") as reader:
            await one.publish("room", "hello")
            assert await next_event(reader) in {"anybody?", "hello"}


async def test_who_leaves_tells_all_it_has_to_tell_first(redis: Redis):
    async with workers(redis, 1) as (other,), other.subscribe("room") as reader:
        leaving = make_broadcast(redis)
        async with leaving.running():
            for number in range(50):
                await leaving.publish("room", str(number))
        assert [await next_event(reader) for _ in range(50)] == list(map(str, range(50)))


async def test_who_has_too_much_to_tell_says_that_there_is_a_gap(redis: Redis):
    async with workers(redis, 1) as (other,), other.subscribe("room") as reader:
        one = make_broadcast(redis)
        for number in range(1500):  # as if it couldn't reach Redis for long
            await one.publish("elsewhere", str(number))
        async with one.running():
            assert await next_event(reader) is None


# ---- Presence, which needs no more than a broadcast ----


class Process:
    """Presence as one process has it; `broadcast` is what the processes share."""

    def __init__(self, broadcast: Broadcast, beat: float) -> None:
        self.changed: list[str] = []
        self.losses = 0
        self.presence = Presence(broadcast, self.changed.append, self.lose, beat)

    async def lose(self) -> None:
        self.losses += 1

    def sees(self, people: list[str], guests: int = 0) -> bool:
        return (self.presence.people("room"), self.presence.guests("room")) == (people, guests)


async def test_processes_add_up():
    broadcast = Broadcast()
    one, other, late = (Process(broadcast, beat=60) for _ in range(3))
    async with one.presence.running(), other.presence.running():
        one.presence.enter("room", "mira")
        one.presence.enter("room", "")
        other.presence.enter("room", "mira")
        other.presence.enter("room", "jun")
        other.presence.enter("room", "")
        for process in one, other:
            await until(lambda process=process: process.sees(["jun", "mira"], 2))
            assert process.presence.rooms() == ["room"]
            assert "room" in process.changed
        async with late.presence.running():  # learns it at once, not with the next beat
            await until(lambda: late.sees(["jun", "mira"], 2))
        one.presence.leave("room", "mira")
        other.presence.leave("room", "")
        for process in one, other:
            await until(lambda process=process: process.sees(["jun", "mira"], 1))


async def test_who_says_goodbye_is_gone_at_once():
    broadcast = Broadcast()
    stays, goes = (Process(broadcast, beat=60) for _ in range(2))
    async with stays.presence.running():
        async with goes.presence.running():
            goes.presence.enter("room", "mira")
            await until(lambda: stays.sees(["mira"]))
        await until(lambda: stays.sees([]))
    assert stays.losses == 0


async def test_who_falls_silent_is_gone_after_three_beats():
    broadcast = Broadcast()
    stays, falls_silent = Process(broadcast, beat=0.1), Process(broadcast, beat=60)
    async with stays.presence.running(), falls_silent.presence.running():
        falls_silent.presence.enter("room", "mira")
        await until(lambda: stays.sees(["mira"]))
        await until(lambda: stays.sees([]))
        assert stays.losses == 1
        assert falls_silent.losses == 0


async def test_what_got_lost_comes_with_the_next_beat():
    broadcast = Broadcast()
    one, other = (Process(broadcast, beat=0.1) for _ in range(2))
    one.presence.enter("room", "mira")
    async with one.presence.running(), other.presence.running():
        await until(lambda: other.sees(["mira"]))
        broadcast.interrupt()
        one.presence.enter("room", "jun")
        await until(lambda: other.sees(["jun", "mira"]))
