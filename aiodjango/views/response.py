"""Between Django's responses and aiohttp's."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import ClientConnectionResetError, hdrs, web
from django.conf import settings
from django.contrib.messages import get_messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse

from aiodjango.gateway import close_if_last, complete_response, make_head, sending_ended
from aiodjango.notes import advice
from aiodjango.orm import run_in_django
from aiodjango.runtime.open_connections import note_open
from aiodjango.urlconf.patterns import UrlconfPattern

from .match import ViewMatch
from .request import DjangoRequest, RequestMiddleware, django_request

# Statuses of responses without a body.
BODYLESS = frozenset({204, 304})


async def as_response(result: Any, pattern: UrlconfPattern) -> web.StreamResponse:
    """Return the result of a view as an aiohttp response. Raises TypeError for an invalid one."""
    if isinstance(result, web.StreamResponse):
        return result
    if not isinstance(result, HttpResponse):
        raise TypeError(
            f"The view {pattern.view_name} returned {result!r}, which is not a response: "
            f"{advice(result)}."
        )
    if isinstance(result, SimpleTemplateResponse) and not result.is_rendered:
        result = await run_in_django(result.render)
    return to_aiohttp(result)


def to_aiohttp(response: HttpResponseBase) -> web.Response:
    """Return a Django response as an aiohttp response, by the gateway's rules for headers.

    Raises TypeError if it is streaming, ValueError for a header that cannot be sent.
    """
    if not isinstance(response, HttpResponse):
        raise TypeError(f"{response!r} cannot be sent by aiohttp: it is not an HttpResponse.")
    content = response.content
    head = make_head(
        f"{response.status_code} {response.reason_phrase}",
        [*response.items(), *_cookies(response)],
    )
    return complete_response(head, content if head.length is None else content[: head.length])


class BodyUnwanted(ClientConnectionResetError):
    """The client has received all of a response without a body."""


def drop_body(request: web.Request, response: web.StreamResponse) -> None:
    """Drop the parts of a response that has no body; aiohttp would send them.

    To be called before the headers are sent. BodyUnwanted is raised in a view whose client has
    left, and in one that sends a stream of events, which would never end by itself.
    """
    writer: Any = request.writer
    is_endless = response.content_type == "text/event-stream"

    async def write(*args: Any, **options: Any) -> None:
        writer.send_headers()
        transport = request.transport
        has_left = (
            transport is None
            or transport.is_closing()
            # Only this shows that a client has left that waits for nothing more.
            or sending_ended(transport) is not None
        )
        if is_endless or has_left:
            raise BodyUnwanted("The response has no body")
        await asyncio.sleep(0)

    async def write_eof(chunk: bytes = b"") -> None:
        writer.set_eof()

    writer.write = write
    writer.write_eof = write_eof


# ---- What is added to a response just before its headers are sent ----


async def complete(request: web.Request, response: web.StreamResponse) -> None:
    """Add to a response what the site's middlewares and settings do; save the session.

    Cookies of the session and of CSRF, and headers. Of several responses to one request only the
    first saves the session.
    Raises django.contrib.sessions.exceptions.SessionInterrupted where the session was deleted
    meanwhile.
    """
    match: ViewMatch = request.match_info  # type: ignore[assignment]
    if match.needs_middlewares:
        match.needs_middlewares = False
        await _apply_middlewares(request, response)
    if match.needs_examination:
        close_if_last(request, response)
    if match.add_headers is not None and response.status != 101:
        match.add_headers(response, request)


async def complete_begun(request: web.Request, response: web.StreamResponse) -> None:
    """Complete a response that a coroutine view begins to send itself: a stream, a WebSocket."""
    match: ViewMatch = request.match_info  # type: ignore[assignment]
    match.started = response
    await complete(request, response)
    if request.method == hdrs.METH_HEAD or response.status in BODYLESS:
        drop_body(request, response)
    else:
        note_open(request, response)


async def _apply_middlewares(request: web.Request, response: web.StreamResponse) -> None:
    django = django_request(request)
    process = RequestMiddleware.current().process_response
    if _may_save(django):
        await run_in_django(process_response, process, django, response)
    else:
        process_response(process, django, response)


def _may_save(request: DjangoRequest) -> bool:
    """Whether the middlewares may have to do I/O."""
    messages: Any = get_messages(request)
    are_changed = getattr(messages, "used", False) or getattr(messages, "added_new", False)
    if are_changed or request.META.get("CSRF_COOKIE_NEEDS_UPDATE"):
        return True
    is_due = request.session.modified or settings.SESSION_SAVE_EVERY_REQUEST
    return is_due and not request.session.is_empty()


def process_response(
    process: Callable[[HttpRequest, HttpResponse], Any],
    request: DjangoRequest,
    response: web.StreamResponse,
) -> None:
    """Call a middleware's process_response() for an aiohttp response."""
    # It gets a Django response, whose changes are copied.
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
