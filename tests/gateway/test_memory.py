"""What bodies cost in memory: large ones, and those of many clients that stand still."""

import asyncio
import contextlib
import gc
import gzip
import json
import os
import sys
import tempfile
import threading
import zlib

import pytest
from aiohttp import web

from aiodjango.gateway.spool import UNCOUNTED, MemoryBudget, Share
from tests.gateway.client import Client
from tests.support.descriptors import open_descriptors
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE, LONGER

KIB = 1024
MIB = 1024 * KIB


class TestBudget:
    def test_what_is_given_back_can_be_taken_again(self):
        budget = MemoryBudget(100)
        assert budget.take(60)
        assert not budget.take(41)
        assert budget.take(40)
        budget.give_back(60)
        assert budget.taken == 40
        assert budget.take(60)

    def test_a_share_begins_above_what_is_not_counted(self):
        budget = MemoryBudget(100)
        share = Share(budget)
        assert share.resize(UNCOUNTED)
        assert budget.taken == 0
        assert share.resize(UNCOUNTED + 100)
        assert not share.resize(UNCOUNTED + 101)
        assert budget.taken == 100
        assert share.resize(UNCOUNTED + 1)
        assert budget.taken == 1

    def test_a_share_that_is_forgotten_is_given_back(self):
        budget = MemoryBudget(100)
        share = Share(budget)
        share.resize(UNCOUNTED + 100)
        del share
        assert budget.taken == 0


