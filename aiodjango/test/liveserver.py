"""Django's live server for tests, with aiohttp in the place of its server."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from aiohttp import web
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer
from django.test import LiveServerTestCase
from django.test.testcases import LiveServerThread, _MediaFilesHandler
from django.utils.functional import classproperty

from aiodjango.dev.static import FilesInFront
from aiodjango.orm.context import close_orm_threads

from .connections import Override, install, orm_calls_on
from .server import Factory, end, gateways, make, make_runner


class LiveServer(ThreadedWSGIServer):
    """A listening socket, made and bound by Django's server, with an aiohttp server on it.

    All methods but `shutdown` and `server_close` are called in the live server's thread.
    """

    # What LiveServerThread sets, beside the arguments that it has of Django's.
    make_application: Factory | None = None
    file_handlers: list[Any]

    _loop: asyncio.AbstractEventLoop | None = None
    _stopping: asyncio.Event

    def set_app(self, application: WSGIApplication | None) -> None:
        """Start the aiohttp application, so that the test sees it fail.

        application: Django's, behind the handlers of static and media files.
        """
        super().set_app(application)
        with ExitStack() as stack:
            override: Override = self.connections_override or {}
            if override:
                stack.enter_context(orm_calls_on(override))
            else:
                stack.callback(close_orm_threads)
            self._runner = stack.enter_context(asyncio.Runner())
            self._runner.run(self._start(cast(WSGIApplication, application), override))
            self._is_over = threading.Event()
            self._loop = self._runner.get_loop()
            self._ending = stack.pop_all()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown`, and give back everything."""
        try:
            with self._ending:
                self._runner.run(self._serve())
        finally:
            self._is_over.set()

    def shutdown(self) -> None:
        """Have `serve_forever` end, and wait for that; in another thread."""
        if self._loop is None:
            return  # it did not start
        try:
            self._loop.call_soon_threadsafe(self._stopping.set)
        except RuntimeError:
            pass  # it has ended already
        self._is_over.wait()

    async def _start(self, application: WSGIApplication, override: Override) -> None:
        self._stopping = asyncio.Event()
        app = make(self.make_application, application)
        self._app_runner = make_runner(app)
        try:
            await self._app_runner.setup()
            # Made after the start, when a relative STATIC_URL knows where Django is mounted.
            self._files = FilesInFront(self.file_handlers)
            for gateway in [*gateways(app), self._files.gateway]:
                gateway.application = _OnConnections(
                    gateway.application,
                    override,
                    self._close_connections,  # type: ignore[attr-defined]
                )
            self._files.install(cast(web.Server, self._app_runner.server))
            await web.SockSite(self._app_runner, self.socket).start()
        except BaseException:
            await end(self._app_runner)
            raise

    async def _serve(self) -> None:
        try:
            await self._stopping.wait()
        finally:
            await end(self._app_runner)
            await self._files.close()


class _OnConnections:
    """A WSGI application that uses the connections of the test's thread, where it's given them.

    close: called at the end of each request, as Django's server does with its threads.
    """

    def __init__(
        self, application: WSGIApplication, override: Override, close: Callable[[], object]
    ) -> None:
        self._application = application
        self._override = override
        self._close = close

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        install(self._override)
        is_open = False
        try:
            result = self._application(environ, start_response)
            if isinstance(result, environ["wsgi.file_wrapper"]):
                # The gateway knows by its type that it can be sent as a file.
                result.close = _closing(result, self._close)
                is_open = True
            elif not isinstance(result, list | tuple):
                result = _Result(result, _closing(result, self._close))
                is_open = True
            return result
        finally:
            if not is_open:
                self._close()


class _Result:
    def __init__(self, result: Iterable[bytes], close: Callable[[], None]) -> None:
        self._result = result
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._result)


def _closing(result: Any, close: Callable[[], object]) -> Callable[[], None]:
    own = getattr(result, "close", None)

    def close_both() -> None:
        try:
            if own is not None:
                own()
        finally:
            close()

    return close_both


class AioLiveServerThread(LiveServerThread):
    """Django's thread of a live server, with another server in it."""

    server_class = LiveServer
    make_application: Factory | None = None

    def _create_server(self, connections_override: Any = None) -> Any:
        server = super()._create_server(connections_override)  # type: ignore[misc]
        server.make_application = self.make_application
        server.file_handlers = [self.static_handler, _MediaFilesHandler]
        return server


class AioLiveServerTestCase(LiveServerTestCase):
    """Django's LiveServerTestCase, with coroutine views and WebSockets.

    Static files come from STATIC_ROOT, as there.

    application: a function that makes the application to be served, as a `staticmethod`; None for
        the one that AIO_APPLICATION_FACTORY names, or for `get_aio_application()`.
    """

    server_thread_class = AioLiveServerThread
    application: Factory | None = None

    @classproperty
    def ws_url(cls) -> str:
        """The URL for WebSockets, as `live_server_url`."""
        return f"ws://{cls.host}:{cls.server_thread.port}"

    @classmethod
    def _create_server_thread(cls, connections_override: Any) -> Any:
        thread = super()._create_server_thread(connections_override)  # type: ignore[misc]
        thread.make_application = cls.application
        return thread


class AioStaticLiveServerTestCase(AioLiveServerTestCase):
    """The same with static files from the finders, as in Django's StaticLiveServerTestCase."""

    static_handler = StaticFilesHandler
