"""The server behind ``manage.py runserver``: one aiohttp application on one listening socket."""

import asyncio
import logging
import socket
import threading
from typing import Any, cast

from aiohttp import web
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import WSGIServer, get_internal_wsgi_application

from aiodjango.conf import load_aio_application, load_aio_application_factory
from aiodjango.fallback import FALLBACK
from aiodjango.runner import DJANGO_LIMITS, AioRunner
from aiodjango.subapp import applications, get_aio_application

from .log import AccessLogger, CountingWriter, ProtocolLogger, log_websocket
from .static import FilesInFront

__all__ = ("DevelopmentServer", "ListeningSocket", "get_internal_aio_application")

# How long a reload or Ctrl-C waits, in seconds, while handlers are cancelled and the application's
# on_shutdown and on_cleanup run. Whatever is still busy then is left behind.
EXIT_GRACE = 0.5


def get_internal_aio_application() -> web.Application:
    """Return the application that ``settings.AIO_APPLICATION`` names.

    Without it, one that the function of ``settings.AIO_APPLICATION_FACTORY`` makes; without both,
    one is built.

    The counterpart of Django's ``get_internal_wsgi_application``, whose result the built one wraps.

    Raises `ImproperlyConfigured` when a setting names nothing that can be served.
    """
    app = load_aio_application()
    if app is not None:
        return app
    factory = load_aio_application_factory()
    if factory is not None:
        return factory()
    return get_aio_application(get_internal_wsgi_application())


class DevelopmentServer:
    """Serves an application, in a thread that the end of the process never waits for.

    That is the autoreloader's thread, or without one a thread of its own: signals come to the main
    thread, which must be free to end everything.

    Parameters:
        app: the application, not yet started.
        use_threading: False lets Django work on one request at a time.
        use_static: serve static files through the finders.
    """

    def __init__(self, app: web.Application, *, use_threading: bool, use_static: bool) -> None:
        self.app = app
        app.on_response_prepare.append(log_websocket)
        self._use_threading = use_threading
        self._use_static = use_static
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._finished = threading.Event()
        self._error: BaseException | None = None

    def serve(self, listening: socket.socket, poll_interval: float) -> None:
        """Serve until `stop`.

        Raises what the application's start raises. In the main thread a signal's exception may end
        the call too; the server goes on until `stop` all the same.
        """
        if threading.current_thread() is not threading.main_thread():
            self._run(listening)
        else:
            threading.Thread(
                target=self._run, args=(listening,), name="aiodjango-server", daemon=True
            ).start()
            # In small steps: on Windows no signal interrupts a wait.
            while not self._finished.wait(poll_interval):
                pass
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Close all connections and end the application, within `EXIT_GRACE` seconds or not at all.

        May be called from any thread, more than once.
        """
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._finished.wait(EXIT_GRACE)
        except RuntimeError:
            pass  # The loop has ended by itself.
        except KeyboardInterrupt:  # pragma: no cover - a second Ctrl-C within EXIT_GRACE
            pass  # No more patience.

    def _run(self, listening: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listening))
        except BaseException as error:
            self._error = error
        finally:
            self._finished.set()

    async def _serve(self, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        protocol_logger = ProtocolLogger(logging.getLogger("aiohttp.server"), {})
        runner = AioRunner(
            self.app,
            access_log=logging.getLogger("django.server"),
            access_log_class=AccessLogger,
            logger=protocol_logger,
            # aiohttp waits this long for handlers, then cancels them and waits once more.
            shutdown_timeout=EXIT_GRACE / 5,
            idle_grace=0,
            **DJANGO_LIMITS,
        )
        files: FilesInFront | None = None
        try:
            await runner.setup()
            server = cast(web.Server, runner.server)
            _count_bodies(server)
            # After the start, when every part of the application has its fallback, and a relative
            # STATIC_URL knows where Django is mounted.
            if not self._use_threading:
                _limit_to_one_thread(self.app)
            if self._use_static:
                files = FilesInFront([StaticFilesHandler])
                files.install(server)
            await web.SockSite(runner, listening).start()
            await self._stopping.wait()
        finally:
            protocol_logger.is_ending = True
            if runner.server is not None:
                for connection in runner.server.connections:
                    connection.force_close()
            await runner.cleanup()
            if files is not None:
                await files.close()


def _limit_to_one_thread(app: web.Application) -> None:
    for part in applications(app):
        if FALLBACK in part:
            part[FALLBACK].threads = 1


def _count_bodies(server: web.Server) -> None:
    """Give every request of `server` a writer that counts its body."""
    make_request = server.request_factory

    def make_counted_request(
        message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        counting = CountingWriter(protocol, writer.loop)
        return make_request(message, payload, protocol, counting, task)

    server.request_factory = make_counted_request


class ListeningSocket(WSGIServer):
    """Django's development server up to its listening socket; a `DevelopmentServer` takes that.

    Django's `runserver` makes it, binds it and reports its errors like its own.
    """

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        server = cast(DevelopmentServer, self.get_app())
        server.serve(self.socket, poll_interval)
