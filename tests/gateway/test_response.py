"""PEP 3333: the start_response() callable, the write() callable, iterables, buffering, close()."""

import asyncio
import sys
import threading
from wsgiref.validate import validator

import pytest

from tests.support.waiting import LONGER

PLAIN = [("Content-Type", "text/plain")]


def hello(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [b"hello"]


class Closing:
    """An iterable over `chunks` that notes when, how often and in which thread it was closed."""

    def __init__(self, chunks):
        self._chunks = iter(chunks)
        self.closed_in = []
        self.closed = threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        chunk = next(self._chunks)
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk

    def close(self):
        self.closed_in.append(threading.get_ident())
        self.closed.set()

    async def wait(self):
        assert await asyncio.to_thread(self.closed.wait, 10), "close() was not called"
        return self.closed_in


class TestStartResponse:
    async def test_status_and_headers_reach_the_client(self, serve):
        def application(environ, start_response):
            start_response(
                "418 I'm a teapot",
                [("X-One", "1"), ("Set-Cookie", "a=1"), *PLAIN, ("Set-Cookie", "b=2")],
            )
            return [b"short and stout"]

        server = await serve(application)
        answer = await server.get()
        assert (answer.status, answer.reason) == (418, "I'm a teapot")
        assert answer.header("X-One") == "1"
        assert answer.all("Set-Cookie") == ["a=1", "b=2"]
        assert answer.header("Content-Length") == "15"
        assert answer.body == b"short and stout"

    async def test_called_by_a_generator_before_its_first_part(self, serve):
        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"late"

        answer = await (await serve(application)).get()
        assert (answer.status, answer.body) == (200, b"late")

    async def test_never_called(self, serve, gateway_log):
        server = await serve(lambda environ, start_response: [b"x"])
        answer = await server.get()
        assert answer.status == 500
        assert answer.body == b"500 Internal Server Error\n"
        assert gateway_log() == ["Error in the WSGI application: GET /"]

    async def test_called_again_without_exc_info(self, serve, caplog):
        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            start_response("200 OK", PLAIN)
            return [b"x"]

        assert (await (await serve(application)).get()).status == 500
        assert "start_response() was called again without exc_info" in caplog.text

    async def test_headers_are_not_sent_before_the_first_part_that_is_not_empty(self, serve):
        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b""
            try:
                raise LookupError
            except LookupError:
                start_response("404 Not Found", PLAIN, sys.exc_info())
            yield b"nothing here"

        answer = await (await serve(application)).get()
        assert (answer.status, answer.body) == (404, b"nothing here")

    @pytest.mark.parametrize(
        ("status", "complaint"),
        [
            ("OK", "not the status of a response: 'OK'"),
            ("20 OK", "not the status of a response: '20 OK'"),
            ("200 O\r\nK", "not the status of a response"),
            ("200 O\x00K", "not the status of a response"),
            ("101 Switching Protocols", "not the status of a response"),
            (200, "the status must be str, not int"),
            (b"200 OK", "the status must be str, not bytes"),
        ],
    )
    async def test_malformed_status(self, serve, caplog, status, complaint):
        def application(environ, start_response):
            start_response(status, PLAIN)
            return [b"x"]

        assert (await (await serve(application)).get()).status == 500
        assert complaint in caplog.text

    @pytest.mark.parametrize(
        ("header", "complaint"),
        [
            (("X-A", "a\r\nX-B: b"), "a header's value contains a control character"),
            (("X-A", "a\nb"), "a header's value contains a control character"),
            (("X-A", "a\x00"), "a header's value contains a control character"),
            (("X A", "a"), "not a header's name: 'X A'"),
            (("X-A:", "a"), "not a header's name: 'X-A:'"),
            (("", "a"), "not a header's name: ''"),
            (("X-Ä", "a"), "not a header's name: 'X-Ä'"),
            ((b"X-A", "a"), "a header's name must be str, not bytes"),
            (("X-A", b"a"), "header X-A: the value must be str, not bytes"),
            (("X-A", 1), "header X-A: the value must be str, not int"),
            (("X-A", "€"), "header X-A: characters outside Latin-1: '€'"),
            (("Content-Length", "-1"), "not a Content-Length: '-1'"),
            (("Content-Length", "1_0"), "not a Content-Length: '1_0'"),
            (("Content-Length", "٣"), "not a Content-Length"),
        ],
    )
    async def test_malformed_header(self, serve, caplog, header, complaint):
        """Errors are raised while the application is running, so that it can still answer."""
        seen = []

        def application(environ, start_response):
            try:
                start_response("200 OK", [header])
            except (TypeError, ValueError) as error:
                seen.append(error)
                raise
            return [b"x"]

        assert (await (await serve(application)).get()).status == 500
        assert len(seen) == 1
        assert complaint in caplog.text

    async def test_two_content_lengths(self, serve, caplog):
        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "1"), ("content-length", "1")])
            return [b"x"]

        assert (await (await serve(application)).get()).status == 500
        assert "Content-Length was given twice" in caplog.text

    async def test_hop_by_hop_headers_are_left_out(self, serve):
        def application(environ, start_response):
            hop = ["Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailers"]
            hop += ["Transfer-Encoding", "Upgrade", "Connection"]
            start_response("200 OK", [*PLAIN, *((name, "chunked") for name in hop)])
            return [b"hello"]

        server = await serve(application)
        async with server.client() as client:
            for _ in range(2):
                answer = await client.request("GET", "/")
                assert answer.body == b"hello"
                names = {name.lower() for name, _ in answer.headers}
                assert names == {"content-type", "content-length", "date", "server"}

    async def test_the_application_may_close_the_connection(self, serve):
        def application(environ, start_response):
            start_response("200 OK", [*PLAIN, ("Connection", "Close")])
            return [b"hello"]

        server = await serve(application)
        async with server.client() as client:
            answer = await client.request("GET", "/")
            assert answer.header("Connection") == "close"
            assert await client.at_end()

    @pytest.mark.parametrize(
        ("value", "received"),
        [
            ("é€".encode().decode("latin-1"), "é€".encode()),
            ("é", "é".encode()),  # aiohttp can't send the byte E9: the character is kept
        ],
    )
    async def test_header_values_are_latin_1_bytes(self, serve, value, received):
        def application(environ, start_response):
            start_response("200 OK", [*PLAIN, ("X-Name", value)])
            return [b""]

        answer = await (await serve(application)).get()
        assert answer.header("X-Name").encode("latin-1") == received


