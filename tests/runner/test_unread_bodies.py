"""Encoded bodies that no handler reads to their end are not decoded after the response either."""

import zlib
from functools import cache

import pytest
from aiohttp import web
from django.contrib.auth.decorators import login_not_required
from django.core.wsgi import get_wsgi_application
from django.urls import path

from aiodjango import aio_login_required, get_aio_application, get_aio_subapp
from aiodjango.gateway.decoding import as_sent
from tests.gateway.client import Client

MIB = 1024 * 1024
DECODED = 64 * MIB


@cache
def encoded(coding: str) -> bytes:
    """Zeros, which become very little."""
    zeros = bytes(DECODED)
    if coding == "br":
        return pytest.importorskip("brotli").compress(zeros, quality=5)
    if coding == "zstd":
        try:
            from compression import zstd
        except ImportError:
            zstd = pytest.importorskip("backports.zstd")
        return zstd.compress(zeros)
    compressor = zlib.compressobj(wbits={"gzip": 31, "deflate": 15}[coding])
    return compressor.compress(zeros) + compressor.flush()


async def ignores(request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def reads_a_part(request: web.Request) -> web.Response:
    assert await request.content.read(10) == bytes(10)
    return web.Response(text="ok")


async def reads_too_much(request: web.Request) -> web.Response:
    await request.read()
    raise AssertionError("not reached: it is more than client_max_size")


async def streams(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write_eof(b"ok")
    return response


async def fails(request: web.Request) -> web.Response:
    raise web.HTTPConflict


@aio_login_required
async def members(request: web.Request) -> web.Response:
    raise AssertionError("not reached")


@login_not_required
async def socket(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    return ws


urlpatterns = [
    path("ignores/", ignores),
    path("part/", reads_a_part),
    path("much/", reads_too_much),
    path("streams/", streams),
    path("fails/", fails),
    path("members/", members),
    path("socket/", socket),
]

OTHER_SITE = "Origin: http://evil.test\r\n"
HANDSHAKE = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
REQUESTS = {
    "file": ("GET /static/a.txt", 200, ""),
    "file, head": ("HEAD /static/a.txt", 200, ""),
    "file, not found": ("GET /static/b.txt", 404, ""),
    "file, method": ("POST /static/a.txt", 405, ""),
    "file, asking first": ("GET /static/a.txt", 200, "Expect: 100-continue\r\n"),
    "media": ("GET /media/a.txt", 200, ""),
    "view": ("GET /ignores/", 200, ""),
    "view, post": ("POST /ignores/", 200, ""),
    "view, part": ("POST /part/", 200, ""),
    "view, too large": ("POST /much/", 413, ""),
    "view, stream": ("POST /streams/", 200, ""),
    "view, exception": ("POST /fails/", 409, ""),
    "host": ("GET http://evil.test/ignores/", 400, ""),
    "origin": ("POST /ignores/", 403, OTHER_SITE),
    "login": ("POST /members/", 302, ""),
    "websocket, origin": ("GET /socket/", 403, OTHER_SITE + HANDSHAKE),
    "websocket, version": ("GET /socket/", 400, HANDSHAKE),
    "expectation": ("POST /ignores/", 417, "Expect: a miracle\r\n"),
    "expectation, file": ("GET /static/a.txt", 417, "Expect: a miracle\r\n"),
    "expectation, fallback": ("POST /django/", 417, "Expect: a miracle\r\n"),
    "fallback, too large": ("POST /django/", 413, ""),
    "fallback, method": ("POST /host/", 405, ""),
}


@pytest.fixture
async def site(settings, tmp_path):
    """Connections to a server that decodes bodies, and the bodies of its requests."""
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test"]
    settings.STATIC_ROOT, settings.MEDIA_ROOT = tmp_path / "static", tmp_path / "media"
    settings.MEDIA_URL = "media/"
    for folder in (settings.STATIC_ROOT, settings.MEDIA_ROOT):
        folder.mkdir()
        (folder / "a.txt").write_text("ok")
    bodies = []
    app = get_aio_application(
        get_wsgi_application(), include_static=True, include_media=True, max_body_size=10 * MIB
    )
    app.router.add_get("/host/", ignores)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    make_request = runner.server.request_factory

    def make_noted_request(message, payload, *others):
        bodies.append(payload)
        return make_request(message, payload, *others)

    runner.server.request_factory = make_noted_request
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield lambda: Client(*runner.addresses[0]), bodies
    await runner.cleanup()


async def send(client, line, coding, extra="", *, chunked=False, body=None):
    body = encoded(coding) if body is None else body
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = (
        f"{line} HTTP/1.1\r\nHost: test\r\nContent-Encoding: {coding}\r\n{extra}{framing}\r\n\r\n"
    )
    if chunked:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    await client.send(head.encode() + body)


async def final_answer(client, method):
    answer = await client.answer(head_only=method == "HEAD")
    return await client.answer() if answer.status == 100 else answer


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_the_connection_ends_instead(site, coding, request_):
    connect, bodies = site
    line, status, extra = request_
    async with connect() as client:
        await send(client, line, coding, extra)
        answer = await final_answer(client, line.partition(" ")[0])
        assert (answer.status, answer.header("Connection")) == (status, "close")
        assert await client.at_end()
    (body,) = bodies
    # What the handler asked for: the fallback 10 MiB, a view at most 1 MiB, and what is buffered.
    assert body.total_bytes <= 13 * MIB


@pytest.mark.parametrize("line", ["GET /static/a.txt", "GET /ignores/", "POST /ignores/"])
async def test_a_chunked_one(site, line):
    connect, bodies = site
    async with connect() as client:
        await send(client, line, "gzip", chunked=True)
        assert (await client.answer()).status == 200
        assert await client.at_end()
    assert bodies[0].total_bytes <= 13 * MIB


@pytest.mark.parametrize("line", ["GET /static/a.txt", "POST /ignores/"])
async def test_a_client_that_is_still_sending_gets_its_answer(site, line):
    connect, bodies = site
    body = encoded("gzip")
    async with connect() as client:
        head = f"Host: test\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
        await client.send(f"{line} HTTP/1.1\r\n{head}".encode() + body[: len(body) // 2])
        assert (await client.answer()).status == 200
        await client.send(body[len(body) // 2 :])
        assert await client.at_end()
    assert bodies[0].total_bytes <= 2 * MIB


async def test_a_length_of_very_many_digits(site):
    connect, _ = site
    async with connect() as client:
        length = f"Content-Length: {'1' * 5000}\r\n"
        await send(client, "GET /static/a.txt", "gzip", length, chunked=True, body=b"")
        assert (await client.answer()).status in (200, 400)
        assert await client.at_end()


async def test_one_that_was_read_costs_no_connection(site):
    connect, _ = site
    small = zlib.compress(bytes(10))
    async with connect() as client:
        for _ in range(2):
            await send(client, "POST /part/", "deflate", body=small)
            answer = await client.answer()
            assert (answer.status, answer.header("Connection")) == (200, None)


async def test_one_without_a_coding_costs_no_connection(site):
    connect, _ = site
    async with connect() as client:
        for line in ["GET /static/a.txt", "POST /ignores/", "POST /fails/"]:
            await send(client, line, "identity", body=bytes(MIB))
            assert (await client.answer()).header("Connection") is None


async def test_a_subapp_without_a_fallback(settings):
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test"]
    seen = []

    async def note(request, response):
        seen.append(as_sent(request))

    main = web.Application()
    main.on_response_prepare.append(note)
    main.add_subapp("/sub/", get_aio_subapp())
    runner = web.AppRunner(main, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with Client(*runner.addresses[0]) as client:
            await send(client, "POST /sub/ignores/", "gzip")
            assert (await client.answer()).status == 200
            assert await client.at_end()
    finally:
        await runner.cleanup()
    assert seen[0].total_bytes <= 2 * MIB
