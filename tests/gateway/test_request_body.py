"""PEP 3333: the input stream; how a body reaches the application, and how one is refused."""

import asyncio
import gzip
import io
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web

from aiodjango.gateway import Gateway
from aiodjango.gateway.body import WATCH_INTERVAL
from tests.gateway.client import Client
from tests.support.descriptors import open_descriptors
from tests.support.waiting import DEADLINE, LONGER

MIB = 1024 * 1024


def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [environ["wsgi.input"].read()]


def describe(environ, start_response):
    """What a body looks like from inside."""
    body = environ["wsgi.input"].read()
    seen = {
        "length": len(body),
        "CONTENT_LENGTH": environ.get("CONTENT_LENGTH"),
        "in memory": isinstance(environ["wsgi.input"], io.BytesIO),
        "headers": sorted(key for key in environ if key.startswith("HTTP_")),
        "input_terminated": environ["wsgi.input_terminated"],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]


async def chunked(client, path, chunks, *extra):
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *extra]
    await client.send("\r\n".join(lines).encode() + b"\r\n\r\n")
    for chunk in chunks:
        await client.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    await client.send(b"0\r\n\r\n")
    return await client.answer()


class TestInput:
    @pytest.mark.parametrize("size", [0, 1, 1000, 1024, 1025, 300_000])
    async def test_is_the_body_in_memory_or_in_a_file(self, serve, size):
        server = await serve(echo, body_memory_limit=1024)
        body = os.urandom(size)
        assert (await server.post("/", body)).body == body

    async def test_a_small_body_stays_in_memory(self, serve):
        server = await serve(describe, body_memory_limit=1024)
        assert json.loads((await server.post("/", b"x" * 1024)).body)["in memory"] is True

    async def test_a_large_body_goes_to_a_file(self, serve):
        server = await serve(describe, body_memory_limit=1024)
        seen = json.loads((await server.post("/", b"x" * 1025)).body)
        assert (seen["in memory"], seen["length"]) == (False, 1025)

    @pytest.mark.parametrize("memory", [1, 1_000_000])
    async def test_methods(self, serve, memory):
        seen = {}

        def application(environ, start_response):
            stream = environ["wsgi.input"]
            seen["read(3)"] = stream.read(3)
            seen["readline()"] = stream.readline()
            seen["readline(2)"] = stream.readline(2)
            seen["iteration"] = [next(iter(stream)) for _ in range(2)]
            seen["readlines()"] = stream.readlines()
            seen["read()"] = stream.read()
            start_response("200 OK", [])
            return []

        server = await serve(application, body_memory_limit=memory)
        await server.post("/", b"123first\nsecond\nthird\nfourth\nfifth")
        assert seen == {
            "read(3)": b"123",
            "readline()": b"first\n",
            "readline(2)": b"se",
            "iteration": [b"cond\n", b"third\n"],
            "readlines()": [b"fourth\n", b"fifth"],
            "read()": b"",
        }

    async def test_is_closed_with_the_request(self, serve, until):
        inputs = []

        def application(environ, start_response):
            inputs.append(environ["wsgi.input"])
            return echo(environ, start_response)

        server = await serve(application, body_memory_limit=10)
        await server.post("/", b"in a temporary file")
        await until(lambda: inputs[0].closed)

    async def test_without_a_body_there_is_no_length(self, serve):
        server = await serve(describe)
        assert json.loads((await server.get("/")).body)["CONTENT_LENGTH"] is None

    async def test_an_empty_body_has_its_length(self, serve):
        server = await serve(describe)
        assert json.loads((await server.post("/", b"")).body)["CONTENT_LENGTH"] == "0"

    async def test_the_thread_is_free_while_the_body_comes(self, serve):
        """One slow upload, one thread, and yet others are answered."""
        server = await serve(echo, threads=1)
        async with server.client() as slow:
            await slow.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
            assert (await server.post("/", b"quick")).body == b"quick"
            await slow.send(b"def")
            assert (await slow.answer()).body == b"abcdef"

    async def test_is_not_limited_by_aiohttp(self, serve):
        """aiohttp's client_max_size is 1 MiB."""
        server = await serve(describe)
        body = b"x" * (3 * MIB)
        assert json.loads((await server.post("/", body)).body)["length"] == 3 * MIB


