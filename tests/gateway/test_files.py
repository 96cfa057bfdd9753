"""PEP 3333: optional platform-specific file handling (`wsgi.file_wrapper`)."""

import asyncio
import contextlib
import gzip
import io
import logging
import os
import socket
import ssl
import struct
import subprocess
import tempfile
import threading

import pytest
from aiohttp import web

from tests.conftest import require
from tests.gateway.client import Client
from tests.support.descriptors import open_descriptors
from tests.support.environment import environment
from tests.support.waiting import DEADLINE

SIZE = 1_000_000
CONTENT = bytes(range(256)) * (SIZE // 256) + b"!" * (SIZE % 256)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    return path


class Application:
    """Sends what `make()` opens, through the wrapper, and keeps it to be looked at."""

    def __init__(self, make, headers=()):
        self.make = make
        self.headers = list(headers)
        self.files = []
        self.reads = 0

    def __call__(self, environ, start_response):
        file = self.make()
        self.files.append(file)
        start_response("200 OK", self.headers)
        return environ["wsgi.file_wrapper"](file, 4096)


class Reader:
    """A file-like object of nothing but read() and close()."""

    def __init__(self, file):
        self.file = file
        self.closed_in = []

    def read(self, size):
        return self.file.read(size)

    def close(self):
        self.closed_in.append(threading.get_ident())
        self.file.close()


def at_offset(path, offset):
    file = open(path, "rb")
    file.read(offset)  # buffered: the descriptor itself stands further on
    return file


def temporary(content):
    file = tempfile.NamedTemporaryFile()
    file.write(content)
    file.seek(0)
    return file


class TestPlainFiles:
    @pytest.mark.parametrize("buffering", [-1, 0])
    async def test_whole(self, serve, path, buffering, until):
        application = Application(lambda: open(path, "rb", buffering=buffering))
        server = await serve(application)
        async with server.client() as client:
            for _ in range(2):
                answer = await client.request("GET", "/")
                assert answer.header("Content-Length") == str(SIZE)
                assert answer.body == CONTENT
        await until(lambda: all(file.closed for file in application.files))

    async def test_from_the_position_of_the_file(self, serve, path):
        server = await serve(Application(lambda: at_offset(path, 1000)))
        answer = await server.get()
        assert answer.header("Content-Length") == str(SIZE - 1000)
        assert answer.body == CONTENT[1000:]

    @pytest.mark.parametrize("length", [0, 1, 1000, 500_000])
    async def test_no_more_than_content_length(self, serve, path, length):
        """How ranges are answered: a position, and a length."""
        application = Application(lambda: at_offset(path, 1000), [("Content-Length", str(length))])
        server = await serve(application)
        async with server.client() as client:
            for _ in range(2):
                assert (await client.request("GET", "/")).body == CONTENT[1000 : 1000 + length]

    @pytest.mark.parametrize("offset", [SIZE - 10, 10])
    async def test_shorter_than_content_length(self, serve, path, gateway_log, offset):
        server = await serve(
            Application(lambda: at_offset(path, offset), [("Content-Length", str(SIZE))])
        )
        answer = await server.get()
        assert (answer.body, answer.complete) == (CONTENT[offset:], False)
        assert gateway_log() == ["The WSGI application sent less than its Content-Length: GET /"]

    async def test_empty(self, serve, tmp_path):
        empty = tmp_path / "empty"
        empty.write_bytes(b"")
        server = await serve(Application(lambda: open(empty, "rb")))
        answer = await server.get()
        assert (answer.status, answer.header("Content-Length"), answer.body) == (200, "0", b"")

    async def test_head(self, serve, path, until):
        application = Application(lambda: open(path, "rb"))
        server = await serve(application)
        async with server.client() as client:
            answer = await client.request("HEAD", "/")
            assert answer.header("Content-Length") == str(SIZE)
            assert (await client.request("GET", "/")).body == CONTENT
        await until(lambda: all(file.closed for file in application.files))

    async def test_what_was_written_and_not_flushed(self, serve, tmp_path):
        def make():
            file = open(tmp_path / "written", "w+b")
            file.write(b"x" * 10)
            file.seek(4)
            file.write(b"y")
            return file

        server = await serve(Application(make))
        assert (await server.get()).body == b"x" * 5

    async def test_temporary(self, serve):
        server = await serve(Application(lambda: temporary(CONTENT)))
        assert (await server.get()).body == CONTENT

    async def test_is_closed_before_a_slow_client_has_it(self, serve, tmp_path, until):
        """The file is closed at once, in the request's thread, which is free again."""
        large = tmp_path / "large"
        with open(large, "wb") as file:
            file.truncate(64 * 1024 * 1024)
        application = Application(lambda: open(large, "rb"))
        server = await serve(application, threads=1)
        async with server.client() as slow:
            await slow.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await slow.head()
            await until(lambda: application.files[0].closed)
            assert server.gateway.busy == 0
            async with server.client() as quick:
                answer = await quick.request("HEAD", "/")
                assert answer.status == 200
            left = 64 * 1024 * 1024
            while left:
                left -= len(await slow.reader.read(1024 * 1024))

    async def test_the_connection_goes_on(self, serve, path):
        server = await serve(Application(lambda: open(path, "rb")))
        async with server.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
            for _ in range(3):
                assert (await client.answer()).body == CONTENT

    async def test_no_descriptor_is_left(self, serve, path, until):
        server = await serve(Application(lambda: open(path, "rb")))
        await server.get()
        before = open_descriptors()
        for _ in range(5):
            await server.get()
        async with server.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.head()
        await until(lambda: open_descriptors() <= before)

    async def test_a_middleware_may_answer_with_something_else(self, serve, path, until):
        @web.middleware
        async def other(request, handler):
            await handler(request)
            return web.Response(text="something else")

        server = await serve(Application(lambda: open(path, "rb")), middlewares=[other])
        assert (await server.get()).body == b"something else"
        before = open_descriptors()
        for _ in range(3):
            await server.get()
        await until(lambda: open_descriptors() <= before)

    async def test_a_middleware_may_add_headers(self, serve, path):
        @web.middleware
        async def more(request, handler):
            response = await handler(request)
            response.headers["X-More"] = "yes"
            return response

        server = await serve(Application(lambda: open(path, "rb")), middlewares=[more])
        answer = await server.get()
        assert answer.header("X-More") == "yes"
        assert answer.body == CONTENT

    async def test_a_middleware_may_begin_the_response(self, serve, path):
        """As one does that adds cookies as late as it can; aiohttp begins it once more."""

        @web.middleware
        async def begins(request, handler):
            response = await handler(request)
            await response.prepare(request)
            return response

        server = await serve(Application(lambda: open(path, "rb")), middlewares=[begins])
        async with server.client() as client:
            for _ in range(2):
                assert (await client.request("GET", "/")).body == CONTENT

    async def test_the_access_log_knows_its_size(self, serve, path, caplog):
        caplog.set_level("INFO", logger="aiohttp.access")
        log = {"access_log": logging.getLogger("aiohttp.access"), "access_log_format": "%s %b"}
        server = await serve(Application(lambda: open(path, "rb")), runner_options=log)
        answer = await server.get(headers={"Connection": "close"})
        await server.runner.cleanup()
        (line,) = [record.getMessage() for record in caplog.records]
        status, sent = line.split()
        assert status == "200"
        # With the head.
        assert SIZE < int(sent) < SIZE + 1000
        assert answer.body == CONTENT

    async def test_the_application_may_close_the_connection(self, serve, path):
        application = Application(lambda: open(path, "rb"), [("Connection", "close")])
        server = await serve(application)
        async with server.client() as client:
            answer = await client.request("GET", "/")
            assert (answer.header("Connection"), answer.body) == ("close", CONTENT)
            assert await client.at_end()

    @pytest.mark.parametrize("is_known", [False, True])
    async def test_a_client_that_has_left(self, serve, path, until, caplog, is_known):
        """Whether the server knows of it already, or notices when it sends the head."""

        @web.middleware
        async def leaving(request, handler):
            response = await handler(request)
            client.close()
            if is_known:
                await until(lambda: request.transport is None)
            left.set()
            return response

        left = asyncio.Event()
        server = await serve(Application(lambda: open(path, "rb")), middlewares=[leaving])
        before = open_descriptors()
        client = socket.create_connection(("127.0.0.1", server.port))
        # So that closing it resets the connection.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(left.wait(), DEADLINE)
        await until(lambda: open_descriptors() <= before)
        assert caplog.records == []

    async def test_over_tls(self, serve, path, tmp_path):
        server_side, client_side = tls_contexts(tmp_path)
        server = await serve(Application(lambda: at_offset(path, 10)), ssl_context=server_side)
        async with Client("127.0.0.1", server.port, tls=client_side) as client:
            for _ in range(2):
                assert (await client.request("GET", "/")).body == CONTENT[10:]


class TestOtherFileLikes:
    async def test_in_memory(self, serve):
        application = Application(lambda: io.BytesIO(CONTENT))
        server = await serve(application)
        answer = await server.get()
        assert answer.body == CONTENT
        assert application.files[0].closed

    async def test_with_read_and_close_alone(self, serve, path):
        application = Application(lambda: Reader(open(path, "rb")))
        server = await serve(application)
        assert (await server.get()).body == CONTENT
        assert len(application.files[0].closed_in) == 1

    async def test_without_close(self, serve):
        class NoClose:
            def __init__(self):
                self.read = io.BytesIO(CONTENT).read

        server = await serve(Application(NoClose))
        assert (await server.get()).body == CONTENT

    async def test_compressed_file_is_sent_as_it_reads(self, serve, tmp_path):
        """A gzip file has a descriptor, of other bytes than those it reads."""
        packed = tmp_path / "packed.gz"
        packed.write_bytes(gzip.compress(CONTENT))
        server = await serve(Application(lambda: gzip.open(packed)))
        assert (await server.get()).body == CONTENT

    async def test_a_pipe(self, serve):
        def make():
            read_end, write_end = os.pipe()
            os.write(write_end, b"through a pipe")
            os.close(write_end)
            return open(read_end, "rb")

        server = await serve(Application(make))
        assert (await server.get()).body == b"through a pipe"

    async def test_buffered_from_elsewhere(self, serve, path):
        """As of an HTTP response: the descriptor is not what read() reads."""

        class Upper(io.RawIOBase):
            def __init__(self):
                self.file = open(path, "rb", buffering=0)

            def fileno(self):
                return self.file.fileno()

            def readable(self):
                return True

            def readinto(self, buffer):
                data = self.file.read(len(buffer)).replace(b"!", b"?")
                buffer[: len(data)] = data
                return len(data)

            def close(self):
                self.file.close()
                super().close()

        server = await serve(Application(lambda: io.BufferedReader(Upper())))
        assert (await server.get()).body == CONTENT.replace(b"!", b"?")

    async def test_closed_already(self, serve, path, gateway_log):
        def make():
            with open(path, "rb") as file:
                return file

        server = await serve(Application(make))
        assert (await server.get()).status == 500
        assert gateway_log() == ["Error in the WSGI application: GET /"]

    async def test_a_subclass_that_reads_otherwise(self, serve, path):
        class Upper(io.FileIO):
            def read(self, size=-1):
                return super().read(min(size, 1000)).replace(b"!", b"?")

        server = await serve(Application(lambda: Upper(path, "rb")))
        assert (await server.get()).body == CONTENT.replace(b"!", b"?")

    async def test_wrapped_by_a_middleware(self, serve, path):
        """What wraps the wrapper is iterated over, not looked through."""

        def upper(application):
            def wrapped(environ, start_response):
                result = application(environ, start_response)
                with contextlib.closing(result):
                    for part in result:
                        yield part.replace(b"!", b"?")

            return wrapped

        server = await serve(upper(Application(lambda: open(path, "rb"))))
        assert (await server.get()).body == CONTENT.replace(b"!", b"?")

    async def test_after_write(self, serve, path):
        def application(environ, start_response):
            write = start_response("200 OK", [])
            write(b"first: ")
            return environ["wsgi.file_wrapper"](open(path, "rb"))

        server = await serve(application)
        assert (await server.get()).body == b"first: " + CONTENT


async def test_a_file_that_shrinks_ends_the_connection(serve, tmp_path, until):
    large = tmp_path / "large"
    with open(large, "wb") as file:
        file.truncate(64 * 1024 * 1024)
    server = await serve(Application(lambda: open(large, "rb")))
    async with server.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.head()
        os.truncate(large, 1024)
        received = 0
        while data := await asyncio.wait_for(client.reader.read(1024 * 1024), DEADLINE):
            received += len(data)
        assert received < 64 * 1024 * 1024


def tls_contexts(tmp_path):
    openssl = require(program="openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"]
        + ["/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-keyout", key, "-out", certificate],
        env=environment(),
        check=True,
        capture_output=True,
    )
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate, key)
    return server_side, ssl.create_default_context(cafile=certificate)
