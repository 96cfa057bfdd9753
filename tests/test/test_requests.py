"""What AioClient sends, and how it ends: the same in both halves of a site."""

import json
import threading
from io import BytesIO

import aiohttp
import pytest
from aiohttp import web
from django.http import QueryDict
from django.test import Client
from django.test.client import RedirectCycleError
from django.utils.datastructures import MultiValueDict

from aiodjango import setup
from aiodjango.test import AioClient
from tests.support.waiting import LONGER

pytestmark = pytest.mark.usefixtures("site")

METHODS = ["get", "head", "post", "put", "patch", "delete", "options", "trace"]


@pytest.mark.parametrize("method", sorted({*METHODS} - {"head"}))
async def test_methods(aio_client, half, method):
    response = await getattr(aio_client, method)(f"{half}/seen/x/")
    assert response.status_code == 200
    assert response.json()["method"] == method.upper()
    # As Django's clients: an empty form is sent by POST alone.
    assert ("content-type" in response.json()["headers"]) == (method == "post")


async def test_head(aio_client, half):
    response = await aio_client.head(f"{half}/seen/x/")
    assert response.status_code == 200
    assert response.content == b""
    assert int(response["Content-Length"]) > 0


async def test_any_method_and_body(aio_client, half):
    response = await aio_client.generic("PROPFIND", f"{half}/seen/x/", "text", "text/plain")
    seen = response.json()
    assert (seen["method"], seen["body"]) == ("PROPFIND", "text")
    assert seen["headers"]["content-type"] == "text/plain"


async def test_host_is_djangos_testserver(aio_client, half):
    response = await aio_client.get(f"{half}/seen/x/")
    assert response.json()["uri"] == f"http://testserver{half}/seen/x/"
    assert set(response.json()["headers"]) <= {"host", "connection"}


async def test_secure(aio_client, half):
    response = await aio_client.get(f"{half}/seen/x/", secure=True)
    assert response.json()["uri"] == f"https://testserver{half}/seen/x/"


@pytest.mark.parametrize(
    ("options", "uri"),
    [
        ({"SERVER_NAME": "localhost"}, "http://localhost"),
        ({"SERVER_NAME": "localhost", "SERVER_PORT": "8000"}, "http://localhost:8000"),
        ({"SERVER_NAME": "localhost", "secure": True}, "https://localhost"),
        ({"SERVER_NAME": "other.example", "HTTP_HOST": "localhost:81"}, "http://localhost:81"),
        ({"headers": {"Host": "localhost"}, "wsgi.url_scheme": "https"}, "https://localhost"),
    ],
)
async def test_host(aio_client, half, options, uri):
    response = await aio_client.get(f"{half}/seen/x/", **options)
    assert response.json()["uri"] == f"{uri}{half}/seen/x/"


async def test_what_a_server_says_of_a_request(aio_client):
    """By keyword arguments, as with Django's sync client."""
    response = await aio_client.get("/seen/x/", REMOTE_USER="ann", REMOTE_ADDR="192.0.2.1")
    meta = response.wsgi_request.META
    assert (meta["REMOTE_USER"], meta["REMOTE_ADDR"]) == ("ann", "192.0.2.1")
    assert (meta["SERVER_NAME"], meta["SERVER_PORT"]) == ("testserver", "80")
    response = await aio_client.get("/seen/x/", secure=True, headers={"X-None": None})
    assert response.wsgi_request.META["SERVER_PORT"] == "443"
    assert "X-None" not in response.wsgi_request.headers
    response = await aio_client.get("/aio/seen/x/", REMOTE_ADDR="192.0.2.1")
    assert response.wsgi_request.META["REMOTE_ADDR"] == "192.0.2.1"


@pytest.mark.parametrize("proxies", ["", "192.0.2.1"])
async def test_secure_whoever_may_name_the_scheme(site, half, monkeypatch, proxies):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
    site.SECURE_PROXY_SSL_HEADER = ("HTTP_X_SCHEME", "https")
    async with AioClient() as client:
        response = await client.get(f"{half}/seen/x/", secure=True)
    assert response.json()["uri"].startswith("https://testserver/")
    assert response.wsgi_request.is_secure()


async def test_no_request_is_made_past_the_server(aio_client):
    with pytest.raises(TypeError, match=r"AioClient does not support request\(\): use generic\(\)"):
        await aio_client.request(path="/seen/x/")


