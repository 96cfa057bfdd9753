"""`send_to()`: what pages send, how they leave, and what their views do wrong."""

import asyncio
import gc
import json
import tracemalloc

import pytest
from aiohttp import WSCloseCode, WSMsgType, web
from django.urls import path

from aiodjango import get_aio_application
from aiodjango.broadcast import apublish, process, subscribe
from tests.support.waiting import DEADLINE

from .conftest import with_backends

MEMORY = with_backends("memory")


async def room(request):
    ws = web.WebSocketResponse(compress=True, max_msg_size=10_000)
    await ws.prepare(request)

    async def receive(content):
        if content == "fail":
            raise ZeroDivisionError("in receive")
        await apublish("room", content)

    async with subscribe("room") as events:
        await ws.send_str("listening")
        await events.send_to(ws, receive)
    return ws


@pytest.fixture
async def client(broker, aiohttp_client):
    return await aiohttp_client(get_aio_application(urlconf=[path("room/", room)]))


async def enter(client, **options):
    ws = await client.ws_connect("/room/", **options)
    assert await ws.receive_str() == "listening"
    return ws


def subscribers() -> int:
    return len(process.hub_of_this_loop().open_subscriptions())


async def all_have_left():
    async with asyncio.timeout(DEADLINE):
        while subscribers():
            await asyncio.sleep(0.01)


@MEMORY
async def test_binary_messages_are_json_too(client):
    ws = await enter(client)
    await ws.send_bytes(b'{"a": "\xc3\xbc"}')
    assert await ws.receive_json() == {"a": "ü"}
    await ws.send_bytes(b"\xff")
    assert (await ws.receive()).data == WSCloseCode.INVALID_TEXT
    await all_have_left()


@MEMORY
async def test_a_message_that_is_too_large_closes_the_websocket(client):
    ws = await enter(client)
    await ws.send_str(json.dumps("x" * 20_000))
    assert (await ws.receive()).data == WSCloseCode.MESSAGE_TOO_BIG
    await all_have_left()


@MEMORY
async def test_an_error_of_the_receiver_is_the_views(client, caplog):
    """It is reported as any other, and nothing of the subscription stays."""
    ws = await enter(client)
    await ws.send_json("fail")
    message = await ws.receive(DEADLINE)
    assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
    assert "ZeroDivisionError: in receive" in caplog.text
    await all_have_left()


@MEMORY
async def test_pages_that_leave_while_events_are_sent(client, caplog):
    """With a farewell or without."""
    pages = [await enter(client, compress=15 if n % 2 else 0) for n in range(10)]
    staying = await enter(client)

    async def publish():
        for number in range(200):
            await apublish("room", [number, "x" * 5000])

    publishing = asyncio.create_task(publish())
    for number, page in enumerate(pages):
        assert (await page.receive_json())[1] == "x" * 5000
        if number % 3 == 0:
            page._response.connection.transport.abort()
        elif number % 3 == 1:
            await page.send_str("no JSON")
        await page.close()
    assert [(await staying.receive_json())[0] for _ in range(200)] == [*range(200)]
    await publishing
    await staying.close()
    await all_have_left()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@MEMORY
@pytest.mark.parametrize("compress", [0, 15])
async def test_large_events_arrive_whole_and_in_order(client, compress):
    ws = await enter(client, compress=compress, max_msg_size=0)
    events = [[number, "ab" * size] for number in range(3) for size in (0, 100_000, 1, 500_000)]
    for event in events:
        await apublish("room", event)
    for event in events:
        assert await ws.receive_json() == event
    await ws.close()


@MEMORY
async def test_a_view_that_is_cancelled_leaves_nothing(client):
    """As when the client goes away and the server cancels handlers."""
    ws = await enter(client)
    (task,) = [t for t in asyncio.all_tasks() if "RequestHandler.start" in repr(t.get_coro())]
    task.cancel()
    await ws.receive()
    await all_have_left()


@MEMORY
async def test_an_idle_subscription_is_small(broker, client):
    async def idle(number):
        async with subscribe(f"user-{number}", "everybody"):
            ready.release()
            await forever.wait()

    async def waiting(number):
        ready.release()
        await forever.wait()

    sizes = []
    for view in (waiting, idle):
        forever, ready = asyncio.Event(), asyncio.Semaphore(0)
        gc.collect()
        tracemalloc.start()
        tasks = [asyncio.create_task(view(number)) for number in range(1000)]
        for _ in tasks:
            await ready.acquire()
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0] / 1000)
        tracemalloc.stop()
        forever.set()
        await asyncio.wait(tasks)
    assert sizes[1] - sizes[0] < 2048
    print(f"{sizes[1] - sizes[0]:.0f} bytes")
