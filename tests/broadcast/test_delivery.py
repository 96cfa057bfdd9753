"""What `subscribe()` gives of what is published, over each back end."""

import asyncio
import datetime
import random
import uuid

import pytest
from aiohttp import WSCloseCode, web
from django.urls import path

from aiodjango import get_aio_application, get_aio_subapp
from aiodjango.broadcast import apublish, publish, subscribe
from aiodjango.broadcast import subscription as subscriptions
from tests.support.waiting import DEADLINE, until

from .conftest import with_backends


@pytest.fixture
async def hub(broker, aiohttp_client):
    """An application that runs: it starts and ends the broadcast."""
    return await aiohttp_client(get_aio_subapp([]))


async def take(events, number):
    async with asyncio.timeout(DEADLINE):
        return [await anext(events) for _ in range(number)]


@with_backends()
async def test_events_arrive_in_order_at_all_subscribers(hub):
    async with subscribe("a") as first, subscribe("b", "a") as second, subscribe("b") as third:
        for number in range(20):
            await apublish("a", {"number": number})
            await apublish("b", number)
        assert await take(first, 20) == [{"number": number} for number in range(20)]
        assert await take(second, 40) == [
            event for number in range(20) for event in ({"number": number}, number)
        ]
        assert await take(third, 20) == list(range(20))


@with_backends()
@pytest.mark.parametrize(
    "event", [None, "ü\n\0 \U0001f514", [], {}, 1.5, {"type": "x.y", "a": [1]}]
)
async def test_any_json_is_an_event(hub, event):
    async with subscribe("channel") as events:
        await apublish("channel", event)
        assert await take(events, 1) == [event]


@with_backends("memory")
async def test_a_server_without_subscribers_is_not_warned(hub, caplog):
    await asyncio.to_thread(publish, "channel", 1)
    await apublish("channel", 2)
    assert not caplog.records


@with_backends("memory")
async def test_events_are_encoded_as_django_does(hub):
    key = uuid.uuid4()
    async with subscribe("channel") as events:
        await apublish("channel", {"day": datetime.date(2026, 1, 2), "key": key})
        assert await take(events, 1) == [{"day": "2026-01-02", "key": str(key)}]


@with_backends("memory")
async def test_each_reader_gets_an_event_of_its_own(hub):
    async with subscribe("channel") as first, subscribe("channel") as second:
        await apublish("channel", {"list": []})
        (event,) = await take(first, 1)
        event["list"].append(1)
        assert await take(second, 1) == [{"list": []}]


@with_backends()
async def test_channels_can_be_joined_and_left(hub):
    async with subscribe("a") as events:
        await events.join("b", "c")
        await events.leave("a")
        for channel in "abc":
            await apublish(channel, channel)
        assert await take(events, 2) == ["b", "c"]
        await events.leave("b", "never joined")
        await events.join("a", "c")
        for channel in "bca":
            await apublish(channel, channel)
        assert await take(events, 2) == ["c", "a"]


@with_backends()
async def test_nothing_published_after_the_block_is_entered_is_missed(hub):
    for round_ in range(20):
        async with subscribe("again") as events:
            await apublish("again", round_)
            assert await take(events, 1) == [round_]


@with_backends("memory", "redis")
async def test_sync_code_publishes_from_threads(hub):
    async with subscribe("channel") as events:
        await asyncio.gather(
            *(asyncio.to_thread(publish, "channel", n, now=True) for n in range(9))
        )
        assert sorted(await take(events, 9)) == list(range(9))


@with_backends("memory")
@pytest.mark.parametrize(
    ("channel", "event", "error", "text"),
    [
        (1, {}, TypeError, "must be a string"),
        ("", {}, ValueError, "1 to 200 printable characters"),
        ("a\nb", {}, ValueError, "printable"),
        ("x" * 201, {}, ValueError, "1 to 200"),
        ("a", object(), TypeError, "not JSON serializable"),
        ("a", float("nan"), ValueError, "JSON"),
    ],
)
async def test_what_cannot_be_sent_is_an_error(hub, channel, event, error, text):
    with pytest.raises(error, match=text):
        await apublish(channel, event)
    with pytest.raises(error, match=text):
        publish(channel, event)


@with_backends("postgres")
async def test_an_event_too_large_for_postgresql_is_an_error(hub):
    async with subscribe("channel") as events:
        await apublish("channel", "x" * 7900)
        with pytest.raises(ValueError, match="Publish a key instead"):
            await apublish("channel", "x" * 8000)
        assert await take(events, 1) == ["x" * 7900]


@with_backends("postgres")
async def test_the_connection_that_sends_is_closed_when_idle(hub, monkeypatch, request):
    """Or a test's database could not be dropped as long as the process lives."""
    cluster = request.getfixturevalue("postgres")
    monkeypatch.setattr("aiodjango.broadcast.postgres.IDLE", 0.01)
    before = cluster.backends()
    await asyncio.to_thread(publish, "another", 1, now=True)
    async with subscribe("channel") as events:
        await apublish("channel", 2)
        assert await take(events, 1) == [2]
        await until(lambda: len(cluster.backends() - before) == 1)  # the one that listens


