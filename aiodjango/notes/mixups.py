"""Django was asked for a coroutine view, or code for aiohttp was given Django's request."""

import inspect
from traceback import walk_tb
from types import TracebackType
from typing import Any

from aiohttp import web
from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest

from aiodjango.runtime.frames import arguments, package_of
from aiodjango.urlconf.patterns import django_class, dotted_name, is_coroutine_view

from .results import advice_for_django
from .servers import gunicorn_command


def note_of_mix_up(request: HttpRequest, error: BaseException) -> list[str]:
    """Explain that a view was given Django's request instead of aiohttp's."""
    if request.resolver_match is None:  # a coroutine view that aiohttp has called
        return []
    view = request.resolver_match.func
    if is_coroutine_view(view):
        return [
            f"{dotted_name(view)} is a coroutine view for aiohttp, but Django was asked for "
            f"{request.path}, so it got Django's request. {_way_to_aiohttp(request)} If the view "
            "is meant for Django, write django_view(view) in the URLconf, with "
            "aiodjango.django_view."
        ]
    if isinstance(error, web.HTTPException):
        return [
            f"{type(error).__name__} is aiohttp's. In a view of Django return redirect(…) or an "
            f"HttpResponse, or raise Http404 or PermissionDenied. {_why_django(view)}"
        ]
    function = _given_to(request, error.__traceback__)
    if function is None:
        return []
    return [f"{function}() takes aiohttp's request, and got Django's: {_why_django(view)}"]


def explain_result(view: Any, result: Any) -> str | None:
    """Explain what a view returned to Django; None for what Django can use or explains itself."""
    way_out = advice_for_django(result)
    if way_out is None:
        return None
    returned = f"The view {dotted_name(view)} returned {result!r} to Django"
    if is_coroutine_view(view):
        return f"{returned}."  # the rest is in the note
    return f"{returned}, which needs an HttpResponse: {way_out}. {_why_django(view)}"


def _way_to_aiohttp(request: HttpRequest) -> str:
    server = str(request.META.get("SERVER_SOFTWARE", ""))
    names = (request.META.get("SERVER_NAME"), request.META.get("HTTP_HOST"))
    if "testserver" in names and not server:
        return (
            "Test it with aiodjango.test.AioClient or pytest's fixture aio_client, not with "
            "django.test.Client."
        )
    if server.startswith("WSGIServer"):  # of Django's runserver, and of its tests
        return (
            'Put "aiodjango" into INSTALLED_APPS, before "django.contrib.staticfiles": then '
            "`manage.py runserver`, without --noaio, serves it. In tests use "
            "aiodjango.test.AioLiveServerTestCase."
        )
    return (
        "Serve the application that get_aio_application() returns, and not Django's: "
        f"`{gunicorn_command()}`."
    )


def _given_to(request: HttpRequest, traceback: TracebackType | None) -> str | None:
    """Return the first function of aiohttp or aiodjango that was given the request."""
    for frame, _ in walk_tb(traceback):
        package = package_of(frame)
        is_given = any(value is request for value in arguments(frame).values())
        if is_given and package in ("aiohttp", "aiodjango"):
            return f"{package}'s {frame.f_code.co_qualname}"
    return None


def _why_django(view: Any) -> str:
    """Why Django calls a view, and how aiohttp would."""
    name = dotted_name(view)
    if django_class(view) is not None:
        return (
            f"Django calls {name}, as all classes that are derived from django.views.View, "
            "with coroutine methods too. Derive it from aiohttp.web.View to have aiohttp call it."
        )
    if inspect.isasyncgenfunction(view):
        return f"Django calls {name}, as a function with `yield` is no coroutine function."
    if not iscoroutinefunction(view):
        return f"Django calls {name}, as it is no coroutine function. aiohttp calls `async def`."
    return (
        f"Django calls {name}, because of django_view() or of the annotation HttpRequest. "
        "Without them aiohttp calls it."
    )
