"""Where a request ends: what its headers say of that, and when they are not to be trusted.

A server and the proxy before it that read this differently take one client's body for the next
client's request. aiohttp's parsers refuse most of what invites that; the rest is refused here.
"""

import asyncio

from aiohttp import hdrs, web

from .decoding import as_sent

# How long (seconds) what still arrives of an encoded body is discarded before its connection ends.
LINGERING_TIME = 2.0


class FramingUnclear(Exception):
    """The headers of a request leave open where it ends."""


class CodingUnsupported(Exception):
    """The body is under a transfer coding that nothing here undoes."""


def has_body(request: web.BaseRequest) -> bool:
    """Whether a body belongs to `request`. Raises FramingUnclear and CodingUnsupported."""
    coding = request.headers.get(hdrs.TRANSFER_ENCODING)
    if coding is None:
        # One that is too long for the parser in C is taken for none.
        if _announced(request) and not request.body_exists:
            raise FramingUnclear
    elif request.version < (1, 1):
        # RFC 9112 section 6.1: the framing of such a message is faulty.
        raise FramingUnclear
    elif not coding.isascii() or coding.lower() != "chunked":  # there is a K beyond ASCII
        # aiohttp takes off the chunks, and leaves what is under them as it is.
        raise CodingUnsupported
    elif not request.body_exists:  # pragma: no cover - aiohttp's parsers see to it
        raise FramingUnclear
    return request.body_exists


def _announced(request: web.BaseRequest) -> int | None:
    try:
        return request.content_length
    except ValueError:  # Python reads no number of so many digits
        raise FramingUnclear from None


def is_last(request: web.BaseRequest) -> bool:
    """Whether the connection has to end after `request`.

    aiohttp's parser in C does not start quite afresh after a chunked body, nor does it keep all
    that came along with a request to switch to a protocol that aiohttp does not speak. An encoded
    body that was not read is discarded with its connection (see `discard_rest`).
    """
    headers = request.headers
    if hdrs.TRANSFER_ENCODING in headers:
        return True
    if request.body_exists and (has_encoded_rest(request) or is_broken(request)):
        return True
    return hdrs.UPGRADE in headers and headers[hdrs.UPGRADE].lower() != "websocket"


def close_if_last(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Have the connection closed after a response if what follows is not to be trusted."""
    if is_last(request):
        response.force_close()
        response.headers[hdrs.CONNECTION] = "close"


def has_encoded_rest(request: web.BaseRequest) -> bool:
    """Whether the server decodes the body, and has not yet decoded all of it."""
    content = as_sent(request)
    return not content.is_eof() and content.total_compressed_bytes is not None


def is_broken(request: web.BaseRequest) -> bool:
    """Whether the body ended in an error."""
    return as_sent(request).exception() is not None


def discard_rest(request: web.BaseRequest) -> None:
    """End the connection after the response if aiohttp should not read what is left of the body.

    It does so after the response. If it decodes bodies, this takes the loop's time without a pause,
    and a few kilobytes can be many gigabytes when decoded. In a body that is broken it would meet,
    and log, the error again.
    """
    if not request.body_exists:
        return
    if is_broken(request):
        request.protocol.close()
        as_sent(request).feed_eof()
        return
    if not has_encoded_rest(request):
        return
    # From now on aiohttp ignores what arrives.
    request.protocol.close()
    content = as_sent(request)
    # Data that arrive after the end would have the client's system discard our response.
    # (Not as a number: Python reads none of very many digits.)
    is_all_here = str(content.total_compressed_bytes) == request.headers.get(hdrs.CONTENT_LENGTH)
    delay = 0 if is_all_here else LINGERING_TIME
    asyncio.get_running_loop().call_later(delay, content.feed_eof)


async def refuse(error: web.HTTPException, request: web.BaseRequest) -> web.StreamResponse:
    """Answer `request` by an error, as a handler."""
    close_if_last(request, error)
    discard_rest(request)
    raise error


async def handle_expect(request: web.Request) -> None:
    """An aiohttp `expect_handler`: aiohttp's own, for handlers that do not read all bodies."""
    if request.version < (1, 1):
        return  # RFC 9110 section 10.1.1: to be ignored
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        await refuse(web.HTTPExpectationFailed(text="Unknown expectation\n"), request)
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # As if nothing had been sent: this was no part of the response.
    request.writer.output_size = 0
