"""Receives the body of a request on the event loop."""

import asyncio
from typing import IO, NamedTuple

from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError

from .decoding import DecodedBody, as_sent, bound_decoded, check_ratio
from .spool import MemoryBudget, Spool

# How often the progress of a body is checked, in seconds.
WATCH_INTERVAL = 1.0
# Default of the option `body_timeout`, in seconds.
BODY_TIMEOUT = 60.0
# How much of a body for the application has to arrive in that time, in bytes. The application needs
# the complete body; a coroutine view may use each part as it arrives.
LEAST_PROGRESS = 1024
# When a client that was refused may try again, in seconds.
RETRY_AFTER = {hdrs.RETRY_AFTER: "1"}


class ClientLeft(Exception):
    """The connection ended before the request did."""


class Body(NamedTuple):
    """A complete body, to be read from its start and closed by the receiver."""

    file: IO[bytes]
    length: int
    # aiohttp has undone the Content-Encoding.
    decoded: bool


async def receive_body(
    request: web.BaseRequest,
    *,
    max_size: int,
    memory_limit: int,
    budget: MemoryBudget,
    body_timeout: float,
) -> Body:
    """Receive the complete body of a request. aiohttp's `client_max_size` does not apply.

    max_size: the largest body, in bytes.
    memory_limit: how much of it stays in memory, in bytes; a larger one is stored in a file.
    body_timeout: how long less than `LEAST_PROGRESS` bytes may arrive, in seconds.

    Raises HTTPRequestEntityTooLarge as soon as the size is known, and for a decoded body that grows
    out of proportion; HTTPBadRequest for a malformed body; HTTPRequestTimeout;
    HTTPServiceUnavailable when the server ends; ClientLeft when the connection does.
    """
    if request.content_length is not None and request.content_length > max_size:
        raise too_large(max_size, request.content_length)
    content = request.content
    if isinstance(content, DecodedBody) and content.is_untouched:
        content = content.sent
    bound_decoded(request)
    spool = Spool(memory_limit, budget)
    try:
        check_ratio(content)  # of what is decoded already
        if content.at_eof() and content is request.content:
            # A middleware has read it already: aiohttp keeps what request.read() returned.
            await spool.write(await request.read())
        with BodyWatch(request, body_timeout, LEAST_PROGRESS):
            while chunk := await content.readany():
                length = spool.length + len(chunk)
                if length > max_size:
                    raise too_large(max_size, length)
                await spool.write(chunk)
                del chunk  # or it would stay in memory until the next one arrives
        file = spool.finish()
    except BaseException as error:
        spool.discard()
        if isinstance(error, web.RequestPayloadError | HttpProcessingError):
            raise web.HTTPBadRequest(text="The body of the request is malformed") from error
        # aiohttp reports a lost connection as the error that ended it, or as a RuntimeError.
        if isinstance(error, Exception) and request.transport is None:
            raise ClientLeft from error
        raise
    return Body(file, spool.length, content.total_compressed_bytes is not None)


def too_large(max_size: int, size: int) -> web.HTTPException:
    return web.HTTPRequestEntityTooLarge(
        max_size, size, text="The body of the request is too large"
    )


class BodyWatch:
    """Has reads of a body raise an error if it will never be complete.

    timeout: how long less than `least` may arrive, in seconds.
    least: the least progress, in bytes.
    """

    def __init__(self, request: web.BaseRequest, timeout: float, least: int = 1) -> None:
        self._request = request
        self._timeout = timeout
        self._least = least
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._content = as_sent(self._request)
        if not self._content.is_eof():
            self._note_progress()
            self._check_later()

    def __exit__(self, *exc_info: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _note_progress(self) -> None:
        self._received = self._content.total_raw_bytes
        self._since = self._loop.time()

    def _check_later(self) -> None:
        self._timer = self._loop.call_later(min(WATCH_INTERVAL, self._timeout / 4), self._check)

    def _check(self) -> None:
        if self._content.is_eof():
            return
        error = self._error()
        if error is None:
            self._check_later()
        else:
            # From now on aiohttp ignores data that arrive.
            self._request.protocol.close()
            self._content.set_exception(error)

    def _error(self) -> Exception | None:
        # There is no public access to these three.
        protocol = self._request.protocol
        if protocol._messages:
            # With aiohttp's parser in C a read of a body with broken framing never ends. The error
            # is queued as the next message of the connection, which cannot have arrived yet.
            return web.RequestPayloadError("malformed")
        if protocol._close or protocol._force_close:
            return web.HTTPServiceUnavailable(
                headers=RETRY_AFTER, text="The server is about to end"
            )
        is_waited_for = self._content._waiter is not None
        if not is_waited_for or self._content.total_raw_bytes - self._received >= self._least:
            self._note_progress()
        elif self._loop.time() - self._since >= self._timeout:
            return web.HTTPRequestTimeout(text="The body of the request did not arrive in time")
        return None
