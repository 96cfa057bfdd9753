"""`send_to()` with an event stream of aiohttp-sse."""

import asyncio

import aiohttp
import pytest
from django.urls import path

pytest.importorskip("aiohttp_sse")  # before what imports it

from aiohttp_sse import sse_response

from aiodjango import get_aio_application
from aiodjango.broadcast import apublish, process, subscribe
from aiodjango.broadcast import subscription as subscriptions
from tests.support.waiting import until

from .conftest import with_backends
from .test_websockets import all_have_left, subscribers

MEMORY = with_backends("memory")


ended = []


async def stream(request):
    async with (
        sse_response(request, ping_interval=0.05, send_timeout=0.3) as response,
        subscribe("news") as events,
    ):
        await response.send("listening")
        try:
            await events.send_to(response)
        finally:
            ended.append(events.missed)
    return response


@pytest.fixture
async def client(broker, aiohttp_client):
    return await aiohttp_client(get_aio_application(urlconf=[path("news/", stream)]))


async def read(response):
    """The next event."""
    while not (line := await response.content.readline()).startswith(b"data: "):
        assert line
    return line.removeprefix(b"data: ").rstrip(b"\r\n")


@MEMORY
async def test_events_arrive_in_order(client):
    async with client.get("/news/") as response:
        assert await read(response) == b"listening"
        for number in range(50):
            await apublish("news", {"number": number, "text": "ü\n"})
        for number in range(50):
            expected = f'{{"number": {number}, "text": "ü\\n"}}'
            assert await read(response) == expected.encode()


@MEMORY
async def test_a_page_that_leaves_is_noticed_without_an_event(client):
    async with client.get("/news/") as response:
        assert await read(response) == b"listening"
        assert subscribers() == 1
        response.close()
        await all_have_left()


@MEMORY
async def test_it_ends_well_when_the_server_shuts_down(client):
    async with client.get("/news/") as response:
        assert await read(response) == b"listening"
        await apublish("news", "last")
        await client.app.shutdown()
        assert b"last" in await response.content.read()


@MEMORY
async def test_a_page_that_reads_nothing_is_cut_off(client, monkeypatch):
    monkeypatch.setattr(subscriptions, "CAPACITY", 3)
    ended.clear()
    async with client.get("/news/") as response:
        assert await read(response) == b"listening"
        response.connection.transport.pause_reading()
        for number in range(40):
            await apublish("news", [number, "x" * 1_000_000])
        await until(lambda: ended)
        assert ended == ["the reader was too slow"]
        response.connection.transport.resume_reading()
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()


@MEMORY
async def test_an_error_in_the_stream_is_not_hidden(broker, client):
    class Broken:
        prepared = True

        async def send(self, data):
            raise ZeroDivisionError("in the stream")

        async def wait(self):
            await asyncio.Event().wait()

    async with subscribe("news") as events:
        await apublish("news", 1)
        with pytest.raises(ZeroDivisionError, match="in the stream"):
            await events.send_to(Broken())
        sending = asyncio.create_task(events.send_to(Broken()))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert process.hub_of_this_loop().open_subscriptions() == []