@pytest.mark.parametrize(
    ("path", "options", "sent"),
    [
        ("/seen/a%2Fb%20c/?d=e%20f", {}, "/seen/a%2Fb%20c/?d=e%20f"),
        ("/seen/é/", {}, "/seen/%C3%A9/"),
        ("/seen/", {"data": {"a": ["b", "ü"]}}, "/seen/?a=b&a=%C3%BC"),
        ("/seen/?c=d", {"query_params": {"a": "b"}}, "/seen/?a=b"),
        ("/seen/?c=d", {"QUERY_STRING": "e=f"}, "/seen/?e=f"),
        ("/seen/", {"data": QueryDict("a=1&a=2")}, "/seen/?a=1&a=2"),
        ("/seen/", {"query_params": QueryDict("a=1&a=2")}, "/seen/?a=1&a=2"),
        ("/seen/", {"query_params": MultiValueDict({"a": ["1", "2"]})}, "/seen/?a=1&a=2"),
        ("/seen/", {"query_params": [("a", "1"), ("a", b"2")]}, "/seen/?a=1&a=2"),
        ("http://testserver/seen/", {}, "/seen/"),
    ],
)
async def test_target(aio_client, path, options, sent):
    path = path.replace("/seen/", "/aio/seen/x/")
    response = await aio_client.get(path, **options)
    assert response.json()["path"] == sent.replace("/seen/", "/aio/seen/x/")


@pytest.mark.parametrize("method", METHODS)
async def test_query_params(aio_client, half, method):
    """Encoded by the same function as Django's client has."""
    call = getattr(aio_client, method)
    response = await call(f"{half}/seen/x/", query_params=QueryDict("a=1&a=2&b="))
    assert response.request["QUERY_STRING"] == "a=1&a=2&b="
    if method != "head":
        assert response.json()["path"] == f"{half}/seen/x/?a=1&a=2&b="
    with pytest.raises(TypeError, match="Cannot encode None for key 'a' in a query string"):
        await call(f"{half}/seen/x/", query_params={"a": None})


@pytest.mark.parametrize("method", ["get", "head"])
async def test_data_in_the_query(aio_client, half, method):
    call = getattr(aio_client, method)
    response = await call(f"{half}/seen/x/", QueryDict("a=1&a=2"))
    assert response.request["QUERY_STRING"] == "a=1&a=2"
    with pytest.raises(TypeError, match="Cannot encode None for key 'a' in a query string"):
        await call(f"{half}/seen/x/", {"a": None})


async def test_query_params_of_the_client(site, half):
    async with AioClient(query_params=QueryDict("a=1&a=2")) as client:
        response = await client.get(f"{half}/seen/x/")
        assert response.request["QUERY_STRING"] == "a=1&a=2"
        response = await client.get(f"{half}/seen/x/", query_params={"b": [3, 4]})
        assert response.request["QUERY_STRING"] == "b=3&b=4"


async def test_query_params_of_what_is_opened(aio_client, half):
    params = {"query_params": QueryDict("a=1&a=2")}
    async with aio_client.stream("GET", f"{half}/seen/x/", **params) as response:
        assert response.url.raw_query_string == "a=1&a=2"
    with pytest.raises(TypeError, match="Cannot encode None"):
        aio_client.stream("GET", "/", query_params={"a": None})
    with pytest.raises(TypeError, match="Cannot encode None"):
        aio_client.ws_connect("/", query_params={"a": None})
    with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
        await aio_client.ws_connect(f"{half}/seen/x/", **params)
    assert raised.value.request_info.url.raw_query_string == "a=1&a=2"


async def test_headers(site, half):
    async with AioClient(headers={"X-One": "1"}, X_TWO="2") as client:
        response = await client.get(
            f"{half}/seen/x/", headers={"X-Three": "3", "x-two": "two"}, HTTP_X_FOUR="4"
        )
    seen = response.json()["headers"]
    assert {name: seen[name] for name in seen if name.startswith("x-")} == {
        "x-one": "1",
        "x-two": "two",
        "x-three": "3",
        "x-four": "4",
    }


async def test_json(aio_client, half):
    response = await aio_client.post(
        f"{half}/seen/x/", {"a": [1, None]}, content_type="application/json"
    )
    assert json.loads(response.json()["body"]) == {"a": [1, None]}


