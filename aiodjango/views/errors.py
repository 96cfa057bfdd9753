"""Exceptions of coroutine views: Django's pages and Django's logging for them."""

import logging

from aiohttp import WSCloseCode, web
from django.conf import settings
from django.core import signals
from django.core.handlers.exception import response_for_exception
from django.http import HttpResponse
from django.urls import get_callable
from django.utils.log import log_response

from aiodjango.gateway import DecodedBody, cut, unanswered
from aiodjango.orm import run_in_django
from aiodjango.runtime.exits import exit_as_error, is_cancellation

from .match import ViewMatch
from .reports import add_form, reported
from .request import DjangoRequest, django_request
from .response import BodyUnwanted, complete, to_aiohttp
from .security import OriginRefused
from .unreadable import Unreadable, as_unreadable

request_logger = logging.getLogger("django.request")
csrf_logger = logging.getLogger("django.security.csrf")


async def answer(request: web.Request, raised: BaseException) -> web.StreamResponse:
    """Return the complete response to what a coroutine view raised.

    An aiohttp HTTPException is itself the response.
    """
    match: ViewMatch = request.match_info  # type: ignore[assignment]
    started = match.started
    if isinstance(request.content, DecodedBody):
        request.content.release()
    response: web.StreamResponse
    if isinstance(raised, web.HTTPException) and started is None:
        response = raised
    else:
        response = await _report(request, started, raised)
    if started is None:
        try:
            await complete(request, response)
        except BaseException as another:
            if is_cancellation(another):
                raise
            response = await _report(request, None, another)
            await complete(request, response)
    return response


async def _report(
    request: web.Request, started: web.StreamResponse | None, raised: BaseException
) -> web.StreamResponse:
    """Return the response that Django would give for an exception, and log it as Django would.

    A response that has begun already is cut off; a WebSocket is closed with code 1011.
    """
    error = raised if isinstance(raised, Exception) else exit_as_error(raised)
    error = as_unreadable(request, started, error) or error
    if started is not None or request.writer.output_size > 0:
        return await _cut_off(request, started, error)
    if isinstance(error, ConnectionError) and _has_left(request, None):
        return unanswered()
    django = reported(request, error)
    await add_form(request, django)
    # In a thread: templates take their time, and those of the project may use the database.
    return to_aiohttp(await run_in_django(_page, django, error))


def _page(request: DjangoRequest, error: Exception) -> HttpResponse:
    traceback = error.__traceback__
    try:
        raise error  # Django looks at the exception that is being handled
    except Exception:
        error.__traceback__ = traceback  # without this function
        if isinstance(error, OriginRefused):
            return _csrf_failure(request, error)
        response: HttpResponse = response_for_exception(request, error)
        # As BaseHandler does; it logs no response twice.
        log_response(
            "%s: %s", response.reason_phrase, request.path, response=response, request=request
        )
        return response


def _csrf_failure(request: DjangoRequest, error: OriginRefused) -> HttpResponse:
    reason = str(error)
    response: HttpResponse = get_callable(settings.CSRF_FAILURE_VIEW)(request, reason=reason)
    log_response(
        "Forbidden (%s): %s",
        reason,
        request.path,
        response=response,
        request=request,
        logger=csrf_logger,
    )
    return response


async def _cut_off(
    request: web.Request, started: web.StreamResponse | None, error: Exception
) -> web.StreamResponse:
    if isinstance(error, BodyUnwanted):
        return started or web.Response()
    if isinstance(error, ConnectionError) and _has_left(request, started):
        if started is None:
            raise error
        return started
    if isinstance(error, Unreadable):
        if isinstance(started, web.WebSocketResponse) and started.closed:
            return started  # it ended while the view waited for a message
        _log_unreadable(request, error)
    else:
        await run_in_django(_log_late, reported(request, error), error)
    if isinstance(started, web.WebSocketResponse) and started.prepared:
        is_clients = isinstance(error, Unreadable)
        await started.close(
            code=WSCloseCode.INVALID_TEXT if is_clients else WSCloseCode.INTERNAL_ERROR
        )
    else:
        # Without the end of the stream, by which its reader learns that it is incomplete.
        cut(request)
    if started is None:
        raise ConnectionResetError("The view failed after its response had begun.") from error
    return started


def _has_left(request: web.Request, started: web.StreamResponse | None) -> bool:
    """Whether the client has left: then a failed write is no error of the view."""
    if isinstance(started, web.WebSocketResponse) and started.closed:
        return True
    return request.transport is None or request.transport.is_closing()


def _log_unreadable(request: web.Request, error: Unreadable) -> None:
    django = django_request(request)
    request_logger.warning(
        "%s: %s",
        error,
        django.path.encode("unicode_escape").decode("ascii"),
        extra={"status_code": 400, "request": django},
    )


def _log_late(request: DjangoRequest, error: Exception) -> None:
    try:
        raise error
    except Exception:
        signals.got_request_exception.send(sender=None, request=request)
    request_logger.error(
        "Internal Server Error after the response had begun: %s",
        request.path.encode("unicode_escape").decode("ascii"),
        extra={"status_code": 500, "request": request},
        exc_info=error,
    )