class TestExcInfo:
    async def test_before_headers_are_out_the_answer_is_replaced(self, serve):
        """The first answer's Content-Length must not survive."""

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "2"), ("X-Old", "1")])
            try:
                raise ZeroDivisionError
            except ZeroDivisionError:
                start_response("500 Oops", PLAIN, sys.exc_info())
            return [b"a longer error page"]

        answer = await (await serve(application)).get()
        assert (answer.status, answer.reason) == (500, "Oops")
        assert answer.body == b"a longer error page"
        assert answer.header("X-Old") is None

    async def test_after_headers_are_out_the_exception_is_raised_again(self, serve, caplog):
        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"first"
            try:
                raise ZeroDivisionError("of my own")
            except ZeroDivisionError:
                start_response("500 Oops", PLAIN, sys.exc_info())
            yield b"never"

        answer = await (await serve(application)).get()
        assert (answer.status, answer.body, answer.complete) == (200, b"first", False)
        assert "ZeroDivisionError: of my own" in caplog.text

    async def test_after_write_the_exception_is_raised_again(self, serve, caplog):
        def application(environ, start_response):
            write = start_response("200 OK", PLAIN)
            write(b"first")
            try:
                raise ZeroDivisionError("of my own")
            except ZeroDivisionError:
                start_response("500 Oops", PLAIN, sys.exc_info())
            return [b"never"]

        answer = await (await serve(application)).get()
        assert (answer.status, answer.body, answer.complete) == (200, b"first", False)
        assert "ZeroDivisionError: of my own" in caplog.text


