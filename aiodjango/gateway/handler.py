"""The gateway: HTTP requests of aiohttp, answered by a WSGI application in worker threads.

Knows aiohttp and PEP 3333; knows nothing of Django. A request's way:

on the loop     the body is received (`body`), the environ built (`environ`), a call submitted
in a thread     the call runs the application and hands over a reply (`wsgi`, `workers`)
on the loop     the reply becomes an aiohttp response (`replies`, `streams`)
"""

import asyncio
import io
import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any
from wsgiref.types import WSGIApplication

from aiohttp import web

from .body import (
    BODY_TIMEOUT,
    Body,
    BodyInterrupted,
    BodyMalformed,
    BodyStalled,
    BodyTooLarge,
    ClientLeft,
    close_off_loop,
    receive_body,
)
from .call import Call
from .connection import attend, unanswered
from .environ import SchemeConflict, TrustedProxies, build_environ, default_proxies
from .framing import CodingUnsupported, FramingUnclear, close_if_last, discard_rest, has_body
from .memory import MemoryBudget
from .stream import Streams
from .threads import NoThread, Workers

logger = logging.getLogger("aiodjango.gateway")

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# How much of all bodies stays in memory, as a multiple of `body_memory_limit`.
BODIES_IN_MEMORY = 128

# How often (seconds) an overloaded gateway looks for clients that have left its queue.
SWEEP_INTERVAL = 0.1
# What a client that is turned away is asked to wait, in seconds.
RETRY_AFTER = 1


