"""Clients that only end their sending are answered; those that leave are noticed, and noted."""

import asyncio
import logging
import sys
import threading
import time

import pytest
from aiohttp import web
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from aiodjango import FALLBACK, AioRunner, get_aio_application
from aiodjango.gateway.connection import Connection
from tests.conftest import require
from tests.gateway.client import Client
from tests.support.waiting import DEADLINE, LONGER, until

KIB = 1024
RUNNERS = [AioRunner, web.AppRunner]
PAUSE = 0.02  # seconds; what an application does between its parts


class Site:
    """The WSGI half of the site, and what its clients and the tests know of each other."""

    def __init__(self):
        self.go_on = threading.Event()
        self.begun = []
        self.ended = []
        self.log = []

    def __call__(self, environ, start_response):
        name = environ["PATH_INFO"].strip("/")
        self.begun.append(name)
        if name.startswith("later/"):
            self.go_on.wait(LONGER)
            name = name.removeprefix("later/")
        if name == "large":
            file = environ["wsgi.file_wrapper"]((self.folder / "large.bin").open("rb"))
            start_response("200 OK", [("Content-Length", str(file.filelike.seek(0, 2)))])
            file.filelike.seek(0)
            return file
        if name == "post":
            start_response("200 OK", [])
            return [environ["wsgi.input"].read()]
        if name in ("page", "later"):
            if name == "later":
                self.go_on.wait(LONGER)
            start_response("200 OK", [])
            return [b"page"]
        start_response("200 OK", [])
        return getattr(self, name)()

    def stream(self):
        yield b"first"
        self.go_on.wait(LONGER)
        for _ in range(20):
            yield b"x" * 64 * KIB
        yield b"last"

    def quiet(self):
        """Says something once, then nothing."""
        yield b"first"
        yield from self._nothing("quiet")

    def silent(self):
        """Never says anything."""
        yield from self._nothing("silent")

    def hesitant(self):
        """Says something after a while of saying nothing."""
        for _ in range(3):
            yield b""
            time.sleep(PAUSE)
        self.go_on.wait(LONGER)
        for _ in range(3):
            yield b""
            time.sleep(PAUSE)
        yield b"something"

    def failing(self):
        yield b"first"
        raise ZeroDivisionError

    def _nothing(self, name):
        try:
            while not self.go_on.is_set():
                yield b""
                time.sleep(PAUSE)
        finally:
            self.ended.append(name)


@csrf_exempt
async def page(request: web.Request) -> web.Response:
    body = await request.read()
    return web.Response(body=body or b"page")


async def later(request: web.Request) -> web.Response:
    site = SITE[-1]
    site.begun.append("co/later")
    await until(site.go_on.is_set)
    return web.Response(body=b"page")


async def stream(request: web.Request) -> web.StreamResponse:
    site = SITE[-1]
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"first")
    await until(site.go_on.is_set)
    for _ in range(20):
        await response.write(b"x" * 64 * KIB)
    await response.write_eof(b"last")
    return response


async def ticking(request: web.Request) -> web.StreamResponse:
    site = SITE[-1]
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b"tick")
            await asyncio.sleep(PAUSE)
    finally:
        site.ended.append("ticking")


async def socket_view(request: web.Request) -> web.WebSocketResponse:
    site = SITE[-1]
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    site.begun.append("socket")
    async for _ in ws:
        pass
    site.ended.append("socket")
    return ws


urlpatterns = [
    path("co/page/", page),
    path("co/later/", later),
    path("co/stream/", stream),
    path("co/ticking/", ticking),
    path("co/socket/", socket_view),
]
SITE = []
WHOLE_STREAM = b"first" + b"x" * (20 * 64 * KIB) + b"last"


class Handler(logging.Handler):
    """Keeps the messages of the access log."""

    def __init__(self, lines):
        super().__init__()
        self.lines = lines

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def site(settings, tmp_path):
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test"]
    settings.STATIC_ROOT = tmp_path
    (tmp_path / "small.txt").write_bytes(b"page")
    (tmp_path / "large.bin").write_bytes(WHOLE_STREAM)
    site = Site()
    site.folder = tmp_path
    SITE.append(site)
    yield site
    site.go_on.set()
    SITE.pop()