class TestWrite:
    async def test_before_an_iterable(self, serve):
        def application(environ, start_response):
            write = start_response("200 OK", PLAIN)
            write(b"one ")
            write(b"two ")
            return [b"three", b" four"]

        assert (await (await serve(application)).get()).body == b"one two three four"

    async def test_is_sent_before_the_application_returns(self, serve):
        go_on = threading.Event()

        def application(environ, start_response):
            write = start_response("200 OK", PLAIN)
            write(b"early")
            go_on.wait(LONGER)
            return []

        server = await serve(application)
        async with server.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.head()
            assert await client.chunk() == b"early"
            go_on.set()
            assert await client.chunk() == b""

    async def test_with_a_content_length(self, serve):
        def application(environ, start_response):
            write = start_response("200 OK", [("Content-Length", "6")])
            write(b"one")
            write(b"two")
            return []

        answer = await (await serve(application)).get()
        assert answer.body == b"onetwo"
        assert answer.header("Content-Length") == "6"

    async def test_of_text(self, serve, caplog):
        def application(environ, start_response):
            start_response("200 OK", PLAIN)("text")
            return []

        assert (await (await serve(application)).get()).status == 500
        assert "the body must be made of bytes, not str" in caplog.text


class TestIterables:
    async def test_empty(self, serve):
        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            return []

        server = await serve(application)
        async with server.client() as client:
            for _ in range(2):
                answer = await client.request("GET", "/")
                assert answer.header("Content-Length") == "0"

    @pytest.mark.parametrize("kind", [list, tuple])
    async def test_of_known_length_get_a_content_length(self, serve, kind):
        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            return kind([b"ab", b"", b"cde"])

        answer = await (await serve(application)).get()
        assert answer.header("Content-Length") == "5"
        assert answer.body == b"abcde"

    async def test_of_text(self, serve, caplog):
        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            return iter(["text"])

        assert (await (await serve(application)).get()).status == 500
        assert "the body must be made of bytes, not str" in caplog.text

    async def test_no_part_waits_for_the_next(self, serve):
        """A part is sent while the application makes the next one."""
        steps = [threading.Event() for _ in range(3)]

        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            for number, step in enumerate(steps):
                yield b"part %d" % number
                step.wait(LONGER)

        server = await serve(application)
        async with server.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.head()
            for number, step in enumerate(steps):
                assert await client.chunk() == b"part %d" % number
                step.set()
            assert await client.chunk() == b""
            # The connection goes on.
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.answer()).body == b"part 0part 1part 2"

    async def test_a_complete_body_does_not_wait_for_the_end_of_the_iterable(self, serve):
        go_on = threading.Event()

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "4")])
            yield b"done"
            go_on.wait(LONGER)

        server = await serve(application)
        assert (await server.get()).body == b"done"
        go_on.set()

    async def test_a_complete_body_does_not_wait_for_close(self, serve):
        go_on = threading.Event()

        class Slow(Closing):
            def close(self):
                go_on.wait(LONGER)
                super().close()

        result = Slow([b"done"])

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "4")])
            return result

        server = await serve(application)
        assert (await server.get()).body == b"done"
        go_on.set()
        await result.wait()


