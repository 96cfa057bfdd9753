"""Sync code of the fallback and the server's event loop: async_to_sync, and how it ends."""

import asyncio
import contextvars
import logging
import signal
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import pytest
from aiohttp import web
from asgiref.sync import async_to_sync, sync_to_async

from aiodjango import FALLBACK, setup
from aiodjango.gateway import Gateway
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE, until

flavour = contextvars.ContextVar("flavour", default="plain")


class Site(NamedTuple):
    url: str
    runner: web.AppRunner
    gateway: Gateway
    session: aiohttp.ClientSession

    async def get(self, path="/"):
        async with self.session.get(self.url + path) as response:
            return response.status, await response.text()


@asynccontextmanager
async def serving(view, *, threads=4, middlewares=(), **runner_options):
    """A server whose fallback answers by what `view(path)` returns, in a worker thread."""

    workers = set()

    def application(environ, start_response):
        workers.add(threading.current_thread())
        text = view(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(text).encode()]

    app = web.Application(middlewares=middlewares)
    setup(app, application, threads=threads)
    runner = web.AppRunner(app, **{"shutdown_timeout": DEADLINE, **runner_options})
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as session:
            yield Site(url, runner, app[FALLBACK], session)
    finally:
        await runner.cleanup()
    assert not [worker for worker in workers if worker.is_alive()]


async def where():
    return id(asyncio.get_running_loop())


class TestLoop:
    """Where coroutines run."""

    async def test_the_servers_loop(self):
        async with serving(lambda path: async_to_sync(where)()) as site:
            for _ in range(3):
                assert await site.get() == (200, str(await where()))

    async def test_on_its_thread_while_the_worker_waits(self):
        async def thread():
            return threading.get_ident()

        def view(path):
            return async_to_sync(thread)(), threading.get_ident()

        async with serving(view) as site:
            _, text = await site.get()
        here, worker = eval(text)
        assert here == threading.get_ident() != worker

    async def test_sync_to_async_comes_back_to_the_worker(self):
        """Django's connections are per thread: the coroutine's ORM calls use the view's own."""

        async def inner(depth):
            idents = [await sync_to_async(threading.get_ident)()]
            if depth:
                idents += await sync_to_async(async_to_sync(inner))(depth - 1)
            return idents

        def view(path):
            return {threading.get_ident(), *async_to_sync(inner)(3)}

        async with serving(view) as site:
            _, text = await site.get()
        assert len(eval(text)) == 1

    async def test_again_after_sync_to_async(self):
        async def hop():
            await sync_to_async(threading.get_ident)()
            return await where()

        def view(path):
            return {async_to_sync(hop)() for _ in range(3)}

        async with serving(view) as site:
            for _ in range(2):
                assert await site.get() == (200, str({await where()}))

    async def test_a_loop_of_its_own_does_not_stay(self):
        """asgiref leaves that loop in the thread, closed: the next request has ours again."""

        async def hop():
            await sync_to_async(threading.get_ident)()
            return await where()

        def view(path):
            return async_to_sync(hop, force_new_loop=path == "/new")()

        async with serving(view, threads=1) as site:
            assert (await site.get("/new"))[1] != str(await where())
            assert await site.get("/") == (200, str(await where()))

    async def test_the_context_goes_along(self):
        @web.middleware
        async def flavoured(request, handler):
            flavour.set(request.path)
            response = await handler(request)
            response.headers["X-After"] = flavour.get()
            return response

        async def taste():
            seen = flavour.get()
            flavour.set(seen + "+")
            return seen

        def view(path):
            return flavour.get(), async_to_sync(taste)(), flavour.get()

        async with serving(view, middlewares=[flavoured]) as site:
            for path in ["/a", "/b"]:
                async with site.session.get(site.url + path) as response:
                    assert eval(await response.text()) == (path, path, path + "+")
                    assert response.headers["X-After"] == path

    async def test_an_error_is_the_callers(self):
        async def fail():
            await asyncio.sleep(0)
            raise LookupError("lost")

        def view(path):
            with pytest.raises(LookupError, match="lost"):
                async_to_sync(fail)()
            return "caught"

        async with serving(view) as site:
            assert await site.get() == (200, "caught")

    async def test_a_coroutine_that_cancels_itself_is_an_error(self, caplog):
        async def give_up():
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

        async with serving(lambda path: async_to_sync(give_up)()) as site:
            assert (await site.get())[0] == 500
            assert (await site.get())[0] == 500
        assert [r.getMessage() for r in caplog.records if r.name == "aiodjango.gateway"] == [
            "Error in the WSGI application: GET /"
        ] * 2

    def test_each_loop_in_its_turn(self):
        """A gateway that is used again on another loop leads to that one."""
        seen = []

        def application(environ, start_response):
            seen.append(async_to_sync(where)())
            start_response("200 OK", [])
            return []

        gateway = Gateway(application)

        async def once():
            app = web.Application()
            app.router.add_get("/", gateway.handle)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                assert response.status == 200
            await runner.cleanup()
            await gateway.close()
            assert seen[-1] == await where()

        for _ in range(3):
            asyncio.run(once())

    async def test_many_at_once(self):
        """More coroutines than threads, each waiting for all the others of its round."""
        barrier = asyncio.Barrier(4)

        async def meet():
            async with asyncio.timeout(DEADLINE):
                await barrier.wait()
            return await sync_to_async(threading.get_ident)()

        def view(path):
            return async_to_sync(meet)() == threading.get_ident()

        async with serving(view) as site:
            answers = await asyncio.gather(*(site.get() for _ in range(40)))
        assert set(answers) == {(200, "True")}


