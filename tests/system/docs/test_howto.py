"""The examples of the how-to guides, in docs/howto."""

import importlib
from io import BytesIO

import aiohttp
import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User

from aiodjango.broadcast import apublish, process
from docs.howto import async_views_after, async_views_before
from tests.conftest import require
from tests.support.server import until


@pytest.fixture
def client(settings, aio_client):
    settings.ROOT_URLCONF = "docs.howto.urls"
    return aio_client


@pytest.fixture
def ann(db, client):
    user = User.objects.create_user("ann")
    client.force_login(user)
    return user


# ---- WebSockets ----


async def test_echo(client):
    async with client.ws_connect("/echo/") as ws:
        await ws.send_bytes(b"not a text")
        await ws.send_str("Hello")
        assert await ws.receive_str() == "Hello"


# ---- Streams and files ----


async def test_events_reach_their_reader(client):
    require(module="aiohttp_sse")
    async with client.stream("GET", "/events/") as response:
        assert response.content_type == "text/event-stream"
        await until(lambda: process.hub_of_this_loop().open_subscriptions())
        await apublish("news", {"number": 1})
        assert await response.content.readuntil(b"\r\n\r\n") == b'data: {"number": 1}\r\n\r\n'


async def test_table(client, ann):
    response = await client.get("/users.csv")
    assert response.content.decode() == f"{ann.pk},ann\r\n"


async def test_protected_file(client, ann):
    response = await client.get("/papers/first/", headers={"Range": "bytes=0-6"})
    assert (response.status_code, response.content) == (206, b"A paper")
    assert (await client.get("/papers/missing/")).status_code == 404
    await client.alogout()
    response = await client.get("/papers/first/")
    assert response.url == "/accounts/login/?next=/papers/first/"


async def test_large_body(client):
    size = 3 * 1024**2  # more than aiohttp's own limit for bodies in memory
    async with client.stream("POST", "/receive/", data=BytesIO(b"x" * size)) as response:
        assert await response.json() == {"size": size}


async def test_stream_of_a_sync_view(client):
    response = await client.get("/lines/")
    assert response.getvalue().count(b"\n") == 100


# ---- From Channels ----


async def test_chat(client, ann):
    async with client.ws_connect("/chat/attic/") as one, client.ws_connect("/chat/attic/") as other:
        await other.send_json({"text": "Is somebody here?"})
        await other.receive_json()
        await one.send_json({"text": "Hello"})
        message = {"type": "chat.message", "text": "Hello"}
        assert await other.receive_json() == message
        while await one.receive_json() != message:
            pass


async def test_chat_refuses_guests(client, db):
    with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
        async with client.ws_connect("/chat/attic/"):
            pass


@pytest.mark.django_db(transaction=True)  # a consumer looks after the connections of its thread
async def test_consumer_and_view_share_a_channel_layer(settings, client, ann):
    require(module="channels")
    from docs.howto.channels import consumers

    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.AIO_BROADCAST = {"BACKEND": "aiodjango.broadcast.channels.ChannelsBackend"}
    scope = {"type": "websocket", "url_route": {"kwargs": {"room": "attic"}}, "user": User()}
    consumer = ApplicationCommunicator(consumers.Chat.as_asgi(), scope)
    await consumer.send_input({"type": "websocket.connect"})
    assert (await consumer.receive_output())["type"] == "websocket.accept"

    async with client.ws_connect("/chat/attic/") as ws:
        await ws.send_json({"text": "From the view"})
        assert (await consumer.receive_output())["text"] == '{"text": "From the view"}'
        assert (await ws.receive_json())["text"] == "From the view"
        text = '{"text": "From the consumer"}'
        await consumer.send_input({"type": "websocket.receive", "text": text})
        assert (await consumer.receive_output())["text"] == text
        assert (await ws.receive_json())["text"] == "From the consumer"
    await consumer.send_input({"type": "websocket.disconnect", "code": 1000})
    await consumer.wait()


# ---- From aiohttp-wsgi ----


@pytest.mark.parametrize("name", ["before_wsgi", "after_wsgi"])
async def test_same_site_before_and_after(name, settings, aiohttp_client):
    if name == "before_wsgi":
        require(module="aiohttp_wsgi")
    settings.ROOT_URLCONF = "docs.howto.urls"
    module = importlib.import_module(f"docs.howto.{name}")
    client = await aiohttp_client(module.make_application())
    async with client.get("/status/") as response:
        assert await response.json() == {"ok": True}
    async with client.get("/lines/") as response:
        assert (await response.text()).count("\n") == 100


# ---- From Django's own async views ----


@pytest.mark.parametrize("views", [async_views_before, async_views_after])
async def test_same_answers_before_and_after(views, client, ann):
    base = "/before/" if views is async_views_before else "/after/"
    response = await client.post(f"{base}{ann.pk}/", {"name": "Anna"}, "application/json")
    assert response.url == "/after/"
    session = await client.asession()
    assert await session.aget("renamed") == ann.pk
    response = await client.get(base, {"word": "anna"})
    assert response.json() == {"names": ["Anna"]}


# ---- From the aiodjango of 2015 ----


async def test_2015(client):
    assert (await client.get("/2015/hello/")).text == "Hello World"
    assert (await client.get("/2015/rooms/attic/")).text == "attic"
