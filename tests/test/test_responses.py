"""What AioClient returns: a response of Django's, a stream, a WebSocket."""

import asyncio

import aiohttp
import pytest
from django.contrib.auth.models import Group
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseForbidden,
    HttpResponseNotFound,
    HttpResponseNotModified,
    HttpResponsePermanentRedirect,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse

from aiodjango.test import AioClient, AioResponse
from tests.test.urls import CHATS, FILE_CLOSERS

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
    assert response.cookies["size"]["max-age"] == 60
    assert response.client is aio_client
    assert response.request["REQUEST_METHOD"] == "GET"
    assert response.resolver_match.route == f"{half}/headers/".removeprefix("/")
    with pytest.raises(ValueError, match='not "application/json"'):
        response.json()
    with pytest.raises(AttributeError, match=r"no .*url"):
        response.url  # noqa: B018


async def test_templates_and_context(aio_client, half):
    response = await aio_client.get(f"{half}/page/")
    assert [template.name for template in response.templates] == ["testing/page.html"]
    assert response.context["title"] == "A page"
    assert (await aio_client.get(f"{half}/headers/")).templates == []


async def test_context_data(aio_client):
    response = await aio_client.get("/template-response/")
    assert isinstance(response, TemplateResponse)
    assert response.context_data == {"title": "A page"}
    assert response.template_name == "testing/page.html"
    assert response.is_rendered
    assert response.context["title"] == "A page"
    assert "<h1>A page</h1>" in response.text


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
async def test_classes_of_djangos_half(aio_client, db):
    """The very objects that the views have returned, as Django's client gives them."""
    response = await aio_client.get("/redirect/302/?to=/page/")
    assert type(response) is HttpResponseRedirect
    assert response.url == "/page/"
    assert type(await aio_client.get("/groups/")) is JsonResponse
    response = await aio_client.get("/stream/")
    assert type(response) is StreamingHttpResponse
    assert b"".join(response.streaming_content).startswith(b"first ")
    response = await aio_client.get("/file/")
    assert type(response) is FileResponse
    assert (response.streaming, len(response.getvalue())) == (True, 100_000)
    FILE_CLOSERS.clear()
    response = await aio_client.get("/native-stream/")
    assert response.is_async
    assert [part async for part in response] == [b"one two"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/redirect/302/?to=/page/", HttpResponseRedirect),
        ("/redirect/307/?to=/page/", HttpResponseRedirect),
        ("/refuse/", HttpResponseForbidden),
        ("/missing/", HttpResponseNotFound),
        ("/groups/", JsonResponse),
        ("/headers/", HttpResponse),
    ],
)
async def test_classes_of_both_halves(aio_client, half, path, kind, db):
    response = await aio_client.get(f"{half}{path}")
    assert isinstance(response, kind)
    if kind is HttpResponseRedirect:
        assert response.url == response["Location"] == "/page/"


async def test_classes_of_coroutine_views(aio_client):
    """By the status: a view may have returned something that is no response of Django's."""
    for status, kind in ((301, HttpResponsePermanentRedirect), (304, HttpResponseNotModified)):
        response = await aio_client.get(f"/aio/redirect/{status}/?to=/page/")
        assert isinstance(response, AioResponse)
        assert isinstance(response, kind)
        assert response.url == "/page/"


async def test_request(aio_client, half, db, django_user_model):
    user = await django_user_model.objects.acreate(username="ann")
    await aio_client.aforce_login(user)
    response = await aio_client.get(f"{half}/visits/?a=b", headers={"X-One": "1"})
    request = response.wsgi_request
    assert request is response.asgi_request
    assert isinstance(request, HttpRequest)
    assert request.get_full_path() == f"{half}/visits/?a=b"
    assert request.headers["X-One"] == "1"
    assert request.session["visits"] == 1
    assert await request.auser() == user
    # Also where the view has asked for none.
    response = await aio_client.post(f"{half}/seen/x/", "text", content_type="text/plain")
    assert (response.wsgi_request.method, response.wsgi_request.path) == ("POST", f"{half}/seen/x/")
    assert {name: response.request[name] for name in ("PATH_INFO", "path", "REQUEST_METHOD")} == {
        "PATH_INFO": f"{half}/seen/x/",
        "path": f"{half}/seen/x/",
        "REQUEST_METHOD": "POST",
    }


async def test_request_that_the_server_refuses(aio_client, half):
    response = await aio_client.generic("NOMETHOD", f"{half}/seen/x/")
    assert isinstance(response, HttpResponseBadRequest)
    assert response.wsgi_request is None
    assert response.resolver_match.route.endswith("seen/<path:rest>")


async def test_headers_of_the_connection_are_left_out(aio_client, half, db):
    for path in ("/headers/", "/stream/"):
        response = await aio_client.get(f"{half}{path}")
        assert not {"connection", "transfer-encoding"} & {name.lower() for name in response.headers}


async def test_resolver_match_in_another_urlconf(aio_client, site):
    site.MIDDLEWARE = ["tests.test.urls.OtherUrlconf"]
    response = await aio_client.get("/other-urlconf/")
    assert response.text == "inner"
    assert response.resolver_match.route == "other-urlconf/"
    assert response.resolver_match.url_name == "inner"


async def test_no_mark_of_the_client_is_seen(aio_client, half):
    response = await aio_client.get(f"{half}/seen/x/", secure=True)
    assert set(response.json()["headers"]) <= {"host", "connection"}


async def test_requests_at_once_keep_what_is_theirs(site, half):
    """Templates and exceptions belong to the request in which they happen."""
    async with AioClient(raise_request_exception=False) as client:
        paths = [f"{half}{path}" for path in ("/page/", "/fail/", "/headers/", "/refuse/")] * 3
        responses = await asyncio.gather(*map(client.get, paths))
    for path, response in zip(paths, responses, strict=True):
        name = path.removeprefix(half)
        assert [t.name for t in response.templates if t.name] == (
            ["testing/page.html"] if name == "/page/" else []
        )
        assert (response.exc_info is not None) == (name == "/fail/")


async def test_cookies_are_as_django_sets_them(aio_client, half):
    cookies = (await aio_client.get(f"{half}/headers/")).cookies
    assert cookies["size"]["max-age"] == aio_client.cookies["size"]["max-age"] == 60
    assert cookies["flavour"]["max-age"] == ""
    assert cookies["flavour"]["httponly"] is True
    assert cookies["flavour"].value == aio_client.cookies["flavour"].value == 'vanilla "double"'


async def test_streamed_response_is_read_to_its_end(aio_client, half, db):
    response = await aio_client.get(f"{half}/stream/")
    assert response.getvalue().startswith(b'first {"connection": ')


async def test_file_is_closed_where_the_view_ran(aio_client, db):
    response = await aio_client.get("/file/")
    assert len(response.getvalue()) == 100_000
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
