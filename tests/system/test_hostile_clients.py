"""Hostile connections to a whole site: neither Django nor a coroutine view is hurt."""

import re

import pytest
from aiohttp import web
from django.core.exceptions import PermissionDenied
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt
from hypothesis import HealthCheck, given, settings

from aiodjango import FALLBACK, get_aio_application, get_aio_subapp, setup
from tests.conftest import THOROUGH, require
from tests.gateway.client import Client
from tests.gateway.ground import Ground
from tests.gateway.hostile import FAREWELL, Sent, chunked, exchange, listening_for_complaints, post
from tests.gateway.strategies import connections
from tests.support.server import gunicorn, serve, until

CASES = 1000 if THOROUGH else 100

# What Django says of clients is its own affair, and the same under any server.
DJANGOS_OWN = ("django.request WARNING", "django.security.")


@csrf_exempt
def everything(request):
    """Reads all that Django knows of a request."""
    request.get_host()
    read = [*request.GET.lists(), *request.POST.lists(), *request.FILES.lists()]
    known = [request.build_absolute_uri(), request.COOKIES, request.content_type, len(request.body)]
    return HttpResponse(repr((read, known, request.headers)))


@csrf_exempt
async def lifted(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response([dict(request.query), str(request.url), request.host, len(body)])


@csrf_exempt
async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write_eof(b"abc")
    return response


async def refused(request: web.Request) -> web.Response:
    raise PermissionDenied


urlpatterns = [
    path("a/b", lifted),
    path("A", lifted),
    path("stream", stream),
    path("refused", refused),
    re_path("", everything),
]


@pytest.fixture
async def attacked(settings, monkeypatch):
    monkeypatch.setattr("aiodjango.gateway.body.WATCH_INTERVAL", 0.005)
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test"]
    with listening_for_complaints(but=DJANGOS_OWN) as complaints:
        app = get_aio_application(get_wsgi_application())
        runner = web.AppRunner(app, lingering_time=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with Client("127.0.0.1", runner.addresses[0][1]) as friend:
                yield (ground := Ground(runner, app[FALLBACK], complaints, friend))
        finally:
            await runner.cleanup()
        ground.raise_if_anything_was_lost()


@settings(
    max_examples=CASES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(hostile=connections)
async def test_whatever_is_sent(attacked, hostile):
    await attacked.attack(hostile)


class TestCoroutineView:
    """What holds for the fallback holds for a coroutine view."""

    @pytest.mark.parametrize(
        "pieces",
        [
            pytest.param([chunked(b"3\r\nabcd\r\n", path=b"/A")], id="chunks"),
            # aiohttp's parser in C notices, and tells nobody.
            pytest.param([chunked(b"", path=b"/A"), b"not a chunk\r\n"], id="chunks, later"),
            pytest.param(
                [post(b"Content-Encoding: gzip\r\nContent-Length: 3\r\n", b"abc", path=b"/A")],
                id="coding",
            ),
        ],
    )
    async def test_malformed_body_is_the_clients_fault(self, attacked, pieces):
        [outcome] = await attacked.attack(Sent([*pieces, FAREWELL]))
        assert outcome.statuses == [400]

    async def test_client_that_leaves_is_no_error(self, attacked):
        body = post(b"Content-Length: 9\r\n", b"abc", path=b"/A")
        await attacked.attack(Sent([body], "abort"), Sent([body], "close"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/A", 200),
        ("POST", "/stream", 200),
        ("POST", "/refused", 403),
        ("GET", "/static/a.css", 200),
        ("GET", "/static/none", 404),
        ("POST", "/static/a.css", 405),
        ("POST", "/own", 405),
        ("POST", "/site/none", 404),  # of a part without a fallback
    ],
)
async def test_connection_ends_with_a_chunked_request(settings, tmp_path, method, path, status):
    """Or its last trailer would be the first field of the next request, whoever answers."""
    (tmp_path / "a.css").touch()
    settings.STATIC_ROOT, settings.STATIC_URL = tmp_path, "/static/"
    settings.ALLOWED_HOSTS = ["test"]
    part = web.Application()
    part.add_subapp("/site/", get_aio_subapp(urlpatterns[:1]))
    app = part if path.startswith("/site/") else web.Application()
    if app is not part:
        app.router.add_get("/own", lifted)
        setup(app, get_wsgi_application(), include_static=True, urlconf=urlpatterns)
    runner = web.AppRunner(app, lingering_time=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        data = chunked(b"0\r\nCookie: a=b\r\n\r\n", path=path.encode())
        data = data.replace(b"POST", method.encode(), 1)
        _, received, is_whole = await exchange(runner.addresses[0][1], Sent([data, FAREWELL]))
    finally:
        await runner.cleanup()
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in received
    assert received.count(b"HTTP/1.1 ") == 1
    assert is_whole


async def test_log_of_gunicorn_is_spared(tmp_path):
    require(module="gunicorn")
    odd = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: \xff\r\nConnection: close\r\n\r\n"
    command = gunicorn("--bind=fd://{fd}", "--access-logfile=-")
    with serve(command, tmp_path / "log") as server:
        await server.workers()
        for data in (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", odd):
            _, received, _ = await exchange(server.address, Sent([data]))
            assert received.startswith(b"HTTP/1.")
        # As a byte or escaped, by what the locale makes of standard output.
        lines = await until(lambda: re.findall(r'"(?:\\xff|\\udcff)"$', server.output(), re.M))
    assert len(lines) == 1
    assert "[INFO] Malformed request from 127.0.0.1: " in server.output()
    assert "Traceback" not in server.output()