@pytest.fixture
async def start(site, tmp_path):
    """Start a server of a kind; returns a function that connects to it."""
    runners = []
    log = logging.Logger("access")
    log.addHandler(Handler(site.log))

    async def start(kind=AioRunner, *, unix=False, runner_options=None, **options):
        site.app = get_aio_application(site, include_static=True, **options)
        site.runner = kind(
            site.app,
            access_log=log,
            access_log_format="%r %s",
            **{"shutdown_timeout": 5, **(runner_options or {})},
        )
        runners.append(site.runner)
        await site.runner.setup()
        if unix:
            address = str(tmp_path / "socket")
            await web.UnixSite(site.runner, address).start()
            return lambda: Client(address)
        await web.TCPSite(site.runner, "127.0.0.1", 0).start()
        return lambda: Client(*site.runner.addresses[0])

    yield start
    site.go_on.set()
    for runner in runners:
        await runner.cleanup()


def head(line, extra=""):
    return f"{line} HTTP/1.1\r\nHost: test\r\n{extra}\r\n".encode()


POST = "Content-Length: 4\r\n"
# Sent before the client ends its sending, and the answer.
REQUESTS = {
    "page": (head("GET /page"), 200, b"page"),
    "http 1.0": (b"GET /page HTTP/1.0\r\n\r\n", 200, b"page"),
    "body": (head("POST /post", POST) + b"page", 200, b"page"),
    "chunked": (
        head("POST /post", "Transfer-Encoding: chunked\r\n") + b"4\r\npage\r\n0\r\n\r\n",
        200,
        b"page",
    ),
    "stream": (head("GET /stream"), 200, WHOLE_STREAM),
    "file of Django": (head("GET /large"), 200, WHOLE_STREAM),
    "hesitant stream": (head("GET /hesitant"), 200, b"something"),
    "small file": (head("GET /static/small.txt"), 200, b"page"),
    "large file": (head("GET /static/large.bin"), 200, WHOLE_STREAM),
    "too large": (head("POST /post", "Content-Length: 100\r\n") + bytes(100), 413, None),
    "no file": (head("GET /static/none.txt"), 404, None),
    "method": (head("POST /static/small.txt"), 405, None),
}
COROUTINES = {
    "page": (head("GET /co/page/"), 200, b"page"),
    "body": (head("POST /co/page/", POST) + b"body", 200, b"body"),
    "later": (head("GET /co/later/"), 200, b"page"),
    "stream": (head("GET /co/stream/"), 200, WHOLE_STREAM),
    "host": (head("GET http://other/co/page/"), 400, None),
    "handshake": (
        head("GET /co/socket/", "Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        400,
        None,
    ),
}


async def check_answers(client, *expected):
    for status, body in expected:
        answer = await client.answer()
        assert (answer.status, answer.complete) == (status, True)
        assert body is None or answer.body == body
    assert await client.at_end()


class TestHalfClosed:
    @pytest.mark.parametrize("kind", RUNNERS)
    @pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
    async def test_sync_and_files(self, site, start, kind, request_):
        if kind is web.AppRunner and sys.version_info < (3, 12):
            pytest.skip("the end is there before the request is handled")
        site.go_on.set()
        connect = await start(kind, max_body_size=10)
        sent, status, body = request_
        async with connect() as client:
            client.writer.write(sent)
            client.end_sending()
            await check_answers(client, (status, body))

    @pytest.mark.parametrize("request_", COROUTINES.values(), ids=COROUTINES)
    async def test_coroutine_views(self, site, start, request_):
        connect = await start()
        sent, status, body = request_
        async with connect() as client:
            client.writer.write(sent)
            client.end_sending()
            site.go_on.set()
            await check_answers(client, (status, body))

    @pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
    @pytest.mark.parametrize("name", ["later", "co/later"])
    async def test_while_the_view_runs(self, site, start, name, unix):
        connect = await start(unix=unix)
        async with connect() as client:
            await client.send(head(f"GET /{name}/"))
            await until(lambda: name in site.begun)
            client.end_sending()
            await until(lambda: has_ended(site))
            site.go_on.set()
            await check_answers(client, (200, b"page"))
        await until(lambda: site.log)
        assert site.log == [f"GET /{name}/ HTTP/1.1 200"]

    @pytest.mark.parametrize("name", ["stream", "co/stream"])
    async def test_in_the_middle_of_a_stream(self, site, start, name):
        connect = await start()
        async with connect() as client:
            await client.send(head(f"GET /{name}/"))
            await client.head()
            assert await client.chunk() == b"first"
            client.end_sending()
            await until(lambda: has_ended(site))
            site.go_on.set()
            parts = [b"first"]
            while parts[-1]:
                parts.append(await client.chunk())
            assert b"".join(parts) == WHOLE_STREAM
            assert await client.at_end()

    async def test_waiting_for_a_thread(self, site, start):
        connect = await start(threads=1)
        async with connect() as first, connect() as second:
            await first.send(head("GET /later"))
            await until(lambda: site.begun)
            await second.send(head("GET /page"))
            second.end_sending()
            await until(lambda: has_ended(site))
            site.go_on.set()
            assert (await first.answer()).status == 200
            await check_answers(second, (200, b"page"))

    async def test_gives_its_place_in_a_full_queue_to_others(self, site, start):
        connect = await start(threads=1, max_pending=1)
        async with connect() as first, connect() as second, connect() as third:
            await first.send(head("GET /later"))
            await until(lambda: site.begun)
            await second.send(head("GET /second"))
            await until(lambda: site.app[FALLBACK].pending == 1)
            second.end_sending()
            await until(lambda: has_ended(site))
            await third.send(head("GET /page"))
            await check_answers(second, (503, None))
            site.go_on.set()
            assert (await third.answer()).status == 200
        assert site.begun == ["later", "page"]

    async def test_pipelined_requests_are_all_answered(self, site, start):
        connect = await start()
        site.go_on.set()
        async with connect() as client:
            client.writer.write(
                head("GET /page") + head("GET /co/page/") + head("GET /later") + b"GET /half"
            )
            client.end_sending()
            await check_answers(client, *[(200, b"page")] * 3)

    @pytest.mark.parametrize("sent", [b"", b"GET /pa", head("GET /page")])
    async def test_an_idle_connection_ends(self, site, start, sent):
        connect = await start()
        async with connect() as client:
            await client.send(sent)
            if sent.endswith(b"\r\n\r\n"):
                await client.answer()
            client.end_sending()
            assert await client.at_end()

    @pytest.mark.parametrize("target", ["/post", "/co/page/"])
    async def test_an_incomplete_body_ends_the_connection(self, site, start, target):
        connect = await start()
        async with connect() as client:
            await client.send(head(f"POST {target}", POST) + b"pa")
            client.end_sending()
            assert await client.at_end()
        await until(lambda: not site.runner.server.connections)
        assert site.begun == []

    async def test_a_websocket_ends(self, site, start):
        connect = await start()
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        async with connect() as client:
            await client.send(
                head("GET /co/socket/", f"Upgrade: websocket\r\nConnection: Upgrade\r\n{key}")
            )
            await until(lambda: "socket" in site.begun)
            client.end_sending()
            await until(lambda: site.ended == ["socket"])

    async def test_a_server_that_cancels_handlers_still_does(self, site, start):
        connect = await start(runner_options={"handler_cancellation": True})
        async with connect() as client:
            await client.send(head("GET /co/later/"))
            await until(lambda: site.begun)
            client.end_sending()
            await until(lambda: not site.runner.server.connections)

    def test_on_uvloop(self, site):
        require(module="uvloop")
        import uvloop

        async def main():
            runner = AioRunner(get_aio_application(site), access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            for name in ("page", "co/page", "hesitant"):
                async with Client(*runner.addresses[0]) as client:
                    client.writer.write(head(f"GET /{name}/"))
                    client.end_sending()
                    assert (await client.answer()).status == 200
                    assert await client.at_end()
            await runner.cleanup()

        site.go_on.set()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())


def has_ended(site):
    """Whether the server knows that a client has ended its sending."""
    protocols = [
        handler.transport and handler.transport.get_protocol()
        for handler in site.runner.server.connections
    ]
    return any(isinstance(each, Connection) and each.ended for each in protocols)


class TestEmptyParts:
    @pytest.mark.parametrize("kind", RUNNERS)
    @pytest.mark.parametrize("leave", ["close", "abort"])
    @pytest.mark.parametrize("name", ["quiet", "silent"])
    async def test_a_client_that_left_is_noticed(self, site, start, kind, leave, name):
        connect = await start(kind)
        async with connect() as client:
            await client.send(head(f"GET /{name}"))
            if name == "quiet":
                await client.head()
            await until(lambda: site.begun)
            if leave == "abort":
                client.abort()
        await until(lambda: site.ended)
        await until(lambda: site.log)
        status = 200 if name == "quiet" else 499  # it had some of it
        assert site.log == [f"GET /{name} HTTP/1.1 {status}"]

    async def test_many_leave_room_for_others(self, site, start):
        connect = await start()
        clients = [connect() for _ in range(8)]
        for client in clients:
            await client.__aenter__()
            await client.send(head("GET /silent"))
        await until(lambda: len(site.begun) == 8)
        async with connect() as client:
            await client.send(head("GET /page"))
            assert (await client.answer()).status == 200
        for client in clients:
            await client.__aexit__()
        await until(lambda: len(site.ended) == 8)

    async def test_the_shutdown_ends_them(self, site, start):
        connect = await start(runner_options={"shutdown_timeout": LONGER})
        async with connect() as quiet, connect() as silent:
            for client, name in ((quiet, "quiet"), (silent, "silent")):
                await client.send(head(f"GET /{name}"))
            await until(lambda: len(site.begun) == 2)
            await asyncio.wait_for(site.runner.cleanup(), DEADLINE)
            assert sorted(site.ended) == ["quiet", "silent"]
            assert (await silent.answer()).status == 503

    async def test_one_that_waits_gets_all(self, site, start):
        connect = await start()
        async with connect() as client:
            await client.send(head("GET /hesitant"))
            site.go_on.set()
            assert (await client.answer()).body == b"something"


class TestLog:
    @pytest.mark.parametrize("leave", ["close", "abort"])
    @pytest.mark.parametrize(
        ("name", "kind"),
        [("later", AioRunner), ("later", web.AppRunner), ("co/later", AioRunner)],
    )
    async def test_a_client_that_hung_up_while_the_view_ran(self, site, start, name, kind, leave):
        connect = await start(kind)
        async with connect() as client:
            await client.send(head(f"GET /{name}/"))
            await until(lambda: site.begun)
            if leave == "abort":
                client.abort()
        await until(
            lambda: (
                has_ended(site)
                or all(each.transport is None for each in site.runner.server.connections)
            )
        )
        site.go_on.set()
        await until(lambda: site.log)
        assert site.log == [f"GET /{name}/ HTTP/1.1 499"]

    @pytest.mark.parametrize("leave", ["close", "abort"])
    async def test_a_client_that_left_before_a_stream_or_file(self, site, start, leave):
        connect = await start()
        for name in ("later/stream", "later/large"):
            site.begun.clear()
            site.log.clear()
            site.go_on.clear()
            async with connect() as client:
                await client.send(head(f"GET /{name}"))
                await until(lambda: site.begun)
                if leave == "abort":
                    client.abort()
            await until(
                lambda: (
                    has_ended(site)
                    or all(each.transport is None for each in site.runner.server.connections)
                )
            )
            site.go_on.set()
            await until(lambda: site.log)
            assert site.log == [f"GET /{name} HTTP/1.1 499"]

    @pytest.mark.parametrize("path", ["/stream", "/co/ticking/", "/large", "/static/large.bin"])
    async def test_a_client_that_left_in_the_middle(self, site, start, path):
        connect = await start()
        site.go_on.set()
        (site.folder / "large.bin").write_bytes(bytes(20_000 * KIB))
        async with connect() as client:
            await client.send(head(f"GET {path}"))
            await client.head()
            client.abort()
        await until(lambda: site.log)
        assert site.log == [f"GET {path} HTTP/1.1 200"]

    async def test_a_stream_that_fails_is_no_departure(self, site, start):
        connect = await start()
        async with connect() as client:
            await client.send(head("GET /failing"))
            assert not (await client.answer()).complete
        await until(lambda: site.log)
        assert site.log == ["GET /failing HTTP/1.1 200"]

    async def test_a_coroutine_view_learns_of_it_when_it_writes(self, site, start):
        connect = await start()
        async with connect() as client:
            await client.send(head("GET /co/ticking/"))
            await client.head()
        await until(lambda: site.ended == ["ticking"])
