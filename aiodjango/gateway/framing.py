"""Where a request ends: what its headers tell, and when they cannot be trusted.

A server and a proxy that disagree about it take one client's body for the next client's request
(request smuggling). aiohttp's parsers prevent most of it, and this module prevents the rest.
"""

import asyncio

from aiohttp import hdrs, web

from .decoding import as_sent

# How long the rest of an encoded body is discarded before its connection ends, in seconds.
LINGERING_TIME = 2.0


def has_body(request: web.BaseRequest) -> bool:
    """Whether a request has a body.

    Raises HTTPBadRequest where the headers do not tell, and HTTPNotImplemented for an unknown
    transfer coding.
    """
    coding = request.headers.get(hdrs.TRANSFER_ENCODING)
    if coding is None:
        try:
            # The parser in C ignores a length of too many digits.
            if request.content_length and not request.body_exists:
                raise _unclear()
        except ValueError:  # Python does not convert a number of so many digits
            raise _unclear() from None
    elif request.version < (1, 1):
        # RFC 9112 section 6.1: the framing of such a message is faulty.
        raise _unclear()
    elif not coding.isascii() or coding.lower() != "chunked":
        # aiohttp removes the chunks, and leaves any other coding as it is. (Outside of ASCII there
        # is another K, the Kelvin sign, with the same lower case.)
        raise web.HTTPNotImplemented(text="The request's transfer coding is not supported")
    elif not request.body_exists:  # pragma: no cover - aiohttp's parsers prevent it
        raise _unclear()
    return request.body_exists


def _unclear() -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text="The headers leave open where the request ends")


def is_last(request: web.BaseRequest) -> bool:
    """Whether the connection has to end after a request.

    aiohttp's parser in C keeps some state after a chunked body, and loses data that arrive together
    with a request to switch to another protocol than WebSocket. An encoded body that was not read
    is discarded together with its connection (see `discard_rest`).
    """
    headers = request.headers
    if hdrs.TRANSFER_ENCODING in headers:
        return True
    if request.body_exists and (has_encoded_rest(request) or is_broken(request)):
        return True
    return hdrs.UPGRADE in headers and headers[hdrs.UPGRADE].lower() != "websocket"


def close_if_last(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Have the connection closed after a response if what follows on it cannot be trusted."""
    if is_last(request):
        response.force_close()
        response.headers[hdrs.CONNECTION] = "close"


def has_encoded_rest(request: web.BaseRequest) -> bool:
    """Whether the server decodes the body, and has not decoded all of it yet."""
    content = as_sent(request)
    return not content.is_eof() and content.total_compressed_bytes is not None


def is_broken(request: web.BaseRequest) -> bool:
    """Whether the body ended in an error."""
    return as_sent(request).exception() is not None


def discard_rest(request: web.BaseRequest) -> None:
    """Close the connection after the response if aiohttp should not read the rest of the body.

    aiohttp reads it after the response. Where it decodes bodies, this blocks the event loop, and a
    few kilobytes can decode to many gigabytes. For a broken body it would log the error again.
    """
    if not request.body_exists:
        return
    if is_broken(request):
        request.protocol.close()
        as_sent(request).feed_eof()
        return
    if not has_encoded_rest(request):
        return
    # From now on aiohttp ignores data that arrive.
    request.protocol.close()
    content = as_sent(request)
    # Data that arrive at a closed socket make the client's system discard the response.
    # (Compared as text: Python does not convert a number of very many digits.)
    is_all_here = str(content.total_compressed_bytes) == request.headers.get(hdrs.CONTENT_LENGTH)
    delay = 0 if is_all_here else LINGERING_TIME
    asyncio.get_running_loop().call_later(delay, content.feed_eof)


async def refuse(error: web.HTTPException, request: web.BaseRequest) -> web.StreamResponse:
    """Answer a request with an error, as a handler."""
    close_if_last(request, error)
    discard_rest(request)
    raise error


async def handle_expect(request: web.Request) -> None:
    """An `expect_handler` like aiohttp's own, for handlers that may leave a body unread."""
    if request.version < (1, 1):
        return  # RFC 9110 section 10.1.1: to be ignored
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        await refuse(web.HTTPExpectationFailed(text="Unknown expectation\n"), request)
    await send_continue(request)


async def send_continue(request: web.BaseRequest) -> None:
    """Ask a client that waits for permission to send its body."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # As if nothing had been sent: this is not part of the response.
    request.writer.output_size = 0
