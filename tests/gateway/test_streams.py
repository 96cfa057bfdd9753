"""Streaming responses: running ahead, slow readers, threads that stand aside, endings."""

import asyncio
import contextlib
import hashlib
import random
import threading

import pytest
from aiohttp import web

from aiodjango.gateway import stream as streams
from tests.gateway.client import Client
from tests.support.descriptors import open_descriptors
from tests.support.waiting import DEADLINE, LONGER

KIB = 1024
MIB = 1024 * KIB


class Streaming:
    """An application that streams `count` parts of `size` bytes, and notes how far it is."""

    def __init__(self, size, count, headers=()):
        self.size = size
        self.count = count
        self.headers = list(headers)
        self.made = 0
        self.started = 0
        self.open = 0
        self.lock = threading.Lock()
        self.threads = set()

    def __call__(self, environ, start_response):
        start_response("200 OK", self.headers)
        if environ["PATH_INFO"] == "/quick":
            return [b"quick"]
        return self.parts()

    def parts(self):
        with self.lock:
            self.started += 1
            self.open += 1
            self.threads.add(threading.get_ident())
        try:
            for _ in range(self.count):
                yield b"x" * self.size
                with self.lock:
                    self.made += self.size
        finally:
            with self.lock:
                self.open -= 1


def events():
    """An application whose streams sleep between their parts, and the event that ends them."""
    end = threading.Event()

    def parts():
        while not end.is_set():
            yield b"event"
            end.wait(0.02)

    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"quick"] if environ["PATH_INFO"] == "/quick" else parts()

    return end, application


async def start_reading(client, path="/"):
    await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return await client.head()


async def stalls(application):
    """Wait until the application makes nothing more: all buffers on the way are full."""
    made = -1
    while made != application.made:
        made = application.made
        await asyncio.sleep(0.1)


async def read_answer(client):
    await client.head()
    return await read_all(client)


async def read_all(client):
    total = 0
    while part := await client.chunk():
        total += len(part)
    return total


async def test_a_slow_reader_of_a_finite_stream_holds_no_thread(serve, until):
    application = Streaming(64 * KIB, 100)
    server = await serve(application, threads=1, body_memory_limit=128 * KIB)
    async with server.client() as slow:
        await start_reading(slow)
        # The whole stream is made, the thread is free, the reader has read nothing.
        await until(lambda: application.open == 0)
        assert application.made == 100 * 64 * KIB
        assert (await server.get("/quick")).body == b"quick"
        assert await read_all(slow) == 100 * 64 * KIB


async def test_a_stream_runs_ahead_no_further_than_the_limit(serve, until):
    application = Streaming(10 * KIB, 10_000)
    server = await serve(
        application, threads=1, body_memory_limit=64 * KIB, stream_buffer_limit=1 * MIB
    )
    async with server.client() as slow:
        await start_reading(slow)
        await until(lambda: application.made > 1 * MIB)
        # It stands beside the others: they have their thread.
        assert (await server.get("/quick")).body == b"quick"
        await asyncio.sleep(0.1)
        # What the sockets and aiohttp hold comes on top.
        assert application.made < 1 * MIB + 8 * MIB
        assert server.gateway.busy == 1
    await until(lambda: application.open == 0)


@pytest.mark.parametrize(
    ("memory", "limit"), [(1, 1), (1, 1000), (1000, 1000), (10_000, 100_000), (0, 50_000)]
)
async def test_nothing_is_lost_or_reordered(serve, memory, limit):
    """Through memory, file and both, with parts of all sizes, against a reader that dawdles."""
    generator = random.Random(f"{memory} {limit}")
    parts = [
        generator.randbytes(generator.choice([1, 10, 1000, 5000, 70_000, 200_000]))
        for _ in range(300)
    ]

    def application(environ, start_response):
        start_response("200 OK", [])
        yield from parts

    server = await serve(application, body_memory_limit=memory, stream_buffer_limit=limit)
    async with server.client() as client:
        await start_reading(client)
        digest = hashlib.sha256()
        number = 0
        while part := await client.chunk():
            digest.update(part)
            number += 1
            if number % 10 == 0:
                await asyncio.sleep(0.002)
        assert digest.digest() == hashlib.sha256(b"".join(parts)).digest()


async def test_with_a_content_length(serve):
    application = Streaming(10 * KIB, 100, [("Content-Length", str(1000 * KIB))])
    server = await serve(application, stream_buffer_limit=64 * KIB)
    async with server.client() as client:
        for _ in range(2):
            assert (await client.request("GET", "/")).body == b"x" * (1000 * KIB)


