"""Django's live server for tests, with aiohttp as its server."""

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
from aiodjango.orm import close_orm_threads
from aiodjango.runner import end_at_once
from aiodjango.subapp import fallbacks

from .connections import Override, install, orm_calls_on
from .server import Factory, make, make_runner


class LiveServer(ThreadedWSGIServer):
    """An aiohttp server on the listening socket of Django's server.

    All methods but `shutdown` and `server_close` are called in the live server's thread.
    """

    # Set by AioLiveServerThread.
    factory: Factory | None = None
    file_handlers: list[Any]

    _loop: asyncio.AbstractEventLoop | None = None
    _stopping: asyncio.Event

    def set_app(self, application: WSGIApplication | None) -> None:
        """Start the aiohttp application here, so that the test receives its errors.

        application: Django's WSGI application, behind the handlers of static and media files.
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
        """Serve until `shutdown`, and release all resources."""
        try:
            with self._ending:
                self._runner.run(self._serve())
        finally:
            self._is_over.set()

    def shutdown(self) -> None:
        """Stop `serve_forever`, and wait for its end; in another thread."""
        if self._loop is None:
            return  # it has not been started
        try:
            self._loop.call_soon_threadsafe(self._stopping.set)
        except RuntimeError:
            pass  # it has ended already
        self._is_over.wait()

    async def _start(self, application: WSGIApplication, override: Override) -> None:
        self._stopping = asyncio.Event()
        app = make(self.factory, application)
        self._app_runner = make_runner(app)
        try:
            await self._app_runner.setup()
            # After the start, when a relative STATIC_URL contains the mount.
            self._files = FilesInFront(self.file_handlers)
            for gateway in [*fallbacks(app), self._files.gateway]:
                gateway.application = _OnConnections(
                    gateway.application,
                    override,
                    self._close_connections,  # type: ignore[attr-defined]
                )
            self._files.install(cast(web.Server, self._app_runner.server))
            await web.SockSite(self._app_runner, self.socket).start()
        except BaseException:
            await end_at_once(self._app_runner)
            raise

    async def _serve(self) -> None:
        try:
            await self._stopping.wait()
        finally:
            await end_at_once(self._app_runner)
            await self._files.close()


class _OnConnections:
    """A WSGI application that uses the connections of the test's thread, if they are shared.

    close: called at the end of each request, as by Django's server.
    """

    def __init__(
        self, application: WSGIApplication, override: Override, close: Callable[[], object]
    ) -> None:
        self._application = application
        self._override = override
        self._close = close

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        install(self._override)
        try:
            result: Any = self._application(environ, start_response)
        except BaseException:
            self._close()
            raise
        if isinstance(result, list | tuple):
            self._close()
            return result
        closing = _ClosingResult(result, self._close)
        if isinstance(result, environ["wsgi.file_wrapper"]):
            # Unchanged in type, by which the gateway recognises a file.
            result.close = closing.close
            return result  # type: ignore[no-any-return]
        return closing


class _ClosingResult:
    """The result of a WSGI application, with another function that is called by close()."""

    def __init__(self, result: Any, close: Callable[[], object]) -> None:
        self._result = result
        self._close_result = getattr(result, "close", lambda: None)
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._result)

    def close(self) -> None:
        try:
            self._close_result()
        finally:
            self._close()


class AioLiveServerThread(LiveServerThread):
    """Django's thread of a live server, with this server."""

    server_class = LiveServer
    factory: Factory | None = None

    def _create_server(self, connections_override: Any = None) -> Any:
        server = super()._create_server(connections_override)  # type: ignore[misc]
        server.factory = self.factory
        server.file_handlers = [self.static_handler, _MediaFilesHandler]
        return server


class AioLiveServerTestCase(LiveServerTestCase):
    """Django's LiveServerTestCase, with coroutine views and WebSockets.

    Static files come from STATIC_ROOT, as there.

    application: a function that returns the application to be served, as a `staticmethod`; None
        for the one that AIO_APPLICATION_FACTORY names, or for `get_aio_application()`.
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
        thread.factory = cls.application
        return thread


class AioStaticLiveServerTestCase(AioLiveServerTestCase):
    """The same with static files from the finders, as in Django's StaticLiveServerTestCase."""

    static_handler = StaticFilesHandler