class TestContentLength:
    @pytest.mark.parametrize("parts", [[b"12345678"], [b"123", b"45678"], [b"1", b"2345", b"678"]])
    @pytest.mark.parametrize("kind", [list, iter])
    async def test_longer_bodies_are_cut(self, serve, gateway_log, until, parts, kind):
        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "5")])
            return kind(parts)

        server = await serve(application)
        async with server.client() as client:
            for _ in range(2):
                assert (await client.request("GET", "/")).body == b"12345"
        # The body is complete before the thread has seen that there's more.
        await until(lambda: len(gateway_log()) == 2)
        message = "The WSGI application sent more than its Content-Length: GET /"
        assert gateway_log() == [message, message]

    @pytest.mark.parametrize("parts", [[], [b"123"], [b"1", b"23"]])
    @pytest.mark.parametrize("kind", [list, iter])
    async def test_shorter_bodies_end_the_connection(self, serve, gateway_log, parts, kind):
        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "5")])
            return kind(parts)

        server = await serve(application)
        async with server.client() as client:
            answer = await client.request("GET", "/")
            assert (answer.body, answer.complete) == (b"".join(parts), False)
            assert await client.at_end()
        assert gateway_log() == ["The WSGI application sent less than its Content-Length: GET /"]

    async def test_http_1_0_without_a_length_ends_with_the_connection(self, serve):
        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"one"
            yield b"two"

        server = await serve(application)
        async with server.client() as client:
            headers = {"Connection": "keep-alive"}
            answer = await client.request("GET", "/", version="1.0", headers=headers)
            assert answer.body == b"onetwo"


class TestBodyless:
    @pytest.mark.parametrize("kind", [list, iter])
    async def test_head_sends_the_headers_of_get_and_no_body(self, serve, kind):
        def application(environ, start_response):
            start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
            return kind([b"hello"])

        server = await serve(application)
        async with server.client() as client:
            for _ in range(2):
                answer = await client.request("HEAD", "/")
                assert answer.header("Content-Length") == "5"
            assert (await client.request("GET", "/")).body == b"hello"

    async def test_head_of_a_list_has_its_length(self, serve):
        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            return [b"hel", b"lo"]

        server = await serve(application)
        async with server.client() as client:
            assert (await client.request("HEAD", "/")).header("Content-Length") == "5"
            assert (await client.request("GET", "/")).body == b"hello"

    async def test_head_of_an_endless_stream_ends_it(self, serve):
        result = Closing(iter(lambda: b"more", None))

        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            return result

        server = await serve(application)
        async with server.client() as client:
            answer = await client.request("HEAD", "/")
            assert answer.status == 200
            assert answer.header("Content-Length") is None
        assert len(await result.wait()) == 1

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    @pytest.mark.parametrize("kind", [list, iter])
    async def test_no_content(self, serve, status, kind):
        def application(environ, start_response):
            start_response(status, [("ETag", '"x"')])
            return kind([b"must not be sent"])

        server = await serve(application)
        async with server.client() as client:
            for _ in range(2):
                answer = await client.request("GET", "/")
                assert answer.status == int(status[:3])
                assert answer.header("Content-Length") is None
                assert answer.header("Transfer-Encoding") is None


class TestErrors:
    async def test_of_the_application(self, serve, caplog, gateway_log):
        def application(environ, start_response):
            raise ZeroDivisionError("in the view")

        server = await serve(application)
        answer = await server.get("/path?q")
        assert answer.status == 500
        assert answer.header("Content-Type") == "text/plain; charset=utf-8"
        assert gateway_log() == ["Error in the WSGI application: GET /path"]
        assert "ZeroDivisionError: in the view" in caplog.text

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
    async def test_that_end_programs_do_not_end_the_thread(self, serve, error):
        def application(environ, start_response):
            if environ["PATH_INFO"] == "/exit":
                raise error
            return hello(environ, start_response)

        server = await serve(application, threads=1)
        assert (await server.get("/exit")).status == 500
        assert (await server.get("/")).body == b"hello"

    async def test_in_the_middle_of_a_body_end_the_connection(self, serve, caplog):
        def application(environ, start_response):
            start_response("200 OK", PLAIN)
            yield b"some"
            raise ZeroDivisionError("half way")

        server = await serve(application)
        answer = await server.get()
        assert (answer.status, answer.body, answer.complete) == (200, b"some", False)
        assert "ZeroDivisionError: half way" in caplog.text

    @pytest.mark.parametrize("parts", [[b"hello"], [b"he", b"llo"]])
    async def test_of_the_log_alone_after_a_complete_body(self, serve, caplog, until, parts):
        class Bad(Closing):
            def close(self):
                super().close()
                raise ZeroDivisionError("in close()")

        result = Bad(parts)

        def application(environ, start_response):
            start_response("200 OK", [("Content-Length", "5")])
            return result

        server = await serve(application)
        answer = await server.get()
        assert (answer.status, answer.body, answer.complete) == (200, b"hello", True)
        await until(lambda: "ZeroDivisionError: in close()" in caplog.text)