class TestChunked:
    async def test_gets_a_content_length(self, serve):
        server = await serve(describe)
        async with server.client() as client:
            answer = await chunked(client, "/", [b"one", b"two", b"x" * 70_000])
            seen = json.loads(answer.body)
            assert seen["CONTENT_LENGTH"] == str(70_006)
            assert seen["length"] == 70_006
            assert seen["headers"] == ["HTTP_HOST"]
            assert seen["input_terminated"] is True
            # Nothing that follows a chunked body is trusted.
            assert answer.header("Connection") == "close"
            assert await client.at_end()

    async def test_of_nothing(self, serve):
        server = await serve(describe)
        async with server.client() as client:
            assert json.loads((await chunked(client, "/", [])).body)["CONTENT_LENGTH"] == "0"

    async def test_malformed(self, serve):
        called = []

        def application(environ, start_response):
            called.append(environ)
            return echo(environ, start_response)

        server = await serve(application)
        async with server.client() as client:
            await client.send(
                b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX\r\n"
            )
            assert (await client.answer()).status == 400
        assert called == []

    async def test_malformed_in_a_later_packet(self, serve):
        """aiohttp's parser in C notices, and tells nobody."""
        server = await serve(echo)
        async with server.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            await asyncio.sleep(0.05)  # another packet; were it the same, the test would be easier
            await client.send(b"not a chunk\r\n")
            assert (await client.answer()).status == 400
            assert await client.at_end()

    async def test_that_takes_longer_than_a_look_after_it(self, serve):
        server = await serve(echo)
        async with server.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(3):
                await asyncio.sleep(WATCH_INTERVAL / 2)
                await client.send(b"3\r\nabc\r\n")
            await client.send(b"0\r\n\r\n")
            assert (await client.answer()).body == b"abc" * 3


class TestReadBefore:
    """A middleware of the host's may have read the body already."""

    @pytest.mark.parametrize("body", [b"", b"x", b"x" * 200_000])
    async def test_whole(self, serve, body):
        @web.middleware
        async def reads(request, handler):
            assert await request.read() == body
            return await handler(request)

        server = await serve(describe, middlewares=[reads])
        seen = json.loads((await server.post("/", body)).body)
        assert (seen["length"], seen["CONTENT_LENGTH"]) == (len(body), str(len(body)))

    async def test_as_a_form(self, serve):
        @web.middleware
        async def reads(request, handler):
            assert (await request.post())["a"] == "b"
            return await handler(request)

        server = await serve(echo, middlewares=[reads])
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await server.post("/", b"a=b", headers=headers)).body == b"a=b"


class TestDecoded:
    """aiohttp undoes a Content-Encoding: the application must not try it again."""

    async def test_gzip(self, serve):
        server = await serve(describe)
        body = gzip.compress(b"x" * 1000)
        seen = json.loads((await server.post("/", body, headers={"Content-Encoding": "gzip"})).body)
        assert seen["length"] == 1000
        assert seen["CONTENT_LENGTH"] == "1000"
        assert "HTTP_CONTENT_ENCODING" not in seen["headers"]

    async def test_left_alone_when_aiohttp_leaves_it(self, serve):
        server = await serve(describe, runner_options={"auto_decompress": False})
        body = gzip.compress(b"x" * 1000)
        seen = json.loads((await server.post("/", body, headers={"Content-Encoding": "gzip"})).body)
        assert seen["length"] == len(body)
        assert "HTTP_CONTENT_ENCODING" in seen["headers"]

    async def test_a_bomb_is_measured_by_what_comes_out(self, serve):
        server = await serve(describe, max_body_size=100_000)
        body = gzip.compress(bytes(10 * MIB))
        assert len(body) < 100_000
        answer = await server.post("/", body, headers={"Content-Encoding": "gzip"})
        assert answer.status == 413

    async def test_what_cannot_be_decoded(self, serve):
        server = await serve(describe)
        answer = await server.post("/", b"not gzip", headers={"Content-Encoding": "gzip"})
        assert answer.status == 400


class TestTooLarge:
    async def test_at_the_limit(self, serve):
        server = await serve(describe, max_body_size=1000)
        assert (await server.post("/", b"x" * 1000)).status == 200

    async def test_by_its_length(self, serve):
        called = []

        def application(environ, start_response):
            called.append(environ)
            return echo(environ, start_response)

        server = await serve(application, max_body_size=1000)
        async with server.client() as client:
            # Refused before a byte of the body has come.
            await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
            answer = await client.answer()
            assert answer.status == 413
            assert answer.header("Connection") == "close"
            await client.send(b"x" * 1001)
            assert await client.at_end()
        assert called == []

    async def test_chunked(self, serve):
        server = await serve(describe, max_body_size=1000, body_memory_limit=100)
        async with server.client() as client:
            answer = await chunked(client, "/", [b"x" * 500] * 3)
            assert answer.status == 413
            assert await client.at_end()