class Waiting:
    """A view whose coroutine waits, and what became of it."""

    def __init__(self):
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.ends = []

    async def wait(self):
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise
        self.ends.append("released")
        return "done"

    def __call__(self, path):
        return async_to_sync(self.wait)()


def noise(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


async def lost(request):
    """See that a request gets no answer."""
    await asyncio.wait([request])
    assert isinstance(request.exception(), aiohttp.ClientError)


class TestEnd:
    """A thread that waits for a coroutine when the server ends."""

    async def test_the_coroutine_is_cancelled(self, caplog):
        view = Waiting()
        async with serving(view, shutdown_timeout=0.1) as site:
            request = asyncio.ensure_future(site.get())
            await view.begun.wait()
            async with asyncio.timeout(DEADLINE):
                await site.runner.cleanup()
            assert view.ends == ["cancelled"]
            await lost(request)
        assert noise(caplog) == []

    async def test_not_within_the_grace_time(self, caplog):
        view = Waiting()
        async with serving(view) as site:
            request = asyncio.ensure_future(site.get())
            await view.begun.wait()
            end = asyncio.ensure_future(site.runner.cleanup())
            await until(lambda: not site.runner.sites)
            assert view.ends == []
            view.release.set()
            await end
            assert await request == (200, "done")
        assert noise(caplog) == []

    async def test_also_one_that_follows_sync_to_async(self):
        """asgiref has taken hold of the thread since: we must find it all the same."""
        view = Waiting()

        async def hop():
            await sync_to_async(threading.get_ident)()

        async def hop_and_wait():
            await hop()
            return await view.wait()

        def twice(path):
            async_to_sync(hop)()
            return async_to_sync(hop_and_wait)()

        async with serving(twice, shutdown_timeout=0.1) as site:
            request = asyncio.ensure_future(site.get())
            await view.begun.wait()
            async with asyncio.timeout(DEADLINE):
                await site.runner.cleanup()
            assert view.ends == ["cancelled"]
            await lost(request)

    async def test_one_inside_another(self, caplog):
        view = Waiting()

        async def outer():
            return await sync_to_async(view)("")

        async with serving(lambda path: async_to_sync(outer)(), shutdown_timeout=0.1) as site:
            request = asyncio.ensure_future(site.get())
            await view.begun.wait()
            async with asyncio.timeout(DEADLINE):
                await site.runner.cleanup()
            assert view.ends == ["cancelled"]
            await lost(request)
        assert noise(caplog) == []

    async def test_time_to_clean_up(self):
        """Coroutines that run because another was cancelled are not cancelled at once."""
        view = Waiting()

        def with_cleanup(path):
            try:
                return view(path)
            finally:
                async_to_sync(clean_up)()

        async def clean_up():
            await asyncio.sleep(0.05)
            view.ends.append("clean")

        async with serving(with_cleanup, shutdown_timeout=0.1) as site:
            request = asyncio.ensure_future(site.get())
            await view.begun.wait()
            await site.runner.cleanup()
            assert view.ends == ["cancelled", "clean"]
            await lost(request)

    async def test_a_long_clean_up_is_cancelled_only_once(self, monkeypatch):
        monkeypatch.setattr("aiodjango.gateway.threads.CANCEL_INTERVAL", 0.01)
        ends = []
        begun = asyncio.Event()

        async def wait():
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.2)
                ends.append("clean")

        async with serving(lambda path: async_to_sync(wait)(), shutdown_timeout=0.01) as site:
            request = asyncio.ensure_future(site.get())
            await begun.wait()
            await site.runner.cleanup()
            assert ends == ["clean"]
            await lost(request)

    async def test_one_that_begins_late(self, caplog):
        view = Waiting()

        def stubborn(path):
            try:
                return view(path)
            except asyncio.CancelledError:
                return view(path)

        async with serving(stubborn, shutdown_timeout=0.1) as site:
            request = asyncio.ensure_future(site.get())
            await view.begun.wait()
            async with asyncio.timeout(DEADLINE):
                await site.runner.cleanup()
            assert view.ends == ["cancelled", "cancelled"]
            await lost(request)
        assert noise(caplog) == []

    async def test_nothing_else_is_cancelled(self):
        """Neither what a coroutine left in the background, nor what other threads wait for."""
        view, hosts, others, background = Waiting(), Waiting(), Waiting(), Waiting()
        tasks = []

        async def start_background():
            tasks.append(asyncio.create_task(background.wait()))

        def site_view(path):
            async_to_sync(start_background)()
            return view(path)

        async with serving(others) as other, serving(site_view, shutdown_timeout=0.1) as site:
            tasks.append(asyncio.create_task(sync_to_async(hosts, thread_sensitive=False)("")))
            tasks.append(asyncio.create_task(other.get()))
            request = asyncio.ensure_future(site.get())
            for each in [view, hosts, others, background]:
                await each.begun.wait()
            await site.runner.cleanup()
            await lost(request)
            assert view.ends == ["cancelled"]
            for each in [hosts, others, background]:
                assert each.ends == []
                each.release.set()
            results = await asyncio.gather(*tasks)
            assert sorted(map(str, results)) == ["(200, 'done')", "done", "done"]


