"""What coroutine views have open is closed when the server shuts down, broadcast or not."""

import asyncio

import aiohttp
import pytest
from aiohttp import WSCloseCode, web
from django.urls import path

from aiodjango import get_aio_application, get_aio_subapp
from aiodjango.broadcast import subscribe


async def echo(request):
    """A WebSocket that waits for the page."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data)
    return ws


async def deaf(request):
    """A WebSocket that waits for something else, and never receives."""
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    request.app["begun"].set()
    await request.app["never"].wait()
    return ws


async def stream(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b"data: 1\n\n")
    await request.app["never"].wait()
    return response


async def subscribed(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    async with subscribe("channel") as events:
        await response.write(b"data: 1\n\n")
        async for event in events:
            await response.write(f"data: {event}\n\n".encode())
    await response.write(b"data: end\n\n")
    return response


async def download(request):
    """Ends by itself, and is not cut."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"begun ")
    await request.app["never"].wait()
    await response.write(b"done")
    return response


URLS = [
    path("echo/", echo),
    path("deaf/", deaf),
    path("stream/", stream),
    path("subscribed/", subscribed),
    path("download/", download),
]


@pytest.fixture(params=["application", "subapp", "mounted"])
async def client(request, aiohttp_client):
    inner = app = (
        get_aio_subapp(URLS) if request.param == "subapp" else get_aio_application(urlconf=URLS)
    )
    if request.param == "mounted":
        app = web.Application()
        app.add_subapp("/site/", inner)
    inner["never"] = asyncio.Event()
    inner["begun"] = asyncio.Event()
    client = await aiohttp_client(app)
    client.prefix = "/site" if request.param == "mounted" else ""
    client.inner = inner
    yield client
    inner["never"].set()


async def shut_down(client):
    """The first half of the server's end: the application is told."""
    await client.app.shutdown()


@pytest.mark.filterwarnings("ignore:It is recommended to use web.AppKey")
class TestShutdown:
    async def test_websockets_are_closed_as_going_away(self, client):
        async with (
            client.ws_connect(f"{client.prefix}/echo/") as first,
            client.ws_connect(f"{client.prefix}/deaf/") as second,
        ):
            await first.send_str("x")
            await first.receive()
            await client.inner["begun"].wait()
            await shut_down(client)
            for ws in first, second:
                message = await ws.receive(30)
                assert (message.data, message.extra) == (
                    WSCloseCode.GOING_AWAY,
                    "the server shuts down",
                )

    async def test_an_event_stream_ends(self, client):
        async with client.get(f"{client.prefix}/stream/") as response:
            assert await response.content.readany() == b"data: 1\n\n"
            await shut_down(client)
            # Cut, so that the browser comes back: the view itself has not ended it.
            with pytest.raises(aiohttp.ClientError):
                await response.content.read()

    async def test_an_event_stream_of_a_subscription_ends_well(self, client):
        async with client.get(f"{client.prefix}/subscribed/") as response:
            assert await response.content.readany() == b"data: 1\n\n"
            await shut_down(client)
            assert await response.content.read() == b"data: end\n\n"

    async def test_a_download_is_not_cut(self, client):
        async with client.get(f"{client.prefix}/download/") as response:
            assert await response.content.readany() == b"begun "
            await shut_down(client)
            client.inner["never"].set()
            assert await response.content.read() == b"done"
