"""A client's connection: whether the client has only ended its sending, or has left.

A client may end its sending after a request and still wait for the response, but aiohttp closes the
connection then. TCP cannot distinguish such a client from one that has left until data are sent.
"""

import asyncio
import inspect
import select
import sys
from time import monotonic
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from .decoding import as_sent

# How often a connection is examined after its client has ended its sending, in seconds.
EXAMINE_INTERVAL = 0.5
_READABLE = getattr(select, "POLLIN", 0)  # Windows has none


class Connection(asyncio.Protocol):
    """A protocol in front of aiohttp's, for the end of the client's sending.

    Requests that have arrived completely are answered, then the connection ends.
    """

    def __init__(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        # asyncio calls the methods of aiohttp's protocol, except eof_received().
        vars(self).update(
            data_received=handler.data_received,
            pause_writing=handler.pause_writing,
            resume_writing=handler.resume_writing,
            connection_lost=handler.connection_lost,
        )
        self._handler = handler
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        # When the client has ended its sending (monotonic).
        self.ended: float | None = None
        # The server has ended the connection, in the middle of a response.
        self.is_cut = False
        logger = handler.access_logger
        if logger is not None and not isinstance(logger, DepartureLogger):
            handler.access_logger = DepartureLogger(logger)

    def eof_received(self) -> bool:
        handler = self._handler
        # With TLS the end of sending is the end of the connection.
        is_tls = self._transport.get_extra_info("sslcontext") is not None
        if is_tls or has_hung_up(self._transport) or not _keeps_half_open(handler):
            return False
        if _is_idle(handler) or _is_receiving(handler):
            return False
        self.ended = monotonic()
        self._close_after_last()
        self._examine_later()
        return True

    def _close_after_last(self) -> None:
        # aiohttp would drop requests that wait for the current one.
        if not has_more_requests(self._handler):
            self._handler.close()

    def _examine_later(self) -> None:
        self._loop.call_later(EXAMINE_INTERVAL, self._examine)

    def _examine(self) -> None:
        handler = self._handler
        is_answering = handler._request_in_progress or has_more_requests(handler)
        if self._transport.is_closing():
            return
        if has_hung_up(self._transport):
            self._transport.abort()
        elif not _keeps_half_open(handler) or not is_answering or _is_receiving(handler):
            self._transport.close()
        else:
            self._close_after_last()
            self._examine_later()


# ---- What aiohttp's protocol is doing. There is no public access to it. ----


def has_more_requests(handler: web.RequestHandler) -> bool:
    """Whether requests have arrived on a connection that wait for the current one."""
    return bool(handler._messages)


def _keeps_half_open(handler: web.RequestHandler) -> bool:
    """Whether the connection stays open after the end of sending.

    It does not for WebSockets, and where the server cancels handlers whose clients leave.
    """
    manager = handler._manager
    cancels = manager is None or manager.handler_cancellation
    return not cancels and handler._payload_parser is None


def _is_idle(handler: web.RequestHandler) -> bool:
    """Whether it waits for a request, or is going to."""
    waiter = handler._waiter
    if waiter is not None:
        return not waiter.done()
    # Before Python 3.12 the task of a new connection begins later.
    task = handler._task_handler
    coroutine = None if task is None else task.get_coro()
    return (
        inspect.iscoroutine(coroutine)
        and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
        and not has_more_requests(handler)
    )


def _is_receiving(handler: web.RequestHandler) -> bool:
    """Whether the body of a request is not complete."""
    request = handler._current_request
    if request is not None and not as_sent(request).is_eof():
        return True
    return any(not payload.is_eof() for _, payload in handler._messages)


def end_when_received(handler: web.RequestHandler) -> bool:
    """End a connection after the requests that have arrived, at once if there are none.

    Returns False, and does nothing, while part of a request has not arrived yet.
    """
    if _is_receiving(handler):
        return False
    if not _is_idle(handler):
        handler.close()
        return True
    # Data, or their end, may have arrived that the event loop has not read yet.
    if handler.transport is not None and _polls(handler.transport, _READABLE):
        return False
    handler.force_close()
    return True


# ---- Clients that have left ----


class DepartureLogger(AbstractAccessLogger):
    """Has another logger write 499 for a client that left before it received its response."""

    def __init__(self, logger: AbstractAccessLogger) -> None:
        # (Without the attributes of the base class, which the other logger has.)
        self._logger = logger

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        if has_left(request, response):
            response = cast(web.StreamResponse, _Unanswered(response))
        self._logger.log(request, response, time)


class _Unanswered:
    """A response that its client has not received, for an access logger."""

    status = 499  # as in nginx's log
    reason = "Client Closed Request"

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


def unanswered() -> web.Response:
    """Return the response to a client that has left, for access logs."""
    return web.Response(status=_Unanswered.status, reason=_Unanswered.reason)


def attend(request: web.BaseRequest) -> None:
    """Put a `Connection` in front of a request's connection, where the server has not."""
    transport = request.transport
    if transport is not None and not isinstance(transport.get_protocol(), Connection):
        transport.set_protocol(Connection(request.protocol, transport))


def sending_ended(transport: asyncio.BaseTransport) -> float | None:
    """Return when the client has ended its sending (monotonic), or None. Thread-safe."""
    protocol = transport.get_protocol()
    return protocol.ended if isinstance(protocol, Connection) else None


def cut(request: web.BaseRequest) -> None:
    """End the connection in the middle of a response, so that the client notices it."""
    transport = request.transport
    if transport is not None:
        protocol = transport.get_protocol()
        if isinstance(protocol, Connection):
            protocol.is_cut = True
        transport.close()


def has_left(request: web.BaseRequest, response: web.StreamResponse) -> bool:
    """Whether a client left before it received its response, as far as is known.

    For a stream or a file: before it received any of it, because most event streams end so. To be
    called when the response was sent, or while the exception is handled that ended it.
    """
    if getattr(response, "has_begun", not isinstance(response, web.Response)):
        return False
    transport = request.transport
    protocol = None if transport is None else transport.get_protocol()
    if isinstance(sys.exception(), ConnectionError):
        return not (isinstance(protocol, Connection) and protocol.is_cut)
    return not is_received(request)


def is_received(request: web.BaseRequest) -> bool:
    """Whether what was sent has reached the client, as far as is known.

    The system is asked only where it is doubtful.
    """
    transport = request.transport
    protocol = None if transport is None else transport.get_protocol()
    if transport is None or not isinstance(protocol, Connection):
        return True
    is_doubtful = transport.is_closing() or protocol.ended is not None
    return not (is_doubtful and has_hung_up(transport))


def has_hung_up(transport: asyncio.BaseTransport) -> bool:
    """Whether the system knows that the client has left."""
    return _polls(transport, 0)  # POLLHUP and POLLERR are always reported


def _polls(transport: asyncio.BaseTransport, events: int) -> bool:
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "poll"):
        return False
    if sock.fileno() < 0:
        return True
    poller = select.poll()
    poller.register(sock.fileno(), events)
    return bool(poller.poll(0))
