"""Answers a request by a WSGI application: the modules that a request passes, in their order.

on the loop     `framing` tells whether there is a body, `body` receives it, `environ` describes the
                request, `threads` queues the call
in a thread     `call` runs the application and makes the `response`, for a `stream` perhaps
on the loop     aiohttp sends the response
"""

import asyncio
import logging
from collections.abc import Callable
from functools import cached_property
from wsgiref.types import WSGIApplication

from aiohttp import hdrs, web

from aiodjango.runtime.options import seconds, whole_number

from .body import BODY_TIMEOUT, RETRY_AFTER, ClientLeft, receive_body, too_large
from .call import WsgiCall
from .connection import attend, unanswered
from .environ import TrustedProxies, build_environ, default_proxies
from .framing import close_if_last, discard_rest, has_body, send_continue
from .spool import MemoryBudget, close_off_loop
from .stream import Streams
from .threads import NoThread, Workers

logger = logging.getLogger("aiodjango.gateway")

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# How much memory all bodies may take, as a multiple of `body_memory_limit`.
BODIES_IN_MEMORY = 128

# How often an overloaded gateway looks for clients that have left the queue, in seconds.
SWEEP_INTERVAL = 0.1


class Gateway:
    """Answers aiohttp's requests by a WSGI application in worker threads.

    application: the WSGI application; it may be replaced before the first request.
    threads: how many requests the application answers at the same time.
    max_body_size: the largest body of a request, in bytes; the response to a larger one is 413.
    body_memory_limit: how much of a body stays in memory, in bytes, whether of a request or of a
        response; the rest goes to a temporary file. All bodies together may take 128 times as much.
    body_timeout: how long less than 1 KiB of a body may arrive, in seconds; then the response is
        408. (A coroutine view that reads its body gets 408 when nothing arrives for so long.)
    stream_buffer_limit: how far a streaming response may be ahead of its client, in bytes.
    max_streams: how many streams that take long, or that wait for their clients, may have a thread
        in addition to `threads`; beyond that the client that has read nothing for longest is
        disconnected.
    max_pending: how many complete requests may wait for a thread; the next one gets 503.
    forwarded_allow_ips: the proxies that may report the scheme of a client: addresses and networks,
        separated by commas, or "*" for all. Peers on a unix socket always may. By default those of
        the environment variable FORWARDED_ALLOW_IPS, or else the local machine.
    at_thread_end: called at the end of each worker thread, to free what belongs to the thread; an
        error is logged.

    Raises TypeError and ValueError for invalid options.

    Threads are started by the first requests, so an application that was loaded before a fork can
    be used after it.
    """

    # Where the application is mounted: a prefix of the decoded path, without a trailing slash.
    mount = ""

    def __init__(
        self,
        application: WSGIApplication,
        *,
        threads: int = 8,
        max_body_size: int = 1 * GIB,
        body_memory_limit: int = 512 * KIB,
        body_timeout: float = BODY_TIMEOUT,
        stream_buffer_limit: int = 64 * MIB,
        max_streams: int = 32,
        max_pending: int = 1000,
        forwarded_allow_ips: str | None = None,
        at_thread_end: Callable[[], object] | None = None,
    ) -> None:
        if not callable(application):
            raise TypeError(f"The application has to be a WSGI application, not {application!r}.")
        self.application = application
        self.threads = whole_number("threads", threads, least=1)
        self._max_body_size = whole_number("max_body_size", max_body_size)
        self._body_memory_limit = whole_number("body_memory_limit", body_memory_limit)
        self.body_timeout = seconds("body_timeout", body_timeout)
        self._budget = MemoryBudget(self._body_memory_limit * BODIES_IN_MEMORY)
        self._stream_buffer_limit = whole_number(
            "stream_buffer_limit", stream_buffer_limit, least=1
        )
        self._max_streams = whole_number("max_streams", max_streams)
        self._max_pending = whole_number("max_pending", max_pending, least=1)
        if forwarded_allow_ips is None:
            default_proxies()  # so that an error is raised now
        elif not isinstance(forwarded_allow_ips, str):
            raise TypeError(f"forwarded_allow_ips must be str, not {forwarded_allow_ips!r}")
        else:
            self.trusted_proxies = TrustedProxies(forwarded_allow_ips)
        self._at_thread_end = at_thread_end
        self._workers: Workers | None = None
        self._streams: Streams | None = None
        self._shed = 0
        self._abandoned = 0
        self._is_shedding = False
        self._swept = 0.0

    @cached_property
    def trusted_proxies(self) -> TrustedProxies:
        # Read at the first request: gunicorn's master may load the application before
        # `aiodjango.worker` sets the variable in a worker.
        return default_proxies()

    # ---- Figures ----

    @property
    def busy(self) -> int:
        """Threads that run a request now."""
        return self._workers.busy if self._workers else 0

    @property
    def pending(self) -> int:
        """Complete requests that wait for a thread."""
        return self._workers.pending if self._workers else 0

    @property
    def streams(self) -> int:
        """Streaming responses that have a thread in addition to `threads` now."""
        return self._streams.aside if self._streams else 0

    @property
    def shed(self) -> int:
        """Requests refused with 503 since the start, because too many were pending."""
        return self._shed

    @property
    def abandoned(self) -> int:
        """Requests never run since the start, because their client left before their turn."""
        return self._abandoned + (self._workers.abandoned if self._workers else 0)

    # ---- A request ----

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request by the application."""
        attend(request)
        try:
            call = await self._submit(request)
            response = await call.response
        except web.HTTPException as error:
            return _refusal(error)
        except ClientLeft:
            # A client that has only ended its sending still gets a response.
            return unanswered() if request.transport is None else _refusal(_overloaded())
        finally:
            discard_rest(request)
        if request.transport is None:
            return unanswered()
        close_if_last(request, response)
        return response

    async def handle_expect(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """An aiohttp `expect_handler`: asks for the body, or refuses it before it is sent."""
        if request.version < (1, 1):
            return None  # RFC 9110 section 10.1.1: to be ignored
        try:
            if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
                raise web.HTTPExpectationFailed(text="Unknown expectation")
            has_body(request)
            length = request.content_length
            if length is not None and length > self._max_body_size:
                raise too_large(self._max_body_size, length)
            self._check_load()
            await send_continue(request)
        except web.HTTPException as error:
            return await _send_and_close(request, _refusal(error))
        except ConnectionError:
            return unanswered()
        return None

    async def _submit(self, request: web.BaseRequest) -> WsgiCall:
        """Receive a request and queue a call. Raises HTTPException and ClientLeft."""
        if request.method == hdrs.METH_CONNECT:
            raise web.HTTPNotImplemented(text="A WSGI application cannot open a tunnel (CONNECT)")
        if request.version.major != 1:
            raise web.HTTPVersionNotSupported(text="The version of HTTP is not supported")
        body = None
        if has_body(request):
            body = await receive_body(
                request,
                max_size=self._max_body_size,
                memory_limit=self._body_memory_limit,
                budget=self._budget,
                body_timeout=self.body_timeout,
            )
        try:
            transport = request.transport
            if transport is None:
                raise ClientLeft
            self._check_load()
            environ = build_environ(request, self.mount, self.trusted_proxies, body)
            workers, streams = self._start_threads()
            call = WsgiCall(self.application, environ, transport, workers, streams)
            workers.submit(call)
        except BaseException as error:
            if body is not None:
                close_off_loop(body.file)
            if isinstance(error, NoThread):
                logger.error("Could not start a thread for a request, which is refused")
                raise _overloaded() from None
            raise
        return call

    def _check_load(self) -> None:
        """Raise HTTPServiceUnavailable where too many requests wait for a thread."""
        workers = self._workers
        if workers is None:
            return
        if workers.pending >= self._max_pending:
            now = workers.loop.time()
            if now - self._swept >= SWEEP_INTERVAL:
                # Requests whose clients have left do not count.
                self._swept = now
                workers.sweep()
        elif self._is_shedding and workers.pending <= self._max_pending // 2:
            self._is_shedding = False
            logger.warning("No longer overloaded: %d requests were refused", self._shed)
        if workers.pending < self._max_pending:
            return
        self._shed += 1
        if not self._is_shedding:
            self._is_shedding = True
            logger.warning("Overloaded: %d requests wait, more are refused", workers.pending)
        raise _overloaded()

    # ---- Start and end ----

    def _start_threads(self) -> tuple[Workers, Streams]:
        """Return what runs calls on this event loop, made for the first call."""
        workers, streams = self._workers, self._streams
        if workers is None or streams is None or workers.loop is not asyncio.get_running_loop():
            self._end_threads()  # of a loop that was closed without close()
            workers = self._workers = Workers(self.threads, at_thread_end=self._at_thread_end)
            streams = self._streams = Streams(
                workers,
                limit=self._stream_buffer_limit,
                memory=self._body_memory_limit,
                budget=self._budget,
                max_aside=self._max_streams,
            )
        return workers, streams

    def _end_threads(self) -> None:
        if self._streams is not None:
            self._streams.stop()
        if self._workers is not None:
            self._workers.stop()
            self._abandoned += self._workers.abandoned
        self._workers = self._streams = None

    async def shutdown(self, app: web.Application | None = None) -> None:
        """End the streams at their next part; all other requests are completed.

        For an application's `on_shutdown`, after which aiohttp waits for open requests.
        """
        if self._streams is not None:
            self._streams.stop()

    async def close(self) -> None:
        """End the threads. The gateway may be used again, on another event loop too."""
        workers = self._workers
        if workers is not None:
            self._end_threads()
            await workers.wait_stopped()


def _overloaded() -> web.HTTPException:
    return web.HTTPServiceUnavailable(headers=RETRY_AFTER, text="The server is overloaded")


def _refusal(error: web.HTTPException) -> web.Response:
    """Return the response to a request that the application does not get."""
    response = web.Response(
        status=error.status,
        reason=error.reason,
        headers=error.headers,
        body=f"{error.text}\n".encode(),
    )
    # The request may have a body that was not read: what follows on the connection is uncertain.
    response.force_close()
    return response


async def _send_and_close(request: web.BaseRequest, response: web.Response) -> web.Response:
    """Answer a client that waits for permission to send its body, and close the connection."""
    try:
        await response.prepare(request)
        await response.write_eof()
    except ConnectionError:
        return unanswered()
    if request.content.total_bytes == 0:
        # aiohttp would wait for the body. (Where the body has begun to arrive, that is right: the
        # client could lose the response otherwise.)
        request.protocol.force_close()
    discard_rest(request)
    return response