class Gateway:
    """Answers aiohttp's requests by `application`, a WSGI application.

    threads
        how many requests the application works on at once.
    max_body_size
        the largest request body, in bytes; a larger one is answered 413.
    body_memory_limit
        how much of a body, in bytes, stays in memory; more goes to a temporary file. The same
        holds for what a stream has ready for its reader. All bodies together, those of responses
        included, keep 128 times as much in memory.
    body_timeout
        how long, in seconds, less than 1 KiB of a body may arrive; then the answer is 408. (A
        coroutine view that waits for its body gets 408 when nothing arrives for so long.)
    stream_buffer_limit
        how far, in bytes, a streaming response runs ahead of its reader before it waits for it.
    max_streams
        how many streams that are long, or that wait for their readers, may keep a thread beside
        `threads`; past that the reader that has stalled longest is cut off.
    max_pending
        how many complete requests may wait for a thread; the next is answered 503.
    forwarded_allow_ips
        who may say by a header under which scheme a client came: addresses and networks, separated
        by commas, or "*" for everyone. Peers on a unix socket always may. Default: the environment
        variable FORWARDED_ALLOW_IPS, or else "127.0.0.1,::1".
    at_thread_end
        called in each worker thread when it has run its last request, to give back what belongs to
        the thread; an error is logged.

    Raises TypeError and ValueError for options that cannot be. Threads are started by the first
    requests, so an application that was loaded before a fork can be used after it.
    """

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
            raise TypeError(f"a WSGI application is callable, {application!r} is not")
        # May be replaced before the first request (to serve static files in front of it, say).
        self.application = application
        self.threads = _whole_number("threads", threads, least=1)
        self._max_body_size = _whole_number("max_body_size", max_body_size)
        self._body_memory_limit = _whole_number("body_memory_limit", body_memory_limit)
        self.body_timeout = _seconds("body_timeout", body_timeout)
        self._budget = MemoryBudget(self._body_memory_limit * BODIES_IN_MEMORY)
        self._stream_buffer_limit = _whole_number(
            "stream_buffer_limit", stream_buffer_limit, least=1
        )
        self._max_streams = _whole_number("max_streams", max_streams)
        self._max_pending = _whole_number("max_pending", max_pending, least=1)
        if forwarded_allow_ips is None:
            default_proxies()  # an error is one of the start
        elif not isinstance(forwarded_allow_ips, str):
            raise TypeError(f"forwarded_allow_ips must be str, not {forwarded_allow_ips!r}")
        else:
            self.trusted_proxies = TrustedProxies(forwarded_allow_ips)
        self._at_thread_end = at_thread_end
        self._streams: Streams | None = None
        self._shed = 0
        self._abandoned = 0
        self._is_shedding = False
        self._swept = 0.0

    @cached_property
    def trusted_proxies(self) -> TrustedProxies:
        # Read at the first request: a worker of gunicorn may be told more than its master.
        return default_proxies()

    # --- Figures ---------------------------------------------------------------------------

    @property
    def busy(self) -> int:
        """Threads at work now, those of streams that stand aside included."""
        return self._streams.workers.busy if self._streams else 0

    @property
    def pending(self) -> int:
        """Complete requests that wait for a thread now."""
        return self._streams.workers.pending if self._streams else 0

    @property
    def streams(self) -> int:
        """Streaming responses whose threads stand beside the others now."""
        return self._streams.aside if self._streams else 0

    @property
    def shed(self) -> int:
        """Requests answered 503, since the start, because `max_pending` were waiting."""
        return self._shed

    @property
    def abandoned(self) -> int:
        """Requests never run, since the start, because the client left before their turn."""
        current = self._streams.workers.abandoned if self._streams else 0
        return self._abandoned + current

    # --- A request -------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest, script_name: str = "") -> web.StreamResponse:
        """Answer `request` by the application.

        `script_name` is the mount: decoded text without a trailing slash ("" or "/site"), a
        prefix of the decoded path.
        """
        attend(request)
        try:
            call = await self._take_in(request, script_name)
            reply = await call.reply()
        except _Refused as refused:
            return refused.response
        except ClientLeft:
            # One that has only ended its sending hears of it.
            return unanswered() if request.transport is None else _overloaded().response
        finally:
            discard_rest(request)
        if request.transport is None:
            reply.discard()
            return unanswered()
        response = reply.response(request)
        close_if_last(request, response)
        return response

    async def handle_expect(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """An aiohttp `expect_handler`: refuse a body before the client sends it, or ask for it."""
        if request.version < (1, 1):
            return None  # RFC 9110 section 10.1.1: to be ignored
        try:
            if request.headers.get("Expect", "").lower() != "100-continue":
                raise _Refused(417, "Unknown expectation")
            _check_for_body(request)
            length = request.content_length
            if length is not None and length > self._max_body_size:
                raise _too_large()
            if self._is_full():
                raise self._turned_away()
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        except _Refused as refused:
            return await _send_and_close(request, refused.response)
        except ConnectionError:
            return unanswered()
        # As if nothing had been sent: this was no part of the response.
        request.writer.output_size = 0
        return None

    async def _take_in(self, request: web.BaseRequest, script_name: str) -> Call:
        """Receive a request and queue its call. Raises _Refused and ClientLeft."""
        if request.method == "CONNECT":
            raise _Refused(501, "CONNECT asks for a tunnel, which no WSGI application can make")
        if request.version.major != 1:
            raise _Refused(505, "The request's version of HTTP is not supported")
        body = await self._receive(request) if _check_for_body(request) else None
        try:
            transport = request.transport
            if transport is None:
                raise ClientLeft
            if self._is_full():
                raise self._turned_away()
            environ = self._build_environ(request, script_name)
            _add_body(environ, body)
            streams = self._streams_here()
            call = Call(self.application, environ, transport, streams)
            streams.workers.submit(call)
        except BaseException as error:
            if body is not None:
                close_off_loop(body.file)
            if isinstance(error, NoThread):
                logger.error("No thread can be started for a request: it is turned away")
                raise _overloaded() from None
            raise
        return call

    def _build_environ(self, request: web.BaseRequest, script_name: str) -> dict[str, Any]:
        try:
            return build_environ(request, script_name, self.trusted_proxies)
        except SchemeConflict:
            raise _Refused(400, "The headers that name the scheme contradict each other") from None

    async def _receive(self, request: web.BaseRequest) -> Body:
        try:
            return await receive_body(
                request,
                max_size=self._max_body_size,
                memory_limit=self._body_memory_limit,
                budget=self._budget,
                stall_limit=self.body_timeout,
            )
        except BodyStalled as error:
            raise _Refused(408, error.text or "") from None
        except BodyInterrupted as error:
            raise _Refused(503, error.text or "", retry_after=RETRY_AFTER) from None
        except BodyTooLarge:
            raise _too_large() from None
        except BodyMalformed:
            raise _Refused(400, "The body of the request is malformed") from None

    # --- Overload --------------------------------------------------------------------------

    def _is_full(self) -> bool:
        """Whether so many requests wait for a thread that one more must be turned away."""
        if self._streams is None:
            return False
        workers = self._streams.workers
        if workers.pending >= self._max_pending:
            now = workers.loop.time()
            if now - self._swept >= SWEEP_INTERVAL:
                # Those whose clients have left take no place.
                self._swept = now
                workers.sweep()
        elif self._is_shedding and workers.pending <= self._max_pending // 2:
            self._is_shedding = False
            logger.warning("No longer overloaded: %d requests were turned away", self._shed)
        return workers.pending >= self._max_pending

    def _turned_away(self) -> "_Refused":
        self._shed += 1
        if not self._is_shedding:
            self._is_shedding = True
            logger.warning("Overloaded: %d requests wait, more are turned away", self.pending)
        return _overloaded()

    # --- Beginning and end -----------------------------------------------------------------

    def _streams_here(self) -> Streams:
        """The streams and worker threads of the running loop, made when first asked for."""
        loop = asyncio.get_running_loop()
        streams = self._streams
        if streams is None or streams.workers.loop is not loop:
            if streams is not None:
                # Their loop was closed without our knowing.
                self._let_go(streams)
            workers = Workers(self.threads, at_thread_end=self._at_thread_end)
            streams = self._streams = Streams(
                workers,
                limit=self._stream_buffer_limit,
                memory=self._body_memory_limit,
                budget=self._budget,
                max_aside=self._max_streams,
            )
        return streams

    def _let_go(self, streams: Streams) -> None:
        streams.stop()
        streams.workers.stop()
        self._abandoned += streams.workers.abandoned
        self._streams = None

    async def shutdown(self) -> None:
        """End the streams at their next part; everything else goes on to its end.

        For the application's `on_shutdown`, after which aiohttp waits for open requests.
        """
        if self._streams is not None:
            self._streams.stop()

    async def close(self) -> None:
        """End the threads. The gateway may be used again, on another loop too."""
        streams = self._streams
        if streams is not None:
            self._let_go(streams)
            await streams.workers.wait_stopped()


class _Refused(Exception):
    """A request that the application will not see, with the response that it gets."""

    def __init__(self, status: int, text: str, *, retry_after: int | None = None) -> None:
        super().__init__(text)
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.response = web.Response(status=status, text=f"{text}\n", headers=headers)
        # There may be a body that was not read: what follows on the connection is uncertain.
        self.response.force_close()


def _check_for_body(request: web.BaseRequest) -> bool:
    try:
        return has_body(request)
    except FramingUnclear:
        raise _Refused(400, "The headers leave open where the request ends") from None
    except CodingUnsupported:
        raise _Refused(501, "The request's transfer coding is not supported") from None


def _too_large() -> _Refused:
    return _Refused(413, "The body of the request is too large")


def _overloaded() -> _Refused:
    return _Refused(503, "The server is overloaded", retry_after=RETRY_AFTER)


async def _send_and_close(request: web.BaseRequest, response: web.Response) -> web.Response:
    """Answer a client that waits for leave to send its body, and hang up."""
    try:
        await response.prepare(request)
        await response.write_eof()
    except ConnectionError:
        return unanswered()
    if request.content.total_bytes == 0:
        # aiohttp would wait for the body. (If it is on its way then to read some of it is right:
        # hanging up on data that has arrived can cost the client our answer.)
        request.protocol.force_close()
    discard_rest(request)
    return response


def _add_body(environ: dict[str, Any], body: Body | None) -> None:
    if body is None:
        environ["wsgi.input"] = io.BytesIO()
        return
    environ["wsgi.input"] = body.file
    environ["CONTENT_LENGTH"] = str(body.length)
    if body.decoded:
        # The application would decode it again.
        environ.pop("HTTP_CONTENT_ENCODING", None)


def _whole_number(name: str, value: object, *, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return value


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not value > 0:
        raise ValueError(f"{name} must be more than 0 seconds, not {value}")
    return float(value)
