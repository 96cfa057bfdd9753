"""gunicorn workers that use `aiodjango.AioRunner`.

gunicorn --worker-class aiodjango.worker.GunicornWorker
"""

import asyncio
import functools
import inspect
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from ssl import SSLContext
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.worker import GunicornWebWorker
from gunicorn import sock

from .runner import AioRunner

__all__ = ("GunicornUVLoopWorker", "GunicornWorker")

# In gunicorn a limit of 0 is no limit. aiohttp's parser in C accepts numbers up to this one.
UNLIMITED = 2**31 - 1
# The part of graceful_timeout that open requests have to finish; the rest is for the cleanup of
# the application.
SHUTDOWN_SHARE = 0.95


class GunicornWorker(GunicornWebWorker):
    """aiohttp's worker for gunicorn, with gunicorn's own settings.

    It serves an application, or what a coroutine function returns: an application or a runner.
    """

    wsgi: Any
    exit_code: int
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = staticmethod(asyncio.new_event_loop)

    def init_process(self) -> None:
        # aiohttp's own method asks for a current loop, which is deprecated where there is none, and
        # sets an event loop policy for uvloop.
        self.loop = self.new_event_loop()
        asyncio.set_event_loop(self.loop)
        super(GunicornWebWorker, self).init_process()

    def load_wsgi(self) -> None:
        # aiodjango reads here which proxies may set the scheme of a request.
        os.environ["FORWARDED_ALLOW_IPS"] = ",".join(self.cfg.forwarded_allow_ips)
        super().load_wsgi()

    def run(self) -> None:
        # After gunicorn's hook post_worker_init, which may replace the application.
        self.wsgi = self._runner_maker(self.wsgi)
        # aiohttp's run() offers no other place to do this.
        run = self.loop.run_until_complete
        vars(self.loop)["run_until_complete"] = functools.partial(self._run_despite_exits, run)
        super().run()

    def _run_despite_exits(self, run: Callable[[Any], Any], work: Any) -> Any:
        """Run the loop until some work is done, even if other tasks raise exits.

        asyncio stops its loop when a task raises SystemExit or KeyboardInterrupt. It can continue:
        code that waits for the task receives the exit too.
        """
        future = asyncio.ensure_future(work, loop=self.loop)
        while True:
            try:
                return run(future)
            except (SystemExit, KeyboardInterrupt) as raised:
                # gunicorn sets the exit code when it aborts the worker.
                if self.exit_code or future.done():
                    raise
                self.log.error("A task of the site raised %r.", raised, exc_info=raised)

    def _runner_maker(self, wsgi: Any) -> Callable[[], Awaitable[web.AppRunner]]:
        """Return a coroutine function that returns a runner, as aiohttp's worker expects it."""

        async def make_runner() -> web.AppRunner:
            app = await wsgi() if inspect.iscoroutinefunction(wsgi) else wsgi
            if isinstance(app, web.AppRunner):
                return app
            if not isinstance(app, web.Application):
                raise RuntimeError(
                    "GunicornWorker serves an aiohttp.web.Application, as "
                    "aiodjango.get_aio_application() returns, or a coroutine function that returns "
                    f"one, not {app!r}."
                )
            return AioRunner(app, **self._runner_options())

        return make_runner

    def _runner_options(self) -> dict[str, Any]:
        cfg = self.cfg
        return {
            "logger": self.log,
            "keepalive_timeout": cfg.keepalive,
            "shutdown_timeout": cfg.graceful_timeout * SHUTDOWN_SHARE,
            "max_line_size": cfg.limit_request_line or UNLIMITED,
            "max_field_size": cfg.limit_request_field_size or UNLIMITED,
            "max_headers": cfg.limit_request_fields,
            **self._access_log_options(),
        }

    def _access_log_options(self) -> dict[str, Any]:
        cfg, log = self.cfg, self.log
        if not (cfg.accesslog or cfg.statsd_host or getattr(log, "access_log_enabled", False)):
            return {"access_log": None}
        if "%(" not in cfg.access_log_format:
            # A format of aiohttp, as its own worker accepts it.
            return {"access_log": log.access_log, "access_log_format": cfg.access_log_format}
        return {"access_log": log, "access_log_class": GunicornAccessLogger}

    @staticmethod
    def _create_ssl_context(cfg: Any) -> SSLContext:
        # aiohttp's own method ignores gunicorn's hook ssl_context, and selects a TLS version in a
        # deprecated way.
        context: SSLContext = sock.ssl_context(cfg)
        # gunicorn may offer HTTP/2, which aiohttp does not support.
        context.set_alpn_protocols(["http/1.1"])
        return context


class GunicornUVLoopWorker(GunicornWorker):
    """The same worker on uvloop's event loop."""

    @staticmethod
    def new_event_loop() -> asyncio.AbstractEventLoop:
        import uvloop

        return uvloop.new_event_loop()


class GunicornAccessLogger(AbstractAccessLogger):
    """Writes the access log with gunicorn's logger, in the format of gunicorn's settings."""

    logger: Any

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        self.logger.access(
            _Logged(response.status, response.body_length, list(response.headers.items())),
            request,
            _log_environ(request),
            timedelta(seconds=time),
        )


class _Logged(NamedTuple):
    """A response as gunicorn's logger reads it."""

    status: int
    sent: int
    headers: list[tuple[str, str]]


def _log_environ(request: web.BaseRequest) -> dict[str, Any]:
    """Return the part of a WSGI environ that gunicorn's logger uses."""
    version = request.version
    environ = {
        f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()
    }
    return {
        **environ,
        "REMOTE_ADDR": request.remote or "",
        "REQUEST_METHOD": request.method,
        "RAW_URI": request.raw_path,
        # Encoded as they were sent: a decoded line feed would begin another line of the log.
        "PATH_INFO": request.rel_url.raw_path,
        "QUERY_STRING": request.rel_url.raw_query_string,
        "SERVER_PROTOCOL": f"HTTP/{version.major}.{version.minor}",
    }