@contextlib.asynccontextmanager
async def serving(**options):
    """A server in a process of its own; gives a client of it and its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.gateway.memory_server",
        json.dumps(options),
        cwd=ROOT,
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), DEADLINE))
        async with Client("127.0.0.1", port) as client:
            await client.request("POST", "/", body=b"x")
            yield client, port
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), DEADLINE)
    assert process.returncode == 0


async def memory(client):
    return json.loads((await client.request("GET", "/memory")).body)


@contextlib.asynccontextmanager
async def standing_still(port, number, data):
    """Clients that have sent `data`, and read nothing."""
    clients = [Client("127.0.0.1", port, receive_buffer=4096) for _ in range(number)]
    async with contextlib.AsyncExitStack() as stack:
        for client in clients:
            await stack.enter_async_context(client)
            await client.send(data)
        yield


async def settled(client):
    """Wait until the server has nothing to do; gives the memory then."""
    seen, before = await memory(client), None
    while seen["busy"] or seen["now"] != before:
        before = seen["now"]
        await asyncio.sleep(0.1)
        seen = await memory(client)
    return seen


class TestSize:
    """The size of one body does not show in the memory that the server takes."""

    async def test_upload(self):
        async with serving() as (client, _):
            before = await memory(client)
            await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 314572800\r\n\r\n")
            for _ in range(300):
                await client.send(b"x" * MIB)
            assert (await client.answer()).body == b"314572800"
            assert (await memory(client))["most"] - before["most"] < 16 * MIB

    @pytest.mark.parametrize("kind", ["stream", "file"])
    async def test_download(self, kind):
        async with serving() as (client, _):
            before = await memory(client)
            await client.send(f"GET /{kind}?{300 * MIB} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await client.head()
            left = 300 * MIB
            while left:
                left -= len(await client.reader.read(min(left, MIB)))
            assert (await memory(client))["most"] - before["most"] < 16 * MIB


class TestClientsThatStandStill:
    """Their bodies stay in memory up to a total, 128 times `body_memory_limit`, then in files.

    Beside that a connection has buffers of its own.
    """

    async def test_whole_responses(self):
        async with serving(threads=2, body_memory_limit=64 * KIB) as (client, port):
            before = await memory(client)
            request = b"GET /whole?2097152 HTTP/1.1\r\nHost: x\r\n\r\n"
            async with standing_still(port, 60, request):
                after = await settled(client)
        assert after["now"] - before["now"] < 8 * MIB + 60 * 256 * KIB
        assert after["most"] - before["most"] < 3 * 8 * MIB + 60 * 256 * KIB

    async def test_uploads(self):
        async with serving(threads=2) as (client, port):
            before = await memory(client)
            upload = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
            async with standing_still(port, 400, upload + b"x" * 510 * KIB):
                after = await settled(client)
        assert after["now"] - before["now"] < 64 * MIB + 400 * 128 * KIB


async def test_endless_streams_that_compute_leave_time_for_others():
    """Each of them would take all the time that it gets, for small parts that nobody reads.

    How much they leave is measured in benchmarks/: "coroutine beside streams that compute".
    """
    async with serving() as (client, port):
        request = b"GET /endless?100 HTTP/1.1\r\nHost: x\r\n\r\n"
        async with standing_still(port, 24, request):
            for _ in range(15):
                assert (await client.request("POST", "/", body=b"quick")).body == b"5"


async def test_a_body_that_others_leave_no_memory_for_goes_to_a_file(serve, until):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [type(environ["wsgi.input"]).__name__.encode()]

    server = await serve(application, body_memory_limit=UNCOUNTED * 2)
    body = b"x" * UNCOUNTED * 2
    in_memory = (await server.post("/", body)).body
    started = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 1}\r\n\r\n".encode()
    budget = 128 * UNCOUNTED * 2
    # The first half of each is not counted.
    async with standing_still(server.port, budget // UNCOUNTED, started + body):
        await until(lambda: server.connections == budget // UNCOUNTED)
        for _ in range(500):
            if (in_file := (await server.post("/", body)).body) != in_memory:
                break
        assert in_file != in_memory
        # A small one is no matter.
        assert (await server.post("/", b"small")).body == in_memory
    async with asyncio.timeout(DEADLINE):
        while (await server.post("/", body)).body != in_memory:
            pass


@pytest.fixture(params=[1, 512 * KIB], ids=["in a file", "in memory"])
def limit(request):
    """body_memory_limit: there is memory for no large response, or for all."""
    return request.param


class TestLargeResponse:
    CONTENT = os.urandom(3 * MIB)

    def application(self, environ, start_response):
        headers = [("Content-Type", "text/plain; charset=latin-1")]
        if environ["PATH_INFO"] == "/last":
            headers.append(("Connection", "close"))
        if environ["PATH_INFO"] == "/short":
            headers.append(("Content-Length", str(len(self.CONTENT) + 1)))
        start_response("200 OK", headers)
        return [self.CONTENT]

    async def test_whole(self, serve, limit):
        server = await serve(self.application, body_memory_limit=limit)
        async with server.client() as client:
            for _ in range(3):
                answer = await client.request("GET", "/")
                assert answer.header("Content-Length") == str(len(self.CONTENT))
                assert answer.body == self.CONTENT

    async def test_shorter_than_its_length(self, serve, limit):
        server = await serve(self.application, body_memory_limit=limit)
        async with server.client() as client:
            answer = await client.request("GET", "/short")
            assert (answer.body, answer.complete) == (self.CONTENT, False)
            assert await client.at_end()

    async def test_the_application_may_close_the_connection(self, serve, limit):
        server = await serve(self.application, body_memory_limit=limit)
        async with server.client() as client:
            answer = await client.request("GET", "/last")
            assert (answer.header("Connection"), answer.body) == ("close", self.CONTENT)
            assert await client.at_end()

    async def test_head(self, serve, limit):
        server = await serve(self.application, body_memory_limit=limit)
        async with server.client() as client:
            answer = await client.request("HEAD", "/")
            assert answer.header("Content-Length") == str(len(self.CONTENT))
            assert (await client.request("GET", "/")).body == self.CONTENT

    async def test_a_middleware_may_read_and_replace_it(self, serve, limit):
        seen = []

        @web.middleware
        async def read(request, handler):
            response = await handler(request)
            seen.append((response.body, response.text))
            if request.path == "/other":
                response.body = response.body[::-1]
            return response

        server = await serve(self.application, body_memory_limit=limit, middlewares=[read])
        assert (await server.get()).body == self.CONTENT
        assert seen == [(self.CONTENT, self.CONTENT.decode("latin-1"))]
        assert (await server.get("/other")).body == self.CONTENT[::-1]

    async def test_a_middleware_may_compress_it(self, serve, limit):
        @web.middleware
        async def compress(request, handler):
            response = await handler(request)
            response.enable_compression()
            return response

        server = await serve(self.application, body_memory_limit=limit, middlewares=[compress])
        answer = await server.get(headers={"Accept-Encoding": "gzip"})
        assert gzip.decompress(answer.body) == self.CONTENT
        answer = await server.get(headers={"Accept-Encoding": "deflate"})
        assert zlib.decompress(answer.body) == self.CONTENT

    async def test_its_file_is_closed(self, serve, until):
        @web.middleware
        async def other(request, handler):
            response = await handler(request)
            return web.Response() if request.path == "/other" else response

        server = await serve(self.application, body_memory_limit=1, middlewares=[other])
        await server.get()
        await until(lambda: server.connections == 0)
        before = open_descriptors()
        await server.get("/other")
        async with standing_still(server.port, 5, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            # A connection at each end, and a file.
            await until(lambda: open_descriptors() >= before + 5 * 3)
        await until(lambda: open_descriptors() <= before)

    async def test_its_file_is_closed_by_a_garbage_collection(self, serve, until):
        itself = web.ResponseKey("itself", web.StreamResponse)

        @web.middleware
        async def other(request, handler):
            response = await handler(request)
            response[itself] = response
            return web.Response()

        def is_closed():
            gc.collect()
            return open_descriptors() <= before

        server = await serve(self.application, body_memory_limit=1, middlewares=[other])
        async with server.client() as client:
            await until(lambda: server.connections == 1)
            before = open_descriptors()
            # An earlier collection would change the order in which this one calls finalizers.
            gc.disable()
            try:
                assert (await client.request("GET", "/")).status == 200
                await until(lambda: server.gateway.busy == 0)
                await until(is_closed)
            finally:
                gc.enable()

    async def test_its_file_is_closed_when_nobody_waits_for_it(self, serve, until):
        arrived, go_on = threading.Event(), threading.Event()

        def application(environ, start_response):
            arrived.set()
            go_on.wait(LONGER)
            return self.application(environ, start_response)

        server = await serve(
            application, body_memory_limit=1, runner_options={"handler_cancellation": True}
        )
        before = open_descriptors()
        async with server.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(arrived.is_set)
        await until(lambda: not server.runner.server.connections)
        go_on.set()
        await until(lambda: server.gateway.busy == 0)
        await until(lambda: open_descriptors() <= before)

    async def test_without_room_for_a_file_it_stays_in_memory(
        self, serve, tmp_path, monkeypatch, gateway_log
    ):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
        server = await serve(self.application, body_memory_limit=1)
        assert (await server.get()).body == self.CONTENT
        assert any("No file for a large response" in message for message in gateway_log())


async def test_a_stream_without_room_for_a_file_breaks_off(
    serve, tmp_path, monkeypatch, until, gateway_log
):
    def application(environ, start_response):
        start_response("200 OK", [])
        for _ in range(64):
            yield b"x" * MIB

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    server = await serve(application, body_memory_limit=1)
    async with Client("127.0.0.1", server.port, receive_buffer=4096) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(gateway_log)
        assert not (await client.answer()).complete
    assert gateway_log() == ["Error in the WSGI application: GET /"]


async def test_a_large_body_of_unknown_length(serve, limit):
    """One part, as Django's responses are where no middleware adds a Content-Length."""
    content = os.urandom(3 * MIB)

    def application(environ, start_response):
        start_response("200 OK", [])
        yield content

    server = await serve(application, body_memory_limit=limit)
    async with server.client() as client:
        for _ in range(3):
            assert (await client.request("GET", "/")).body == content
