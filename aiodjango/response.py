"""Between Django's responses and aiohttp's."""

from collections.abc import Callable
from typing import Any

from aiohttp import hdrs, web
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from .database import run_in_django
from .middleware import RequestMiddleware
from .request import LiftedRequest, known_django_request


def to_aiohttp(response: HttpResponseBase) -> web.Response:
    """Return a response of Django's as one of aiohttp's. Raises TypeError if it is streaming."""
    if not isinstance(response, HttpResponse):
        raise TypeError(f"{response!r} can't be sent by aiohttp: it is no HttpResponse.")
    headers = [*response.items(), *_cookies(response)]
    return web.Response(
        status=response.status_code,
        reason=response.reason_phrase,
        headers=headers,
        body=response.content,
    )


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