async def test_the_file_of_a_stream_is_closed(serve, until):
    application = Streaming(64 * KIB, 200)
    server = await serve(application, body_memory_limit=1)
    await server.get("/quick")
    before = open_descriptors()
    async with server.client() as client:
        await start_reading(client)
        assert await read_all(client) == 200 * 64 * KIB
    for _ in range(3):
        async with server.client() as client:
            await start_reading(client)
            await until(lambda: application.open == 0)
    await until(lambda: open_descriptors() <= before)


class TestStandingAside:
    async def test_stalled_streams_leave_the_threads_to_others(self, serve, until):
        application = Streaming(64 * KIB, 10_000)
        server = await serve(application, threads=2, max_streams=5, stream_buffer_limit=128 * KIB)
        clients = [server.client() for _ in range(5)]
        for number, client in enumerate(clients):
            await client.__aenter__()
            await start_reading(client)
            await until(lambda n=number: application.open == n + 1)
        for _ in range(3):
            assert (await server.get("/quick")).body == b"quick"
        assert server.gateway.busy >= 5
        for client in clients:
            await client.__aexit__()
        await until(lambda: application.open == 0 and server.gateway.busy == 0)
        # Threads are used again, not piled up.
        assert len(application.threads) <= 2 + 5

    async def test_beyond_max_streams_the_one_stalled_longest_is_cut(self, serve, until):
        application = Streaming(64 * KIB, 10_000)
        server = await serve(application, threads=2, max_streams=2, stream_buffer_limit=128 * KIB)
        async with server.client() as first, server.client() as second, server.client() as third:
            for number, client in enumerate((first, second)):
                await start_reading(client)
                await until(lambda n=number: server.gateway.streams == n + 1)
                await stalls(application)
            await start_reading(third)
            # The first one loses its connection, the others go on.
            await until(lambda: (application.started, application.open) == (3, 2))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await read_all(first)
            for client in (second, third):
                for _ in range(100):
                    assert await client.chunk()
        await until(lambda: application.open == 0)

    async def test_without_any_a_stalled_stream_is_cut(self, serve, until):
        application = Streaming(64 * KIB, 10_000)
        server = await serve(application, threads=1, max_streams=0, stream_buffer_limit=128 * KIB)
        async with server.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: (application.started, application.open) == (1, 0))
            # At the end of the connection: in the middle of the body, or of nothing at all.
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await read_answer(client)
        assert (await server.get("/quick")).body == b"quick"

    async def test_a_long_stream_leaves_its_place_although_it_is_read(self, serve, until):
        """Server-sent events from a sync generator, say: one thread each, beside the others."""
        go_on = threading.Event()

        def application(environ, start_response):
            start_response("200 OK", [])
            if environ["PATH_INFO"] == "/quick":
                return [b"quick"]

            def events():
                yield b"first"
                go_on.wait(LONGER)
                yield b"last"

            return events()

        server = await serve(application, threads=1)
        async with server.client() as reader:
            await start_reading(reader)
            assert await reader.chunk() == b"first"
            assert (await server.get("/quick")).body == b"quick"
            go_on.set()
            assert await reader.chunk() == b"last"
            assert await reader.chunk() == b""

    async def test_streams_step_aside_when_others_wait(self, serve, monkeypatch):
        """While nobody waits they would keep their place for longer."""
        monkeypatch.setattr(streams, "LONG_STREAM", LONGER)
        end, application = events()
        server = await serve(application, threads=1)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(5):
                client = await stack.enter_async_context(server.client())
                await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await server.get("/quick")).body == b"quick"
            end.set()

    async def test_without_room_a_long_stream_is_cut_when_others_wait(self, serve, until):
        """One too many, and every reader reads."""
        end, application = events()
        server = await serve(application, threads=1, max_streams=1)
        async with server.client() as first, server.client() as second:
            await start_reading(first)
            await until(lambda: server.gateway.streams == 1)
            await start_reading(second)
            assert (await server.get("/quick")).body == b"quick"
            # The last to come has lost its stream, the first goes on.
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await read_all(second)
            assert server.gateway.streams == 1
            end.set()
            await asyncio.wait_for(read_all(first), DEADLINE)


