"""The log of the development server: lines as Django's, by the logger ``django.server``."""

import asyncio
import logging
from contextvars import ContextVar
from typing import Any

from aiohttp import ClientConnectionResetError, hdrs, web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http import HttpProcessingError, StreamWriter
from django.core.servers.basehttp import WSGIRequestHandler

from aiodjango.gateway import reason_of

logger = logging.getLogger("django.server")

# The parser's error for the request of this task, for the access line that follows.
_refusal: ContextVar[HttpProcessingError | None] = ContextVar("refusal", default=None)

# The first bytes of a TLS handshake, by which Django's log recognises one, …
_TLS_HANDSHAKE = "\x16\x03"
# … and the beginning of the error that aiohttp's parser raises for them.
_TLS_REFUSAL = "Received HTTPS traffic"

# Statuses of responses without a body, even if they have a Content-Length.
_BODYLESS = (204, 304)


class _Line(WSGIRequestHandler):
    """Django's request handler, for the format, level and attributes of its ``log_message``."""

    def __init__(self, request: web.BaseRequest | None) -> None:
        # Without the base class's method, which would serve a connection.
        self.request: Any = request


def _write(request: web.BaseRequest, status: int, size: int | str, note: str = "") -> None:
    version = request.version
    line = f"{request.method} {request.raw_path} HTTP/{version.major}.{version.minor}"
    template = f'"%s" %s %s {note}' if note else '"%s" %s %s'
    _Line(request).log_message(template, line, str(status), str(size))


class AccessLogger(AbstractAccessLogger):
    """Writes the line of a request after its response; WebSockets have lines of their own."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        refusal = _refusal.get()
        if refusal is not None:
            _log_refusal(response.status, refusal)
        elif not (isinstance(response, web.WebSocketResponse) and response.prepared):
            _write(request, response.status, _body_size(request, response))


class ProtocolLogger(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's server logger, without tracebacks for the errors of clients.

    A malformed request is logged as by Django, in two lines or with its hint for HTTPS; so is a
    client that disconnects before the end of the response.
    """

    # When the server ends, it closes connections itself, which is not logged.
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

    aiohttp's own number includes headers and chunk framing; that of Django's lines does not.
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
    # A file that the kernel sends does not pass through the writer, but has a Content-Length.
    return response.content_length or 0


async def log_websocket(request: web.Request, response: web.StreamResponse) -> None:
    """Write the two lines of a WebSocket. A receiver for ``app.on_response_prepare``."""
    if not isinstance(response, web.WebSocketResponse):
        return
    loop = asyncio.get_running_loop()
    opened = loop.time()
    _write(request, response.status, "-", "WebSocket opened")

    def closed(_: object) -> None:
        # Without a close frame it is an abnormal closure.
        code = response.close_code or 1006
        seconds = loop.time() - opened
        _write(request, response.status, "-", f"WebSocket closed ({code}) after {seconds:.1f} s")

    # By the connection's task, because aiohttp writes no access line for a view that fails.
    request.task.add_done_callback(closed)
