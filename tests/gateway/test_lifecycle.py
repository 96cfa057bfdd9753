"""Beginnings and ends: of threads, of applications beside and after each other, of event loops."""

import asyncio
import re
import threading
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web
from asgiref.sync import async_to_sync

from aiodjango import FALLBACK, fallback_middleware, setup
from tests.gateway.client import Client
from tests.gateway.test_threads import Held
from tests.support.server import until
from tests.support.waiting import DEADLINE, LONGER

LOST = r"bytes read|reset"


@pytest.fixture
def held():
    application = Held()
    yield application
    application.go_on.set()


async def current_loop():
    return id(asyncio.get_running_loop())


def answer_by_loop(environ, start_response):
    """Which event loop async_to_sync leads to."""
    start_response("200 OK", [])
    return [str(async_to_sync(current_loop)()).encode()]


class Recorder:
    """What `at_thread_end` was called for: the names of the threads that called it."""

    def __init__(self, error=None):
        self.threads = []
        self._error = error

    def __call__(self):
        self.threads.append(threading.current_thread())
        if self._error:
            raise self._error


class TestThreadEnd:
    async def test_each_thread_calls_it_once_when_its_last_request_is_done(self, serve, held):
        ended = Recorder()
        server = await serve(held, threads=3, at_thread_end=ended)
        requests = [asyncio.ensure_future(server.get()) for _ in range(3)]
        await until(lambda: held.inside == 3)
        held.go_on.set()
        await asyncio.gather(*requests)
        await until(lambda: server.gateway.busy == 0)
        assert ended.threads == []
        await server.runner.cleanup()
        assert {thread.ident for thread in ended.threads} == held.threads
        assert len(ended.threads) == 3

    async def test_a_thread_that_was_left_behind_calls_it_later(self, serve, held):
        ended = Recorder()
        server = await serve(held, at_thread_end=ended, runner_options={"shutdown_timeout": 0.1})
        request = asyncio.ensure_future(server.get())
        await until(lambda: held.inside == 1)
        await server.runner.cleanup()
        assert ended.threads == []
        held.go_on.set()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError), match=LOST):
            await request
        await until(lambda: not held.runs())
        assert {thread.ident for thread in ended.threads} == held.threads

    async def test_its_error_is_logged_and_the_end_goes_on(self, serve, held, gateway_log):
        held.go_on.set()
        ended = Recorder(error=LookupError("lost"))
        server = await serve(held, at_thread_end=ended)
        await server.get()
        await server.runner.cleanup()
        assert len(ended.threads) == 1
        assert not held.runs()
        assert gateway_log() == ["The clean-up at the end of a worker thread failed"]


async def test_a_stream_that_would_begin_while_the_server_ends(serve):
    arrived, go_on = threading.Event(), threading.Event()

    def endless(environ, start_response):
        arrived.set()
        go_on.wait(LONGER)
        start_response("200 OK", [])
        while True:
            yield b"part"

    server = await serve(endless)
    request = asyncio.ensure_future(server.get())
    await until(arrived.is_set)
    await server.gateway.shutdown()
    go_on.set()
    assert (await request).status == 503


