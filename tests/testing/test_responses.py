"""What AioClient returns: a response of Django's, a stream, a WebSocket."""

import aiohttp
import pytest
from django.contrib.auth.models import Group
from django.http import HttpResponse

from aiodjango.test import AioClient
from tests.testing.urls import CHATS, FILE_CLOSERS

pytestmark = pytest.mark.usefixtures("site")


async def test_response_is_djangos(aio_client, half):
    response = await aio_client.get(f"{half}/headers/")
    assert isinstance(response, HttpResponse)
    assert (response.status_code, response.reason_phrase) == (200, "OK")
    assert (response.content, response.text) == (b"text", "text")
    assert (response.charset, response.streaming) == ("utf-8", False)
    assert (response["X-One"], response.headers["vary"]) == ("1", "Cookie")
    assert "Set-Cookie" not in response
    assert response.cookies["flavour"].value == 'vanilla "double"'
    assert response.cookies["size"]["max-age"] == "60"
    assert response.client is aio_client
    assert response.request["REQUEST_METHOD"] == "GET"
    assert response.resolver_match.route == f"{half}/headers/".removeprefix("/")
    with pytest.raises(ValueError, match='not "application/json"'):
        response.json()
    with pytest.raises(AttributeError, match="no Location"):
        response.url  # noqa: B018


async def test_templates_and_context(aio_client, half):
    response = await aio_client.get(f"{half}/page/")
    assert [template.name for template in response.templates] == ["testing/page.html"]
    assert response.context["title"] == "A page"
    assert (await aio_client.get(f"{half}/headers/")).templates == []


async def test_streamed_response_is_read_to_its_end(aio_client, half, db):
    response = await aio_client.get(f"{half}/stream/")
    assert response.content.startswith(b'first {"connection": ')


async def test_file_is_closed_where_the_view_ran(aio_client, db):
    response = await aio_client.get("/file/")
    assert len(response.content) == 100_000
    (threads, _) = FILE_CLOSERS.pop()
    views = (await aio_client.get("/groups/")).json()["thread"]
    assert threads[0] == views


async def test_stream_is_read_while_it_goes_on(aio_client):
    async with aio_client.stream("GET", "/chat/") as response:
        assert response.status == 200
        for text in ("one", "two"):
            assert await response.content.readline() == b"ready\n"
            await CHATS[-1].put(text.encode())
            assert await response.content.readline() == f"{text}\n".encode()
    CHATS.clear()


async def test_websocket(aio_client, transactional_db, django_user_model):
    user = await django_user_model.objects.acreate(username="ann")
    await aio_client.aforce_login(user)
    async with aio_client.ws_connect("/socket/", protocols=["groups"]) as ws:
        assert ws.protocol == "groups"
        assert await ws.receive_json() == ["ann", "testserver"]
        await ws.send_str("editors")
        assert (await ws.receive_json())[0] == 1
        assert await Group.objects.filter(name="editors").aexists()
    assert ws.closed
    # The handshake's response saved the session.
    session = await aio_client.asession()
    assert await session.aget("met") is True


async def test_websocket_that_is_left_open(aio_client, db):
    ws = await aio_client.ws_connect("/socket/")
    assert (await ws.receive_json())[0] == ""


async def test_websocket_cookie(aio_client, db):
    async with aio_client.ws_connect("/socket/") as ws:
        await ws.receive_json()
    assert aio_client.cookies["sessionid"].value


async def test_websocket_origin(aio_client):
    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        await aio_client.ws_connect("/socket/", origin="http://elsewhere.example")


async def test_exception_before_the_handshake(site):
    client = AioClient()
    with pytest.raises(KeyError, match="nobody has this key"):
        await client.ws_connect("/aio/fail/")
    client.raise_request_exception = False
    with pytest.raises(aiohttp.WSServerHandshakeError, match="500"):
        await client.ws_connect("/aio/fail/")
    await client.close()


async def test_exception_after_the_handshake_closes_the_websocket(aio_client, db):
    async with aio_client.ws_connect("/socket/") as ws:
        await ws.receive_json()
        await ws.send_str("fail")
        message = await ws.receive()
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)
    # Nothing of it is left for what the client does next.
    assert (await aio_client.get("/headers/")).exc_info is None
