"""Between Django's responses and aiohttp's."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import ClientConnectionResetError, hdrs, web
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from aiodjango.gateway.call import make_head
from aiodjango.gateway.connection import sending_ended
from aiodjango.orm.context import run_in_django

from .middleware import RequestMiddleware
from .request import LiftedRequest, known_django_request


def to_aiohttp(response: HttpResponseBase) -> web.Response:
    """Return a response of Django's as one of aiohttp's, by the gateway's rules for headers.

    Raises TypeError if it is streaming, ValueError for a header that cannot be sent.
    """
    if not isinstance(response, HttpResponse):
        raise TypeError(f"{response!r} can't be sent by aiohttp: it is no HttpResponse.")
    content = response.content
    head = make_head(
        f"{response.status_code} {response.reason_phrase}",
        [*response.items(), *_cookies(response)],
    )
    answer = web.Response(
        status=head.status,
        reason=head.reason,
        headers=head.headers,
        body=content if head.length is None else content[: head.length],
    )
    # A body shorter than announced: the end of the connection is all that can tell.
    if head.close or len(content) < (head.length or 0):
        answer.force_close()
    return answer


class BodyUnwanted(ClientConnectionResetError):
    """The client has all of the response, which has no body."""


def drop_body(request: web.Request, response: web.StreamResponse) -> None:
    """Drop the parts of a response that has no body; aiohttp would send them.

    To be called before the headers are sent. A view whose client has left gets BodyUnwanted, and so
    does a stream of events, which would never end by itself.
    """
    writer: Any = request.writer
    is_endless = response.content_type == "text/event-stream"

    async def write(*args: Any, **options: Any) -> None:
        writer.send_headers()
        transport = request.transport
        has_left = (
            transport is None
            or transport.is_closing()
            # A client that waits for nothing more has no other way to show that it left.
            or sending_ended(transport) is not None
        )
        if is_endless or has_left:
            raise BodyUnwanted("The response has no body")
        await asyncio.sleep(0)

    async def write_eof(chunk: bytes = b"") -> None:
        writer.set_eof()

    writer.write = write
    writer.write_eof = write_eof


async def finish(request: web.Request, response: web.StreamResponse) -> None:
    """Give a response what Django's middlewares have for it, before its headers are sent.

    That is the session's cookie, and the CSRF cookie after a login. The session is saved.
    Raises django.contrib.sessions.exceptions.SessionInterrupted where the session has gone
    meanwhile.
    """
    django = known_django_request(request)
    if django is None:  # pragma: no cover - asked for only where there is one
        return
    middleware = RequestMiddleware.current()
    if _may_save(django):
        await run_in_django(process_response, middleware.process_response, django, response)
    else:
        process_response(middleware.process_response, django, response)


def _may_save(request: LiftedRequest) -> bool:
    """Whether the middlewares may have to do I/O."""
    if request.META.get("CSRF_COOKIE_NEEDS_UPDATE"):
        return True
    is_due = request.session.modified or settings.SESSION_SAVE_EVERY_REQUEST
    return is_due and not request.session.is_empty()


def process_response(
    process: Callable[[HttpRequest, HttpResponse], Any],
    request: LiftedRequest,
    response: web.StreamResponse,
) -> None:
    """Call a middleware's process_response() for a response of aiohttp's."""
    # It knows Django's responses: it gets one, and what it changes there is copied.
    likeness = HttpResponse(status=response.status)
    del likeness.headers["Content-Type"]
    for name in set(response.headers) - {hdrs.SET_COOKIE}:
        likeness.headers[name] = ", ".join(response.headers.getall(name))
    before = dict(likeness.items())
    process(request, likeness)
    for name, value in likeness.items():
        if before.get(name) != value:
            response.headers[name] = value
    response.headers.extend(_cookies(likeness))


def _cookies(response: HttpResponse) -> list[tuple[str, str]]:
    return [(hdrs.SET_COOKIE, cookie.OutputString()) for cookie in response.cookies.values()]