class TestEndings:
    async def test_a_stream_whose_reader_left_ends_at_its_next_part(self, serve, until):
        application = Streaming(1, 1_000_000_000)
        server = await serve(application, threads=1)
        async with server.client() as client:
            await start_reading(client)
            await until(lambda: application.open == 1)
        await until(lambda: application.open == 0)

    async def test_a_stalled_one_ends_when_its_reader_leaves(self, serve, until):
        application = Streaming(64 * KIB, 10_000)
        server = await serve(application, stream_buffer_limit=64 * KIB)
        async with server.client() as client:
            await start_reading(client)
            await until(lambda: server.gateway.streams == 1)
        await until(lambda: application.open == 0)
        await until(lambda: server.gateway.streams == 0)

    async def test_shutdown_ends_an_endless_stream_at_once(self, serve, until):
        step = threading.Semaphore(1)
        closed = threading.Event()

        def application(environ, start_response):
            start_response("200 OK", [])
            try:
                while True:
                    step.acquire(timeout=LONGER)
                    yield b"event"
            finally:
                closed.set()

        server = await serve(application, runner_options={"shutdown_timeout": LONGER})
        async with server.client() as client:
            await start_reading(client)
            assert await client.chunk() == b"event"
            cleanup = asyncio.ensure_future(server.runner.cleanup())
            # Shutting down begins; the application is in the middle of making its next part.
            await until(lambda: server.runner.server.connections == [] or not server.runner.sites)
            assert not closed.is_set()
            await asyncio.sleep(0.05)
            step.release()
            await asyncio.wait_for(cleanup, DEADLINE)
            assert closed.is_set()
            # Cut short, and so that it shows.
            with pytest.raises(asyncio.IncompleteReadError):
                await client.chunk()

    async def test_an_application_that_ignores_the_end_is_not_taken_for_complete(
        self, serve, until
    ):
        arrived, go_on = threading.Event(), threading.Event()

        def application(environ, start_response):
            write = start_response("200 OK", [])
            write(b"one part")
            arrived.set()
            go_on.wait(LONGER)
            try:
                write(b"another")
            except Exception:
                return [b""]

        server = await serve(application)
        async with server.client() as client:
            await start_reading(client)
            await until(arrived.is_set)
            await server.gateway.shutdown()
            go_on.set()
            assert await client.chunk() == b"one part"
            with pytest.raises(asyncio.IncompleteReadError):
                await client.chunk()

    async def test_shutdown_ends_a_stalled_stream(self, serve, until):
        application = Streaming(64 * KIB, 10_000)
        server = await serve(
            application,
            stream_buffer_limit=64 * KIB,
            runner_options={"shutdown_timeout": 0.5},
        )
        async with server.client() as client:
            await start_reading(client)
            await until(lambda: server.gateway.streams == 1)
            await asyncio.wait_for(server.runner.cleanup(), DEADLINE)
            assert application.open == 0

    async def test_a_middleware_may_throw_it_away(self, serve, until):
        @web.middleware
        async def other(request, handler):
            response = await handler(request)
            if request.path == "/quick":
                return response
            return web.Response(text="something else")

        application = Streaming(64 * KIB, 10_000)
        server = await serve(
            application, threads=1, middlewares=[other], stream_buffer_limit=64 * KIB
        )
        assert (await server.get("/")).body == b"something else"
        await until(lambda: application.open == 0)
        assert (await server.get("/quick")).body == b"quick"

    async def test_thrown_away_at_the_end_of_the_loop(self, serve, until):
        """Its file is closed although no thread is left to do it in."""

        @web.middleware
        async def other(request, handler):
            response = await handler(request)
            # A connection at each end, and the file.
            await until(lambda: open_descriptors() == before + 3)
            await asyncio.get_running_loop().shutdown_default_executor()
            return web.Response(text=f"something else than {response.status}")

        application = Streaming(64 * KIB, 10_000)
        server = await serve(application, middlewares=[other], body_memory_limit=1)
        before = open_descriptors()
        assert (await server.get()).body == b"something else than 200"
        await until(lambda: application.open == 0)
        await until(lambda: open_descriptors() <= before)

    async def test_a_middleware_may_change_its_headers(self, serve):
        @web.middleware
        async def more(request, handler):
            response = await handler(request)
            response.headers["X-More"] = "yes"
            response.set_cookie("a", "b")
            return response

        server = await serve(Streaming(1000, 3), middlewares=[more])
        answer = await server.get()
        assert answer.header("X-More") == "yes"
        assert answer.header("Set-Cookie") == "a=b; Path=/"
        assert answer.body == b"x" * 3000


async def test_slow_clients_are_not_noticed_by_others(serve, until, tmp_path):
    """Uploads and downloads that stand still, many of them, and two threads for all."""
    path = tmp_path / "file"
    with open(path, "wb") as file:
        file.truncate(16 * MIB)

    def application(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/file":
            return environ["wsgi.file_wrapper"](open(path, "rb"))
        if environ["PATH_INFO"] == "/stream":
            return (b"x" * 64 * KIB for _ in range(50))
        return [environ["wsgi.input"].read()]

    server = await serve(application, threads=2, max_streams=0)
    upload = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000
    clients = []
    for data in (
        upload,
        b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        for _ in range(40):
            client = Client("127.0.0.1", server.port, receive_buffer=4096)
            clients.append(await client.__aenter__())
            await client.send(data)
    await until(lambda: server.connections == 120 and not server.gateway.busy)
    for _ in range(20):
        assert (await asyncio.wait_for(server.post("/", b"quick"), DEADLINE)).body == b"quick"
    await until(lambda: server.connections == 120)
    for client in clients:
        await client.__aexit__()
