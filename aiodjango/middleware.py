"""A middleware for the project: it explains where Django is asked to call a coroutine view."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse

from .urlconf.patterns import dotted_name, is_aio_view


class LiftedViewMiddleware:
    """Says what is wrong where Django itself is asked to call a coroutine view for aiohttp.

    That happens under Django's test client and under a plain WSGI server: there a coroutine view
    gets the wrong kind of request, and breaks in ways that don't tell why.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Raise ImproperlyConfigured for a coroutine view."""
        if is_aio_view(view):
            raise ImproperlyConfigured(
                f"The view {dotted_name(view)} takes a request of aiohttp's, but Django was asked "
                f"for {request.path}. Serve the site by aiodjango's application (manage.py "
                "runserver does) and test the view with aiodjango.test.AioClient, or write "
                "django_view() around the view if it is meant for Django."
            )
