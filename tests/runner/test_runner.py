"""AioRunner: its limits, other protocols, and the end."""

import asyncio
import logging
import socket as socketlib

import aiohttp
import pytest
from aiohttp import WSCloseCode, web
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from aiodjango import AioRunner, get_aio_application, get_aio_routes
from tests.gateway.client import Client
from tests.runner.conftest import RUNNERS
from tests.support.waiting import DEADLINE, LONGER


@csrf_exempt
def sync(request):
    return HttpResponse(f"{request.method} {len(request.get_full_path())}")


@csrf_exempt
async def lifted(request):
    return web.Response(text=f"{request.method} {len(request.path_qs)}")


async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data)
    return ws


async def events(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b"data: first\n\n")
    await asyncio.Event().wait()


urlpatterns = [
    path("sync/", sync),
    path("lifted/", lifted),
    path("socket/", socket),
    path("events/", events),
]


@pytest.fixture
def app(settings):
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["*"]
    return get_aio_application()


# ---- Options ----


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_line_size": 0}, ValueError, "max_line_size must be at least 1, not 0"),
        ({"max_field_size": "8k"}, TypeError, "max_field_size must be a whole number, not '8k'"),
        ({"max_headers": True}, TypeError, "max_headers must be a whole number, not True"),
        ({"shutdown_timeout": -1}, ValueError, "shutdown_timeout must not be negative, but is -1"),
        ({"shutdown_timeout": None}, TypeError, "shutdown_timeout must be a number of seconds"),
        ({"idle_grace": float("nan")}, ValueError, "idle_grace must not be negative, but is nan"),
        ({"max_lines": 1, "a": 1}, TypeError, "AioRunner has no option a, max_lines"),
        ({"auto_decompress": False}, TypeError, "AioRunner has no option auto_decompress"),
    ],
)
def test_an_invalid_option_is_an_error_that_names_it(options, error, message):
    with pytest.raises(error, match=message):
        AioRunner(web.Application(), **options)


def test_the_options_of_aiohttp_are_taken():
    runner = AioRunner(
        web.Application(),
        handle_signals=True,
        keepalive_timeout=5,
        access_log=None,
        handler_cancellation=True,
        lingering_time=1,
    )
    assert isinstance(runner, web.AppRunner)


async def test_a_handler_is_cancelled_where_the_option_says_so(serve):
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(request):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    app = web.Application()
    app.router.add_get("/", wait)
    server = await serve(app, handler_cancellation=True)
    async with server.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        await asyncio.wait_for(begun.wait(), DEADLINE)
    await asyncio.wait_for(cancelled.wait(), DEADLINE)


# ---- Limits ----


@pytest.mark.parametrize("half", ["sync", "lifted"])
@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        (8190, {}, 200),
        (8191, {}, 400),
        (10, {"X-Long": "a" * 8190}, 200),
        (10, {"X-Long": "a" * 8191}, 400),
        (10, {f"X-{number}": "a" for number in range(120)}, 200),
        (10, {f"X-{number}": "a" for number in range(130)}, 400),
    ],
)
async def test_the_limits_by_default_are_aiohttps(app, serve, half, target, headers, status):
    server = await serve(app)
    path_ = f"/{half}/?".ljust(target, "a") if target > 100 else f"/{half}/"
    assert (await server.request("GET", path_, headers=headers)).status == status


async def test_limits_can_be_raised_and_lowered(app, serve):
    server = await serve(app, max_line_size=20_000, max_field_size=20_000, max_headers=3)
    for half in ["sync", "lifted"]:
        headers = {"X-Long": "a" * 19_000}
        answer = await server.request("GET", f"/{half}/?".ljust(20_000, "a"), headers=headers)
        assert answer.text == "GET 20000"
        assert (await server.request("GET", f"/{half}/?".ljust(20_001, "a"))).status == 400
        many = {f"X-{number}": "a" for number in range(3)}  # and Host
        assert (await server.request("GET", f"/{half}/", headers=many)).status == 400


# ---- Protocols ----

OTHERS = ["RTSP/1.0", "RTSP/1.1", "RTSP/2.0", "ICE/1.0", "SIP/2.0", "HTTP/2.0", "HTTP/0.9"]


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "DESCRIBE", "SOURCE"])
@pytest.mark.parametrize("protocol", OTHERS)
@pytest.mark.parametrize("half", ["sync", "lifted"])
async def test_other_protocols_are_refused(app, serve, protocol, method, half):
    received = await (await serve(app)).raw(
        f"{method} /{half}/ {protocol}\r\nHost: test\r\n\r\n".encode()
    )
    assert received.split(b" ")[1] == b"400"
    assert received.count(b"HTTP/1.") == 1