class TestClose:
    """close() is called exactly once, in the request's own thread, however the request ends."""

    async def serve_result(self, serve, result, headers=PLAIN, **options):
        ran_in = []

        def application(environ, start_response):
            ran_in.append(threading.get_ident())
            start_response("200 OK", headers)
            return result

        return await serve(application, **options), ran_in

    @pytest.mark.parametrize(
        "chunks",
        [
            [],
            [b"one"],
            [b"one", b"two"],
            [ZeroDivisionError()],
            [b"one", ZeroDivisionError()],
            ["one"],
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_whatever_the_body(self, serve, caplog, chunks, method):
        result = Closing(chunks)
        server, ran_in = await self.serve_result(serve, result)
        async with server.client() as client:
            await client.request(method, "/")
        assert await result.wait() == ran_in

    async def test_when_start_response_was_never_called(self, serve):
        result = Closing([b"one"])
        server = await serve(lambda environ, start_response: result)
        assert (await server.get()).status == 500
        assert len(await result.wait()) == 1

    async def test_when_the_client_leaves_a_stream(self, serve):
        result = Closing(iter(lambda: b"x" * 1000, None))
        server, ran_in = await self.serve_result(serve, result)
        async with server.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.head()
        assert await result.wait() == ran_in

    async def test_when_the_client_has_left_before_the_answer(self, serve, until):
        arrived, go_on = threading.Event(), threading.Event()
        result = Closing([b"nobody reads this"])

        def application(environ, start_response):
            arrived.set()
            go_on.wait(LONGER)
            start_response("200 OK", PLAIN)
            return result

        server = await serve(application)
        async with server.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(arrived.is_set)
        go_on.set()
        assert len(await result.wait()) == 1

    async def test_when_the_handler_is_cancelled(self, serve, until):
        arrived, go_on = threading.Event(), threading.Event()

        def chunks():
            for _ in range(1000):
                yield b"x" * 100_000
                arrived.set()
                go_on.wait(LONGER)

        result = Closing(chunks())
        server, ran_in = await self.serve_result(
            serve, result, runner_options={"handler_cancellation": True}
        )
        async with server.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(arrived.is_set)
        go_on.set()
        assert await result.wait() == ran_in

    async def test_when_the_server_shuts_down(self, serve, until):
        arrived = threading.Event()

        def chunks():
            while True:
                yield b"x"
                arrived.set()

        result = Closing(chunks())
        server, ran_in = await self.serve_result(serve, result)
        async with server.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(arrived.is_set)
            drain = asyncio.ensure_future(client.reader.read())
            await server.runner.cleanup()
            await drain
        assert await result.wait() == ran_in


async def test_wsgiref_validate(serve):
    """The standard library's validator finds no fault with either side's behaviour."""

    def application(environ, start_response):
        environ["wsgi.errors"].write("")
        environ["wsgi.errors"].flush()
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/write":
            write(b"written ")
        return [body or b"nothing"]

    server = await serve(validator(application))
    assert (await server.get("/a/b?c=d")).body == b"nothing"
    assert (await server.get("/write")).body == b"written nothing"
    assert (await server.post("/", b"posted")).body == b"posted"
    assert (await server.post("/", b"")).body == b"nothing"
    async with server.client() as client:
        assert (await client.request("HEAD", "/")).status == 200