class TestExpect:
    async def ask(self, client, length, expect="100-continue", version="1.1"):
        await client.send(
            f"POST / HTTP/{version}\r\nHost: x\r\nExpect: {expect}\r\n"
            f"Content-Length: {length}\r\n\r\n".encode()
        )

    async def test_the_body_is_asked_for(self, serve):
        server = await serve(echo)
        async with server.client() as client:
            await self.ask(client, 4)
            assert (await client.answer()).status == 100
            await client.send(b"body")
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"body")

    async def test_one_that_is_too_large_is_refused_before(self, serve):
        server = await serve(echo, max_body_size=1000)
        async with server.client() as client:
            await self.ask(client, 1001)
            answer = await client.answer()
            assert answer.status == 413
            assert answer.header("Connection") == "close"
            # At once: not after the time that aiohttp gives a body that is on its way.
            assert await asyncio.wait_for(client.at_end(), DEADLINE)

    async def test_refused_although_the_client_did_not_wait(self, serve):
        server = await serve(echo, max_body_size=1000)
        async with server.client() as client:
            await client.send(
                b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                b"Content-Length: 100000\r\n\r\n" + b"x" * 100000
            )
            assert (await client.answer()).status == 413

    async def test_of_something_else(self, serve):
        server = await serve(echo)
        async with server.client() as client:
            await self.ask(client, 4, expect="a miracle")
            assert (await client.answer()).status == 417
            assert await client.at_end()

    @pytest.mark.parametrize("expect", ["100-continue", "a miracle"])
    async def test_a_client_that_has_left(self, until, expect):
        """While the host did something of its own first."""
        gateway = Gateway(echo)
        answered = asyncio.get_running_loop().create_future()

        async def handle_expect(request):
            await until(lambda: request.transport is None)
            response = await gateway.handle_expect(request)
            answered.set_result(response.status)
            return response

        app = web.Application()
        app.router.add_post("/", gateway.handle, expect_handler=handle_expect)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            async with Client(*runner.addresses[0]) as client:
                await self.ask(client, 4, expect)
            assert await asyncio.wait_for(answered, DEADLINE) == 499
        finally:
            await runner.cleanup()

    async def test_http_1_0_expects_nothing(self, serve):
        server = await serve(echo)
        async with server.client() as client:
            await self.ask(client, 4, version="1.0")
            await client.send(b"body")
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, b"body")

    async def test_refused_when_overloaded(self, serve, until):
        go_on = threading.Event()

        def application(environ, start_response):
            go_on.wait(LONGER)
            return echo(environ, start_response)

        server = await serve(application, threads=1, max_pending=1)
        async with server.client() as first, server.client() as second, server.client() as third:
            for client, queued in ((first, 0), (second, 1)):
                await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await until(
                    lambda queued=queued: (
                        (server.gateway.busy, server.gateway.pending) == (1, queued)
                    )
                )
            await self.ask(third, 4)
            answer = await third.answer()
            assert (answer.status, answer.header("Retry-After")) == (503, "1")
            go_on.set()
            assert (await first.answer()).status == 200
            assert (await second.answer()).status == 200


class TestClientLeaves:
    @pytest.mark.parametrize("sent", [b"", b"x" * 10, b"x" * 200_000])
    async def test_before_the_body_is_complete(self, serve, until, sent, caplog):
        """The application never hears of it, no file stays open, nothing is logged."""
        called = []

        def application(environ, start_response):
            called.append(environ)
            return echo(environ, start_response)

        server = await serve(application, body_memory_limit=1000)
        before = open_descriptors()
        async with server.client() as client:
            await client.send(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + sent
            )
        await until(lambda: not server.runner.server.connections)
        await until(lambda: open_descriptors() <= before)
        assert called == []
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []

    @pytest.mark.parametrize("body", [b"", b"read by then", b"x" * 1000], ids=["no", "a", "long"])
    async def test_while_a_middleware_does_something(self, serve, until, body):
        """The application never hears of it; for the log there is a status."""
        answered = asyncio.get_running_loop().create_future()

        @web.middleware
        async def slow(request, handler):
            await request.read()
            await until(lambda: request.transport is None)
            response = await handler(request)
            answered.set_result(response.status)
            return response

        called = []
        server = await serve(
            lambda *args: called.append(args), middlewares=[slow], body_memory_limit=100
        )
        before = open_descriptors()
        async with server.client() as client:
            length = f"Content-Length: {len(body)}\r\n\r\n"
            await client.send(f"POST / HTTP/1.1\r\nHost: x\r\n{length}".encode() + body)
        assert await asyncio.wait_for(answered, DEADLINE) == 499
        await until(lambda: open_descriptors() <= before)
        assert called == []


@pytest.mark.parametrize("is_ending", [False, True])
async def test_a_cancelled_request_whose_file_is_being_written(serve, until, is_ending):
    """The file is closed when the thread has done with it, the last thing in a loop's life too."""

    @web.middleware
    async def note_end(request, handler):
        try:
            return await handler(request)
        finally:
            ended.set()

    ended, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    executor = ThreadPoolExecutor(1)
    loop.set_default_executor(executor)
    server = await serve(
        echo,
        body_memory_limit=1,
        middlewares=[note_end],
        runner_options={"handler_cancellation": True},
    )
    before = open_descriptors()
    executor.submit(threading.get_ident).result()
    executor.submit(go_on.wait, 20)  # in the only thread
    try:
        async with server.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
            await client.send(b"x" * 100_000)
            # A connection at each end, and the file.
            await until(lambda: open_descriptors() == before + 3)
        await asyncio.wait_for(ended.wait(), DEADLINE)
        assert open_descriptors() > before
        ending = asyncio.ensure_future(loop.shutdown_default_executor()) if is_ending else None
        await asyncio.sleep(0)
    finally:
        go_on.set()
    await until(lambda: open_descriptors() <= before)
    if ending is not None:
        await ending