async def test_upload(aio_client, half):
    file = BytesIO(b"content")
    file.name = "file.txt"
    response = await aio_client.post(f"{half}/seen/x/", {"file": file})
    assert response.json()["files"] == {"file": "content"}


async def test_large_upload(aio_client):
    file = BytesIO(b"x" * 2**21)
    file.name = "file.txt"
    response = await aio_client.post("/seen/x/", {"file": file})
    assert len(response.json()["files"]["file"]) == 2**21


@pytest.mark.parametrize("scheme", ["", "http://testserver"])
async def test_redirects_are_followed(aio_client, half, scheme):
    inner = f"{half}/redirect/302/?to={half}/seen/end/"
    outer = f"{half}/redirect/301/?to={scheme}{inner}"
    response = await aio_client.get(outer, follow=True)
    assert response.json()["path"] == f"{half}/seen/end/"
    assert response.redirect_chain == [(f"{scheme}{inner}", 301), (f"{half}/seen/end/", 302)]


async def test_redirect_relative_to_the_path(aio_client, half):
    response = await aio_client.get(f"{half}/redirect/302/?to=../../seen/end/", follow=True)
    assert response.json()["path"] == f"{half}/seen/end/"


async def test_redirect_that_keeps_the_method(aio_client):
    response = await aio_client.post(
        "/aio/redirect/307/?to=/aio/seen/x/", "text", content_type="text/plain", follow=True
    )
    assert response.json()["method"] == "POST"
    assert response.json()["body"] == "text"


async def test_redirects_that_never_end(aio_client, half):
    with pytest.raises(RedirectCycleError, match="loop detected"):
        await aio_client.get(f"{half}/circle/", follow=True)


async def test_csrf_tokens_are_not_asked_for(site):
    async with AioClient() as client:
        assert (await client.post("/form/")).status_code == 200
    async with AioClient(enforce_csrf_checks=True) as client:
        assert (await client.post("/form/")).status_code == 403


async def test_cookies(aio_client, half):
    await aio_client.get(f"{half}/headers/")
    assert aio_client.cookies["flavour"].value == 'vanilla "double"'
    assert aio_client.cookies["flavour"]["httponly"]
    response = await aio_client.get(f"{half}/seen/x/")
    sent = response.json()["headers"]["cookie"]
    assert sorted(sent.split("; ")) == [r'flavour="vanilla \"double\""', "size=2"]


@pytest.mark.parametrize("attribute", ["raise_request_exception", None])
async def test_exception_of_a_view(site, half, attribute):
    async with AioClient() as client:
        if attribute is None:
            with pytest.raises(KeyError, match="nobody has this key"):
                await client.get(f"{half}/fail/")
            return
        setattr(client, attribute, False)
        response = await client.get(f"{half}/fail/")
    assert response.status_code == 500
    assert response.exc_info[0] is KeyError


async def test_exception_that_is_a_response(aio_client, half):
    response = await aio_client.get(f"{half}/refuse/")
    assert response.status_code == 403
    assert response.exc_info is None


async def test_exception_after_the_response_has_begun(aio_client):
    with pytest.raises(KeyError, match="nobody has this key"):
        await aio_client.get("/broken-stream/")


async def test_exception_that_only_the_connection_shows(site):
    async with AioClient(raise_request_exception=False) as client:
        with pytest.raises(aiohttp.ClientPayloadError, match="not completed"):
            await client.get("/broken-stream/")


async def test_exception_of_a_stream_is_no_other_requests():
    go_on = threading.Event()

    def application(environ, start_response):
        start_response("200 OK", [])
        return failing() if environ["PATH_INFO"] == "/stream/" else [b"fine"]

    def failing():
        yield b"begun"
        go_on.wait(LONGER)
        raise KeyError("nobody has this key")

    def make():
        app = web.Application()
        setup(app, application)
        return app

    async with AioClient(application=make) as client:
        async with client.stream("GET", "/stream/") as response:
            go_on.set()
            with pytest.raises(aiohttp.ClientPayloadError, match="not completed"):
                await response.read()
        assert (await client.get("/other/")).content == b"fine"


async def test_django_client_shares_cookies(aio_client, half, transactional_db):
    from asgiref.sync import sync_to_async

    await aio_client.get(f"{half}/visits/")
    django = Client()
    django.cookies = aio_client.cookies
    response = await sync_to_async(django.get)("/visits/")
    assert response.json()["visits"] == 2
