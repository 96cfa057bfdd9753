"""Redis in all its forms, and with all its ways of losing a connection."""

import asyncio
import json
import signal
import socket
import subprocess
import sys

import pytest

pytest.importorskip("redis")  # before what imports it

from aiodjango.broadcast import apublish, process, subscribe
from aiodjango.broadcast import link as links
from aiodjango.broadcast import redis as backends
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE

from . import redis_servers
from .test_broker_away import OTHER, Other
from .test_delivery import hub, take

__all__ = ["hub"]

REDIS = "aiodjango.broadcast.redis.RedisBackend"


@pytest.fixture(params=["with_password", "with_tls", "cluster", "sentinels"])
def servers(request):
    with getattr(redis_servers, request.param)() as (url, nodes):
        yield url, nodes


@pytest.fixture
def broker(servers, settings):
    settings.AIO_BROADCAST = {"BACKEND": REDIS, "LOCATION": servers[0]}


def only(*names):
    return pytest.mark.parametrize("servers", names, indirect=True)


@pytest.fixture
async def other(hub, broker, settings):
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER),
        env=environment(
            DJANGO_SETTINGS_MODULE="tests.broadcast.project.settings",
            TEST_BROADCAST=json.dumps(settings.AIO_BROADCAST),
            TEST_DATABASES=json.dumps({}),
        ),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    other = Other(started)
    try:
        assert await other.heard() == "listening"
        yield other
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def test_every_form_carries_events(other):
    async with subscribe("channel") as events:
        other.publish(*range(100))
        assert await take(events, 100) == list(range(100))
    for number in range(100):
        await apublish("channel", number)
    for number in [*range(100), *range(100)]:
        assert await other.heard() == number


async def ends(events) -> None:
    """Wait until the subscription ends, because events were missed."""
    async with asyncio.timeout(DEADLINE):
        async for _ in events:
            pass
    assert events.missed is not None


async def heals(other) -> None:
    """Wait until what the other process says is heard here again."""
    async with asyncio.timeout(2 * DEADLINE):
        while True:
            async with subscribe("channel") as events:
                other.publish("again")
                try:
                    async with asyncio.timeout(1):
                        async for event in events:
                            if event == "again":
                                return
                except TimeoutError:
                    pass


@only("sentinels")
async def test_another_master_is_followed(servers, other):
    _, (master, _) = servers
    async with subscribe("channel") as events:
        master.stop()
        await ends(events)
    await heals(other)


@only("cluster")
async def test_another_node_takes_over(servers, other):
    _, nodes = servers
    async with subscribe("channel") as events:
        nodes[0].stop()  # the one that all are connected to
        await ends(events)
    await heals(other)


@pytest.fixture
def quick(monkeypatch):
    """What is silent is asked sooner."""
    monkeypatch.setattr(backends, "QUIET", 0.5)
    monkeypatch.setattr(backends, "TIMEOUT", 1.0)
    monkeypatch.setattr(links, "TIMEOUT", 1.0)


PASSWORD = {"password": "p@ss/word"}


@only("with_password")
@pytest.mark.parametrize("kind", ["pubsub", "normal"])
async def test_connections_that_are_killed(servers, other, kind):
    _, (node,) = servers
    async with subscribe("channel") as events:
        await apublish("channel", 0)  # both connections are there
        assert await take(events, 1) == [0]
        node.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes", **PASSWORD)
        if kind == "pubsub":
            await ends(events)
        else:
            other.publish("heard")
            assert await take(events, 1) == ["heard"]
    await heals(other)


@only("with_password")
async def test_a_reader_that_redis_finds_too_slow(servers, other):
    """Redis cuts the connection of a process that does not keep up; nothing is hidden."""
    _, (node,) = servers
    node.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1", **PASSWORD)
    async with subscribe("large") as events:
        # Without giving this loop a turn.
        event = json.dumps("x" * 1_000_000)
        while node.command("PUBLISH", "aiodjango:large", event, **PASSWORD):
            pass
        await ends(events)
    await heals(other)


@only("with_password")
async def test_a_redis_that_stands_still(servers, quick, other):
    """It accepts and never answers; afterwards it goes on as if nothing had been."""
    _, (node,) = servers
    async with subscribe("channel") as events:
        node.process.send_signal(signal.SIGSTOP)
        try:
            await apublish("channel", "here")
            assert await take(events, 1) == ["here"]
            hub = process.hub_of_this_loop()
            async with asyncio.timeout(DEADLINE):
                while not hub._link._is_away:
                    await asyncio.sleep(0.05)
                async with subscribe("another") as late:
                    await apublish("another", "alone")
                    assert await take(late, 1) == ["alone"]
        finally:
            node.process.send_signal(signal.SIGCONT)
        await ends(events)
    await heals(other)


@pytest.fixture
def deaf():
    """A server that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_broker_that_accepts_and_never_answers(deaf, settings, aiohttp_client):
    from aiodjango import get_aio_subapp

    settings.AIO_BROADCAST = {
        "BACKEND": REDIS,
        "LOCATION": deaf,
        "OPTIONS": {"socket_timeout": 0.3, "socket_connect_timeout": 0.3},
    }
    await aiohttp_client(get_aio_subapp([]))
    async with asyncio.timeout(DEADLINE), subscribe("channel") as events:
        await apublish("channel", "alone")
        assert await take(events, 1) == ["alone"]


@pytest.mark.parametrize(
    ("location", "options", "text"),
    [
        ("redis+cluster://", {}, "host:port"),
        ("redis+sentinel://x:1", {}, "does not name the master"),
        ("redis+cluster://x:1?ssl=1", {}, "belong in OPTIONS"),
        ("redis+other://x:1", {}, "is not the URL of a Redis server"),
        ("redis+cluster://x:1", {"no_such": 1}, "no_such"),
        ("redis://x?decode_responses=true", {}, "decode_responses"),
    ],
)
def test_invalid_locations(location, options, text):
    with pytest.raises((ValueError, TypeError), match=text):
        backends.RedisBackend(location, **options)
