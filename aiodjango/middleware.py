"""A middleware for the project: an error that explains a coroutine view in the wrong server."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse

from .urlconf.patterns import dotted_name, is_coroutine_view


class LiftedViewMiddleware:
    """Raises an error where Django itself is to call a coroutine view for aiohttp.

    That happens with Django's test client and with a plain WSGI server: there a coroutine view
    gets the wrong kind of request, and fails with errors that do not explain it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Raise ImproperlyConfigured for a coroutine view."""
        if is_coroutine_view(view):
            raise ImproperlyConfigured(
                f"The view {dotted_name(view)} takes an aiohttp request, but Django got the "
                f"request for {request.path}. Serve the site with aiodjango's application "
                "(manage.py runserver does) and test the view with aiodjango.test.AioClient, or "
                "write django_view() around the view if it is meant for Django."
            )