@asynccontextmanager
async def serving(app, **runner_options):
    """Serve an application; gives a function that gets a path."""
    runner = web.AppRunner(app, **runner_options)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield lambda: Client("127.0.0.1", runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def get(connect, path="/"):
    async with connect() as client:
        answer = await client.request("GET", path)
    assert answer.status == 200
    return answer.text


def site():
    app = web.Application()
    setup(app, answer_by_loop)
    return app


async def ended(middleware):
    """Begin and end an application with the middleware, without a request."""
    app = web.Application(middlewares=[middleware])
    app.cleanup_ctx.append(middleware.cleanup_ctx)
    async with serving(app):
        pass


def our_threads():
    """The names of the fallbacks' threads; those of the ORM are called otherwise."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if re.fullmatch(r"aiodjango-\d+", name)}


class TestBesideEachOther:
    async def test_two_mounts_have_threads_of_their_own(self, held):
        main, first, second = web.Application(), web.Application(), web.Application()
        setup(first, held, threads=1)
        setup(second, answer_by_loop, threads=1)
        main.add_subapp("/first/", first)
        main.add_subapp("/second/", second)
        async with serving(main) as connect:
            requests = [asyncio.ensure_future(get(connect, "/first/")) for _ in range(2)]
            await until(lambda: first[FALLBACK].busy == 1 and first[FALLBACK].pending == 1)
            await get(connect, "/second/")
            await until(lambda: second[FALLBACK].busy == 0)
            held.go_on.set()
            await asyncio.gather(*requests)

    async def test_servers_on_two_loops_in_two_threads(self):
        """Each leads to its own loop, and the end of one is nothing to the other."""
        servers = []

        async def serve_other():
            stop = asyncio.Event()
            async with serving(site()) as connect:
                servers.append((asyncio.get_running_loop(), stop, connect))
                await stop.wait()

        thread = threading.Thread(target=asyncio.run, args=[serve_other()])
        thread.start()
        try:
            await until(lambda: servers)
            loop, stop, connect_other = servers[0]
            async with serving(site()) as connect:
                texts = await asyncio.gather(*map(get, [connect, connect_other] * 10))
            assert texts == [str(id(asyncio.get_running_loop())), str(id(loop))] * 10
            assert await get(connect_other) == str(id(loop))
        finally:
            for loop, stop, _ in servers:
                loop.call_soon_threadsafe(stop.set)
            await asyncio.to_thread(thread.join)
        assert not our_threads()


class TestAfterEachOther:
    """An event loop that is closed, and another after it."""

    @pytest.mark.parametrize("clean", [True, False], ids=["cleaned up", "just closed"])
    def test_a_middleware_in_one_application_after_the_other(self, clean):
        middleware = fallback_middleware(answer_by_loop, threads=1)

        async def once():
            app = web.Application(middlewares=[middleware])
            if clean:
                app.cleanup_ctx.append(middleware.cleanup_ctx)
            async with serving(app) as connect:
                for _ in range(2):  # the first miss, and one that finds the catch-all
                    assert await get(connect) == str(id(asyncio.get_running_loop()))
                # A thread of the loop before has been told to end.
                await until(lambda: len(our_threads()) == 1)

        for _ in range(3):
            asyncio.run(once())
            assert len(our_threads()) == (0 if clean else 1)
        asyncio.run(ended(middleware))
        assert not our_threads()

    def test_an_application_made_before_any_loop(self):
        """As `--preload` does, before it forks: nothing is tied to where it was made."""
        app = site()
        assert not our_threads()

        async def once():
            async with serving(app) as connect:
                assert await get(connect) == str(id(asyncio.get_running_loop()))

        asyncio.run(once())
        assert not our_threads()


class TestMiddleware:
    """Its cleanup_ctx and shutdown do what setup() does for an application."""

    async def test_cleanup_ctx_ends_the_threads(self, held):
        middleware = fallback_middleware(held, threads=2)
        app = web.Application(middlewares=[middleware])
        app.cleanup_ctx.append(middleware.cleanup_ctx)
        async with serving(app) as connect:
            requests = [asyncio.ensure_future(get(connect)) for _ in range(3)]
            await until(lambda: app[FALLBACK].busy == 2 and app[FALLBACK].pending == 1)
            assert len(our_threads()) == 2
            held.go_on.set()
            await asyncio.gather(*requests)
        assert not our_threads()

    async def test_shutdown_ends_streams(self):
        read, closed = threading.Event(), threading.Event()

        def endless(environ, start_response):
            start_response("200 OK", [])
            try:
                while True:
                    yield b"part"
                    read.wait(LONGER)
                    closed.wait(0.01)
            finally:
                closed.set()

        middleware = fallback_middleware(endless)
        app = web.Application(middlewares=[middleware])
        app.cleanup_ctx.append(middleware.cleanup_ctx)
        app.on_shutdown.append(middleware.shutdown)
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(DEADLINE), serving(app, shutdown_timeout=LONGER) as connect:
                client = await stack.enter_async_context(connect())
                await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await client.head()
                assert await client.chunk() == b"part"
                read.set()
            assert closed.is_set()
        assert not our_threads()
