"""The server of ``manage.py runserver``: an aiohttp application on one listening socket."""

import asyncio
import logging
import socket
import threading
from typing import Any, cast

from aiohttp import web
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import WSGIServer, get_internal_wsgi_application

from aiodjango.conf import load_aio_application, load_aio_application_factory
from aiodjango.runner import DJANGO_LIMITS, AioRunner, end_at_once
from aiodjango.subapp import fallbacks, get_aio_application

from .log import AccessLogger, CountingWriter, ProtocolLogger, log_websocket
from .static import FilesInFront

# How long a reload or Ctrl-C waits for handlers to be cancelled and for the application's
# on_shutdown and on_cleanup handlers, in seconds. Work that takes longer is abandoned.
EXIT_GRACE = 0.5


def get_internal_aio_application() -> web.Application:
    """Return the application to be served, as Django's ``get_internal_wsgi_application`` does.

    It is the one that ``AIO_APPLICATION`` names, or one that the function named by
    ``AIO_APPLICATION_FACTORY`` returns, or, without both settings, ``get_aio_application()``.

    Raises `ImproperlyConfigured` if a setting is invalid.
    """
    app = load_aio_application()
    if app is not None:
        return app
    factory = load_aio_application_factory()
    if factory is not None:
        return factory()
    return get_aio_application(get_internal_wsgi_application())


class DevelopmentServer:
    """Serves an application in a thread that the end of the process does not wait for.

    It is the autoreloader's thread, or without one a new thread: the main thread receives signals,
    and must be free to end the process.

    app: the application, not yet started.
    use_threading: whether Django handles several requests at once.
    use_static: whether static files are served, through the finders.
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

        Raises errors of the application's start. In the main thread the exception of a signal may
        end the call too; the server continues until `stop`.
        """
        if threading.current_thread() is not threading.main_thread():
            self._run(listening)
        else:
            threading.Thread(
                target=self._run, args=(listening,), name="aiodjango-server", daemon=True
            ).start()
            # In short steps, because on Windows signals do not interrupt a wait.
            while not self._finished.wait(poll_interval):
                pass
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Close all connections and end the application. Waits up to EXIT_GRACE seconds.

        May be called from any thread, more than once.
        """
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._finished.wait(EXIT_GRACE)
        except RuntimeError:
            pass  # the loop has ended already
        except KeyboardInterrupt:  # pragma: no cover - a second Ctrl-C within EXIT_GRACE
            pass

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
            # aiohttp waits for handlers, cancels them, and waits as long again.
            shutdown_timeout=EXIT_GRACE / 5,
            idle_grace=0,
            **DJANGO_LIMITS,
        )
        files: FilesInFront | None = None
        try:
            await runner.setup()
            server = cast(web.Server, runner.server)
            _count_bodies(server)
            # After the start, when all parts of the application have their fallbacks, and a
            # relative STATIC_URL contains the mount.
            if not self._use_threading:
                for fallback in fallbacks(self.app):
                    fallback.threads = 1
            if self._use_static:
                files = FilesInFront([StaticFilesHandler])
                files.install(server)
            await web.SockSite(runner, listening).start()
            await self._stopping.wait()
        finally:
            protocol_logger.is_ending = True
            await end_at_once(runner)
            if files is not None:
                await files.close()


def _count_bodies(server: web.Server) -> None:
    """Give each request of `server` a writer that counts the bytes of the body."""
    make_request = server.request_factory

    def make_counted_request(
        message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        counting = CountingWriter(protocol, writer.loop)
        return make_request(message, payload, protocol, counting, task)

    server.request_factory = make_counted_request


class ListeningSocket(WSGIServer):
    """The listening socket of Django's development server, on which a `DevelopmentServer` serves.

    Django's `runserver` makes and binds it, and reports its errors.
    """

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        server = cast(DevelopmentServer, self.get_app())
        server.serve(self.socket, poll_interval)
