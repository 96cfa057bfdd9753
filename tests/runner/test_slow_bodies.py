"""Request bodies that are late: how long they may take, and what becomes of them at the end."""

import asyncio
import logging

import pytest
from aiohttp import web
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from aiodjango import AioRunner, get_aio_application, get_aio_subapp
from tests.gateway.client import Client
from tests.support.waiting import LONGER, until

SHORT = 0.5  # seconds
RUNNERS = [AioRunner, web.AppRunner]
TARGETS = ["/sync", "/read/", "/post/", "/content/"]


def sync(environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % len(environ["wsgi.input"].read())]


@csrf_exempt
async def read(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


@csrf_exempt
async def post(request: web.Request) -> web.Response:
    form = await request.post()
    return web.Response(text=str(len(form)))


@csrf_exempt
async def content(request: web.Request) -> web.Response:
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
    return web.Response(text=str(size))


@csrf_exempt
async def late(request: web.Request) -> web.Response:
    """Looks at its body after a while."""
    await asyncio.sleep(3 * SHORT)
    return await read(request)


urlpatterns = [
    path("read/", read),
    path("post/", post),
    path("content/", content),
    path("late/", late),
]


@pytest.fixture
async def start(settings):
    """Start a server of a kind for an application or for the site; returns what connects to it."""
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test"]
    runners = []

    async def start(kind=AioRunner, app=None, *, shutdown_timeout=5, **options):
        app = app or get_aio_application(sync, **options)
        runner = kind(app, access_log=None, shutdown_timeout=shutdown_timeout)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = runner.addresses[0]
        return runner, lambda: Client(*address)

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def log(caplog):
    """Nothing of what clients do here is an error of the server's."""
    yield
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


def head(target, framing="Content-Length: 100000", method="POST"):
    form = "Content-Type: application/x-www-form-urlencoded"
    return f"{method} {target} HTTP/1.1\r\nHost: test\r\n{form}\r\n{framing}\r\n\r\n".encode()


CHUNKED = "Transfer-Encoding: chunked"


async def is_timed_out(client):
    answer = await client.answer()
    assert (answer.status, answer.header("Connection")) == (408, "close")
    assert await client.at_end()


class TestTimeLimit:
    @pytest.mark.parametrize("kind", RUNNERS)
    @pytest.mark.parametrize("target", TARGETS)
    @pytest.mark.parametrize("sent", [b"", b"a=1"])
    async def test_silence(self, start, kind, target, sent):
        _, connect = await start(kind, body_timeout=SHORT)
        async with connect() as client:
            await client.send(head(target) + sent)
            await is_timed_out(client)

    @pytest.mark.parametrize("target", TARGETS)
    @pytest.mark.parametrize("sent", [b"", b"3\r\na=", b"3\r\na=1\r\n", b"3\r\na=1\r\n0\r\n"])
    async def test_silence_in_chunks(self, start, target, sent):
        _, connect = await start(body_timeout=SHORT)
        async with connect() as client:
            await client.send(head(target, CHUNKED) + sent)
            await is_timed_out(client)

    @pytest.mark.parametrize("kind", RUNNERS)
    async def test_silence_of_an_encoded_body(self, start, kind):
        _, connect = await start(kind, body_timeout=SHORT)
        for target in TARGETS:
            async with connect() as client:
                await client.send(head(target, "Content-Length: 9\r\nContent-Encoding: gzip"))
                await is_timed_out(client)

    async def test_silence_of_a_get(self, start):
        _, connect = await start(body_timeout=SHORT)
        for target in ("/sync", "/read/"):
            async with connect() as client:
                await client.send(head(target, method="GET"))
                await is_timed_out(client)

    @pytest.mark.parametrize(
        ("framing", "drop"),
        [
            ("Content-Length: 100000", b"x"),
            (CHUNKED, b"1\r\nx\r\n"),
        ],
    )
    async def test_drops_for_django(self, start, framing, drop):
        _, connect = await start(body_timeout=SHORT)
        async with connect() as client:
            await client.send(head("/sync", framing))
            answer = asyncio.ensure_future(client.answer())
            while not answer.done():
                await client.send(drop)
                await asyncio.sleep(0.05)
            assert (await answer).status == 408

    async def test_drops_of_trailers(self, start):
        _, connect = await start(body_timeout=SHORT)
        for target in TARGETS:
            async with connect() as client:
                await client.send(head(target, CHUNKED) + b"1\r\nx\r\n0\r\n")
                answer = asyncio.ensure_future(client.answer())
                for number in range(100):
                    if answer.done():
                        break
                    await client.send(b"X-%d: x\r\n" % number)
                    await asyncio.sleep(0.05)
                assert (await answer).status == 408

    async def test_a_coroutine_view_gets_what_comes_as_it_comes(self, start):
        """Less than for Django is enough there."""
        limit = 3.0
        _, connect = await start(body_timeout=limit)
        async with connect() as client:
            await client.send(head("/content/", "Content-Length: 45"))
            for _ in range(45):
                await client.send(b"x")
                await asyncio.sleep(limit / 30)
            answer = await client.answer()
            assert (answer.status, answer.text) == (200, "45")

    async def test_a_slow_upload_for_django(self, start):
        limit = 3.0
        _, connect = await start(body_timeout=limit)
        async with connect() as client:
            await client.send(head("/sync", "Content-Length: 46080"))
            for _ in range(45):
                await client.send(bytes(1024))
                await asyncio.sleep(limit / 30)
            answer = await client.answer()
            assert (answer.status, answer.text) == (200, "46080")

    @pytest.mark.parametrize("kind", RUNNERS)
    async def test_a_view_that_does_not_wait_for_it(self, start, kind):
        """Its own time is not the client's, whether the connection is full or not."""
        _, connect = await start(kind, body_timeout=SHORT)
        for size in (4, 1000 * 1000):
            async with connect() as client:
                await client.send(head("/late/", f"Content-Length: {size}") + b"x" * (size // 2))
                await asyncio.sleep(2 * SHORT)
                await client.send(b"x" * (size // 2))
                answer = await client.answer()
                assert (answer.status, answer.text) == (200, str(size))

    async def test_routes_without_a_fallback(self, start, monkeypatch):
        monkeypatch.setattr("aiodjango.views.handler.BODY_TIMEOUT", SHORT)
        main = web.Application()
        main.add_subapp("/sub/", get_aio_subapp())
        _, connect = await start(app=main)
        async with connect() as client:
            await client.send(head("/sub/read/"))
            await is_timed_out(client)


class TestShutdown:
    @pytest.mark.parametrize("target", TARGETS)
    async def test_a_body_that_is_arriving_is_received(self, start, target):
        runner, connect = await start(shutdown_timeout=LONGER)
        async with connect() as client, connect() as idle:
            await client.send(head(target, "Content-Length: 4") + b"a=")
            await until(lambda: runner.server.requests_count)
            await until(lambda: len(runner.server.connections) == 2)
            ending = asyncio.ensure_future(runner.cleanup())
            await until(lambda: not runner.sites)
            assert await idle.at_end()  # those were told to close …
            await client.send(b"1&")  # … and this goes on
            answer = await client.answer()
            assert (answer.status, answer.text) == (200, "1" if target == "/post/" else "4")
            await ending

    @pytest.mark.parametrize("target", TARGETS)
    async def test_a_body_that_is_not_complete_in_time(self, start, target):
        runner, connect = await start(shutdown_timeout=4)
        async with connect() as client:
            await client.send(head(target) + b"a=")
            await until(lambda: runner.server.requests_count)
            ending = asyncio.ensure_future(runner.cleanup())
            assert (await client.answer()).status == 503
            assert await client.at_end()
            await ending

    @pytest.mark.parametrize("target", TARGETS)
    async def test_a_server_that_ignores_what_arrives(self, start, target):
        """aiohttp's own: the request ends at once, not after the time that it has."""
        runner, connect = await start(web.AppRunner, shutdown_timeout=LONGER)
        async with connect() as client:
            await client.send(head(target) + b"a=")
            await until(lambda: runner.server.requests_count)
            ending = asyncio.ensure_future(runner.cleanup())
            assert (await client.answer()).status == 503
            assert await client.at_end()
            await ending