@with_backends("channels")
async def test_groups_of_channels_are_channels_of_ours(hub):
    from channels.layers import get_channel_layer

    layer = get_channel_layer()
    consumer = await layer.new_channel()
    await layer.group_add("room", consumer)
    async with subscribe("room") as events:
        await layer.group_send("room", {"type": "chat.message", "text": "from Channels"})
        assert await take(events, 1) == [{"type": "chat.message", "text": "from Channels"}]
        assert await layer.receive(consumer) == {"type": "chat.message", "text": "from Channels"}
        await apublish("room", {"type": "chat.message", "text": "from us"})
        assert await layer.receive(consumer) == {"type": "chat.message", "text": "from us"}
    with pytest.raises(ValueError, match="group"):
        await apublish("no such/group", {})


@with_backends("memory")
async def test_a_reader_that_is_too_slow_is_told(hub, monkeypatch):
    monkeypatch.setattr(subscriptions, "CAPACITY", 3)
    async with subscribe("channel") as slow, subscribe("channel") as quick:
        for number in range(5):
            await apublish("channel", number)
            assert await take(quick, 1) == [number]
        assert [event async for event in slow] == []
        assert slow.missed == "the reader was too slow"
        assert quick.missed is None
        await apublish("channel", "more")
        assert await take(quick, 1) == ["more"]


@with_backends("memory")
async def test_one_subscription_has_one_reader(hub):
    events = subscribe("channel")
    with pytest.raises(RuntimeError, match="async with"):
        await anext(events)
    async with events:
        reading = asyncio.create_task(take(events, 1))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one reader"):
            await anext(events)
        await apublish("channel", 1)
        assert await reading == [1]
    with pytest.raises(RuntimeError, match="only once"):
        await events.__aenter__()


# ---- WebSockets ----


async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async with subscribe("room") as events:
        await ws.send_str("listening")
        await events.send_to(ws, lambda content: apublish("room", content))
    return ws


@pytest.fixture
async def client(broker, aiohttp_client):
    return await aiohttp_client(get_aio_application(urlconf=[path("room/", socket)]))


@with_backends()
async def test_a_chat_room(client):
    async with client.ws_connect("/room/") as first, client.ws_connect("/room/") as second:
        for ws in first, second:
            assert await ws.receive_str() == "listening"
        await first.send_json({"text": "hello ü"})
        await second.send_json("world")
        for ws in first, second:
            heard = [await ws.receive_json(), await ws.receive_json()]
            assert {str(event) for event in heard} == {"{'text': 'hello ü'}", "world"}


@with_backends("memory")
async def test_what_is_not_json_closes_the_websocket(client):
    async with client.ws_connect("/room/") as ws:
        await ws.receive_str()
        await ws.send_str("no JSON")
        await ws.receive()
        assert ws.close_code == WSCloseCode.INVALID_TEXT


@with_backends()
async def test_websockets_are_closed_when_the_server_shuts_down(client):
    async with client.ws_connect("/room/") as ws:
        await ws.receive_str()
        await client.app.shutdown()
        await ws.receive()
        assert ws.close_code == WSCloseCode.GOING_AWAY
    async with client.ws_connect("/room/") as ws:  # comes just too late
        await ws.receive_str()
        await ws.receive()
        assert ws.close_code == WSCloseCode.GOING_AWAY


@with_backends("memory")
async def test_a_websocket_whose_reader_stalls_is_closed(client, monkeypatch):
    """Its connection does not outlive the farewell, and the others hear everything."""
    from aiodjango.runtime import open_connections

    monkeypatch.setattr(subscriptions, "CAPACITY", 3)
    monkeypatch.setattr(open_connections, "CLOSE_TIMEOUT", 0.1)
    stalled = await client.ws_connect("/room/", compress=0)
    await stalled.receive_str()
    stalled._response.connection.transport.pause_reading()
    async with client.ws_connect("/room/", max_msg_size=0) as ws:
        await ws.receive_str()
        for number in range(40):
            await apublish("room", [number, "x" * 1_000_000])
            assert (await ws.receive_json())[0] == number
    stalled._response.connection.transport.resume_reading()
    while not stalled.closed:
        await stalled.receive()
    await stalled.close()


@with_backends("memory")
@pytest.mark.parametrize("compress", [0, 15])
async def test_events_that_waited_for_a_slow_reader_arrive_in_order(client, compress):
    """More than the system keeps for a connection, or compressed in a thread: sending waits."""
    slow = await client.ws_connect("/room/", compress=compress, max_msg_size=0)
    assert await slow.receive_str() == "listening"
    transport = slow._response.connection.transport
    transport.pause_reading()
    for number in range(20):
        await apublish("room", [number, random.Random(number).randbytes(500_000).hex()])
    transport.resume_reading()
    assert [(await slow.receive_json())[0] for _ in range(20)] == list(range(20))
    await apublish("room", "the last")
    assert await slow.receive_json() == "the last"
    await slow.close()


@with_backends("memory")
async def test_a_reader_that_leaves_while_events_wait_for_it_is_no_error(client, caplog):
    leaving = await client.ws_connect("/room/", compress=0)
    await leaving.receive_str()
    leaving._response.connection.transport.pause_reading()
    for number in range(20):
        await apublish("room", [number, "x" * 1_000_000])
    leaving._response.connection.transport.abort()
    async with client.ws_connect("/room/") as ws:
        await ws.receive_str()
        await apublish("room", 1)
        assert await ws.receive_json() == 1
    assert not [record for record in caplog.records if record.name == "asyncio"]
