"""A server for tests: an aiohttp application on a local port."""

import asyncio
from collections.abc import Callable
from typing import cast
from wsgiref.types import WSGIApplication

import aiohttp
from aiohttp import hdrs, web
from aiohttp.abc import AbstractCookieJar
from django.conf import settings
from yarl import URL

from aiodjango.conf import load_aio_application_factory
from aiodjango.runner import DJANGO_LIMITS, AioRunner, end_at_once
from aiodjango.subapp import get_aio_application

from .exchange import Exchanges

Factory = Callable[[], web.Application]

_serving: set[asyncio.Task[None]] = set()

# How long handlers may take at the end, before and after their cancellation, in seconds.
GRACE = 0.1


def make(factory: Factory | None, wsgi: WSGIApplication | None = None) -> web.Application:
    """Return a new application.

    factory: None for the one of AIO_APPLICATION_FACTORY, or `get_aio_application()`.
    wsgi: the argument of `get_aio_application()`.
    """
    # get_wsgi_application() in a factory would configure logging again, and a test that captures
    # log records would receive none. (In Django 6.1 override_settings() configures logging.)
    before, settings.LOGGING_CONFIG = settings.LOGGING_CONFIG, None
    try:
        factory = factory or load_aio_application_factory()
        return get_aio_application(wsgi) if factory is None else factory()
    finally:
        settings.LOGGING_CONFIG = before


def make_runner(app: web.Application) -> web.AppRunner:
    """Return a runner for a new application. Raises TypeError and ValueError for any other."""
    if not isinstance(app, web.Application):
        raise TypeError(f"A test server requires an aiohttp.web.Application, not {app!r}.")
    if app.pre_frozen:
        raise ValueError(
            "An aiohttp application can be started only once: name a function that returns a new "
            "one for each call."
        )
    return AioRunner(app, access_log=None, shutdown_timeout=GRACE, idle_grace=0, **DJANGO_LIMITS)


class LoopServer:
    """A server on the running loop, and the session of its client.

    It is a task of the loop, which ends with it: `asyncio.run()`, test runners and
    `async_to_sync()` cancel all tasks.

    factory: returns the application; None for that of the project.
    prepare: called with the application when it has been started, before the first request.
    cookies: the client's.
    """

    def __init__(
        self,
        factory: Factory | None,
        prepare: Callable[[web.Application], object],
        cookies: AbstractCookieJar,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.session = aiohttp.ClientSession(
            cookie_jar=cookies,
            # Requests and responses as the test and the server have made them.
            skip_auto_headers=[hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.USER_AGENT],
            auto_decompress=False,
            # On a connection that was used before, aiohttp would repeat a request that fails.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
        )
        self.exchanges = Exchanges()
        # Responses that may be left open.
        self.opened: list[aiohttp.ClientResponse] = []
        self._port = 0
        self._is_ready: asyncio.Future[None] = self.loop.create_future()
        self._closing = asyncio.Event()
        self._task = self.loop.create_task(
            self._serve(factory, prepare), name="aiodjango-test-server"
        )
        # A loop has only weak references to its tasks, and the client may be deleted.
        _serving.add(self._task)
        self._task.add_done_callback(_serving.discard)

    async def wait_ready(self) -> None:
        """Wait until it accepts requests. Raises errors of the application's start."""
        await asyncio.shield(self._is_ready)

    @property
    def is_over(self) -> bool:
        return self._task.done() or self.loop.is_closed()

    def url(self, target: URL) -> URL:
        """Return the complete URL of a path with its query."""
        return URL(f"http://127.0.0.1:{self._port}{target}", encoded=True)

    async def close(self) -> None:
        """End the server, and wait until it has ended."""
        self._closing.set()
        await asyncio.wait([self._task])

    async def _serve(
        self, factory: Factory | None, prepare: Callable[[web.Application], object]
    ) -> None:
        runner = None
        try:
            app = make(factory)
            runner = make_runner(app)
            await runner.setup()
            prepare(app)
            self.exchanges.install(cast(web.Server, runner.server))
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._port = runner.addresses[0][1]
            self._is_ready.set_result(None)
            await self._closing.wait()
        except BaseException as error:
            if self._is_ready.done():
                raise
            self._is_ready.set_exception(error)
        finally:
            for response in self.opened:
                response.close()
            await self.session.close()
            if runner is not None:
                await end_at_once(runner)