@pytest.mark.parametrize("at", range(1, 21, 3))
async def test_other_protocols_are_refused_in_pieces(app, serve, at):
    line = b"GET /sync/ RTSP/1.0\r\nHost: test\r\n\r\n"
    async with (await serve(app)).client() as client:
        await client.send(line[:at])
        await asyncio.sleep(0.05)
        await client.send(line[at:])
        assert (await client.answer()).status == 400


@pytest.mark.parametrize(
    "start", [b"", b"\r\n", b"\r\n\r\n"], ids=["plain", "empty line", "two empty lines"]
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_http_is_taken_in_pieces_of_any_size(app, serve, start, version):
    line = start + f"GET /sync/?RTSP/1.0 HTTP/{version}\r\nHost: test\r\n\r\n".encode()
    async with (await serve(app)).client() as client:
        for at in range(len(line)):
            await client.send(line[at : at + 1])
            await asyncio.sleep(0)
        assert (await client.answer()).status == 200


async def test_a_refusal_is_no_error_of_the_log(app, serve, caplog):
    caplog.set_level(logging.INFO, logger="aiohttp.server")
    server = await serve(app)
    await server.raw(b"GET /sync/ RTSP/1.0\r\n\r\n")
    assert [r for r in caplog.records if r.levelno > logging.INFO or r.exc_info] == []


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("FOO /sync/", 400),
        ("get /sync/", 400),
        ("GET /é/", 400),
        ("PROPFIND /sync/", 200),
        ("REPORT /lifted/", 200),
        ("M-SEARCH /sync/", 200),
        ("GET http://test", 404),
    ],
)
async def test_what_aiohttp_decides(app, serve, line, status, runner):
    """As docs/request.rst lists it, with the parser in C."""
    server = await serve(app, make_runner=RUNNERS[runner])
    head = f"{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    received = await server.raw(head.encode())
    assert int(received.split(b" ")[1]) == status


# ---- The end ----


async def test_a_connection_that_was_just_accepted_is_served(app):
    """Its request is still on its way when the server begins to end."""
    runner = AioRunner(app, access_log=None, idle_grace=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not runner.server.connections:
        await asyncio.sleep(0)
    ending = asyncio.ensure_future(runner.cleanup())
    while runner.addresses:
        await asyncio.sleep(0)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /sync/ HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    await ending


async def test_a_connection_whose_task_has_not_begun_is_served(app):
    """Before Python 3.12 the task of a connection begins a step of the loop after its start."""
    loop = asyncio.get_running_loop()
    runner = AioRunner(app, access_log=None)
    await runner.setup()

    def make():
        # Two steps on: after connection_made(), which is called in the next one.
        loop.call_soon(loop.call_soon, runner.server.pre_shutdown)
        return runner.server()

    here, there = socketlib.socketpair()
    here.sendall(b"GET /sync/ HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    await loop.connect_accepted_socket(make, there)
    reader, writer = await asyncio.open_connection(sock=here)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    await runner.cleanup()


@pytest.mark.parametrize("half", ["sync", "lifted"])
async def test_a_kept_connection_is_told_of_the_end(app, half):
    """Or its client would send a further request in the moment that the server closes it."""
    runner = AioRunner(app, access_log=None, idle_grace=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with Client("127.0.0.1", runner.addresses[0][1]) as client:
        assert (await client.request("GET", f"/{half}/")).header("Connection") is None
        ending = asyncio.ensure_future(runner.cleanup())
        while runner.addresses:
            await asyncio.sleep(0)
        await client.send(f"GET /{half}/ HTTP/1.1\r\nHost: test\r\n\r\n".encode() * 3)
        answers = [await client.answer() for _ in range(3)]
        assert [answer.status for answer in answers] == [200] * 3
        assert [answer.header("Connection") for answer in answers] == [None, None, "close"]
        assert await client.reader.read() == b""
        await ending


async def test_without_connections_the_end_waits_for_nothing(app):
    runner = AioRunner(app, access_log=None, idle_grace=3600)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await asyncio.wait_for(runner.cleanup(), DEADLINE)


@pytest.mark.parametrize("kind", ["application", "routes alone"])
async def test_open_websockets_are_closed_with_a_code_and_event_streams_end(
    app, settings, kind, serve
):
    if kind == "routes alone":
        app = web.Application()
        app.add_routes(get_aio_routes())
    server = await serve(app, shutdown_timeout=LONGER)
    async with aiohttp.ClientSession(server.url) as client:
        sockets = [await client.ws_connect("/socket/") for _ in range(3)]
        async with client.get("/events/") as stream:
            assert await stream.content.readline() == b"data: first\n"
            ending = asyncio.ensure_future(server.runner.cleanup())
            for ws in sockets:
                message = await ws.receive()
                assert message.type is aiohttp.WSMsgType.CLOSE
                assert message.data == WSCloseCode.GOING_AWAY
                await ws.close()
            with pytest.raises(aiohttp.ClientPayloadError):  # the view was cancelled
                await stream.content.read()
        await asyncio.wait_for(ending, DEADLINE)  # long before shutdown_timeout