class TestClientLeft:
    @pytest.mark.parametrize("handler_cancellation", [False, True])
    async def test_the_coroutine_goes_on(self, caplog, handler_cancellation):
        view = Waiting()
        async with serving(view, handler_cancellation=handler_cancellation) as site:
            request = asyncio.ensure_future(site.get())
            await view.begun.wait()
            request.cancel()
            await asyncio.wait([request])
            assert site.gateway.busy == 1
            view.release.set()
            await until(lambda: site.gateway.busy == 0)
            assert view.ends == ["released"]
            assert await site.get() == (200, "done")
        assert noise(caplog) == []


PROGRAM = """
import asyncio
from aiohttp import web
from asgiref.sync import async_to_sync, sync_to_async
from aiodjango import setup

async def wait():
    await sync_to_async(int)()
    print("waiting", flush=True)
    await asyncio.Event().wait()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        async_to_sync(wait)()
    start_response("200 OK", [])
    return [b"ok"]

def make_app():
    app = web.Application()
    setup(app, application)
    return app

async def serve():
    # As gunicorn's worker ends: nobody cancels what is left on the loop.
    runner = web.AppRunner(make_app(), shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(15, stop.set)
    await stop.wait()
    await runner.cleanup()

loop = asyncio.new_event_loop()
loop.run_until_complete(serve())
loop.close()
"""


@pytest.mark.parametrize("leaves", [False, True], ids=["client waits", "client has left"])
async def test_a_process_ends_in_silence(leaves):
    process = subprocess.Popen(
        [sys.executable, "-W", "always::ResourceWarning", "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(DJANGO_SETTINGS_MODULE="tests.settings", PYTHONPATH=str(ROOT)),
    )
    try:
        port = int(await asyncio.to_thread(process.stdout.readline))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await asyncio.to_thread(process.stdout.readline) == "waiting\n"
        if leaves:
            writer.close()
            await writer.wait_closed()
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.to_thread(process.communicate, timeout=DEADLINE)
        if not leaves:
            writer.close()
        assert (process.returncode, errors) == (0, "")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
