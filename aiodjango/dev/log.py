"""The development server's log: Django's own lines, on the ``django.server`` logger."""

import asyncio
import logging
from contextvars import ContextVar
from typing import Any

from aiohttp import ClientConnectionResetError, hdrs, web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http import HttpProcessingError, StreamWriter
from django.core.servers.basehttp import WSGIRequestHandler

from aiodjango.gateway import reason_of

__all__ = ("AccessLogger", "CountingWriter", "ProtocolLogger", "log_websocket")

logger = logging.getLogger("django.server")

# Why the parser refused the request of this task, for the access line that follows.
_refusal: ContextVar[HttpProcessingError | None] = ContextVar("refusal", default=None)

# The first bytes of a TLS handshake, by which Django's log knows one.
_TLS_HANDSHAKE = "\x16\x03"
# How aiohttp's parser begins the message of the same discovery.
_TLS_REFUSAL = "Received HTTPS traffic"

# Statuses whose responses have no body, whatever their Content-Length says.
_BODYLESS = (204, 304)


class _Line(WSGIRequestHandler):
    """Django's request handler, for its ``log_message`` alone.

    Format, level and attributes of a line are then those of the Django that is installed.
    """

    def __init__(self, request: web.BaseRequest | None) -> None:
        # Not the base class's: that one would begin to serve a connection.
        self.request: Any = request


def _write(request: web.BaseRequest, status: int, size: int | str, note: str = "") -> None:
    version = request.version
    line = f"{request.method} {request.raw_path} HTTP/{version.major}.{version.minor}"
    template = f'"%s" %s %s {note}' if note else '"%s" %s %s'
    _Line(request).log_message(template, line, str(status), str(size))


class AccessLogger(AbstractAccessLogger):
    """Writes the line of a request that has been answered; WebSockets have their own lines."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        refusal = _refusal.get()
        if refusal is not None:
            _log_refusal(response.status, refusal)
        elif not _is_open_websocket(response):
            _write(request, response.status, _body_size(request, response))


class ProtocolLogger(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's server logger without the tracebacks of what is no error of the project's.

    A request that is no HTTP gets Django's two lines instead, or its hint for HTTPS on this port;
    a client that leaves a response half-way gets Django's line for that.
    """

    # The server's own end breaks connections too, which is nothing to tell.
    is_ending = False

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        error = kwargs.get("exc_info")
        if isinstance(error, HttpProcessingError):
            _refusal.set(error)
        elif isinstance(error, ClientConnectionResetError):
            if not self.is_ending:
                logger.info("- Broken pipe from %s", args[0] if args else "-")
        else:
            super().log(level, msg, *args, **kwargs)


def _log_refusal(status: int, refusal: HttpProcessingError) -> None:
    line = _Line(None)
    if refusal.message.startswith(_TLS_REFUSAL):
        line.log_message('"%s" %s %s', _TLS_HANDSHAKE, str(status), "-")
        return
    line.log_message("code %d, message %s", status, reason_of(refusal))
    line.log_message('"%s" %s %s', "-", str(status), "-")


class CountingWriter(StreamWriter):
    """aiohttp's response writer, which also counts the bytes of the body.

    aiohttp's own figure includes the headers and the framing of chunks; Django's lines do not.
    """

    body_size = 0

    async def write(self, chunk: Any, *, drain: bool = True, LIMIT: int = 0x10000) -> None:
        self.body_size += _size(chunk)
        await super().write(chunk, drain=drain, LIMIT=LIMIT)

    async def write_eof(self, chunk: bytes = b"") -> None:
        self.body_size += _size(chunk)
        await super().write_eof(chunk)


def _size(chunk: Any) -> int:
    return chunk.nbytes if isinstance(chunk, memoryview) else len(chunk)


def _body_size(request: web.BaseRequest, response: web.StreamResponse) -> int:
    writer = request.writer
    counted = writer.body_size if isinstance(writer, CountingWriter) else 0
    if counted or request.method == hdrs.METH_HEAD or response.status in _BODYLESS:
        return counted
    # A file that the kernel sends passes no writer, and always has a Content-Length.
    return response.content_length or 0


def _is_open_websocket(response: web.StreamResponse) -> bool:
    return isinstance(response, web.WebSocketResponse) and response.prepared


async def log_websocket(request: web.Request, response: web.StreamResponse) -> None:
    """Write the two lines of a WebSocket; a receiver for ``app.on_response_prepare``."""
    if not isinstance(response, web.WebSocketResponse):
        return
    loop = asyncio.get_running_loop()
    opened = loop.time()
    _write(request, response.status, "-", "WebSocket opened")

    def closed(_: object) -> None:
        # Without a close frame it is an abnormal closure, however it came about.
        code = response.close_code or 1006
        seconds = loop.time() - opened
        _write(request, response.status, "-", f"WebSocket closed ({code}) after {seconds:.1f} s")

    # The connection's task: a view that fails gets no access line from aiohttp.
    request.task.add_done_callback(closed)
