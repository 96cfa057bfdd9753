"""Where a request ends: what its headers say of that, and when they are not to be trusted.

A server and the proxy before it that read this differently take one client's body for the next
client's request. aiohttp's parsers refuse most of what invites that; the rest is refused here.
"""

from aiohttp import hdrs, web


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
    """Whether nothing that follows `request` on its connection is to be trusted.

    aiohttp's parser in C does not start quite afresh after a chunked body, nor does it keep all
    that came along with a request to switch to a protocol that aiohttp does not speak.
    """
    headers = request.headers
    if hdrs.TRANSFER_ENCODING in headers:
        return True
    return hdrs.UPGRADE in headers and headers[hdrs.UPGRADE].lower() != "websocket"


def close_if_last(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Have the connection closed after a response if what follows is not to be trusted."""
    if is_last(request):
        response.force_close()
        response.headers[hdrs.CONNECTION] = "close"


async def refuse(error: web.HTTPException, request: web.BaseRequest) -> web.StreamResponse:
    """Answer `request` by an error, as a handler."""
    close_if_last(request, error)
    raise error
