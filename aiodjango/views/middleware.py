"""The project's middlewares, so far as they hold for coroutine views."""

from functools import lru_cache
from typing import Any, Never

from django.apps import apps
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string

from aiodjango.conf import AUTHENTICATION, CSP, CSRF, SESSION, installed


def no_view(request: HttpRequest) -> Never:
    """The get_response of a middleware of which only single hooks are called."""
    raise NotImplementedError


class RequestMiddleware:
    """What the project's middlewares do for a request that a coroutine view shows to Django."""

    def __init__(self) -> None:
        self._session = (installed(SESSION) or import_string(SESSION))(no_view)
        self._authentication = None
        if apps.is_installed("django.contrib.auth"):
            kind = installed(AUTHENTICATION) or import_string(AUTHENTICATION)
            self._authentication = kind(no_view)
        csrf, csp = installed(CSRF), installed(CSP)
        self._csrf = csrf and csrf(no_view)
        self._csp = csp and csp(no_view)

    @staticmethod
    def current() -> "RequestMiddleware":
        """Return the one for the settings as they are now."""
        return _request_middleware(
            tuple(settings.MIDDLEWARE),
            settings.SESSION_ENGINE,
            apps.is_installed("django.contrib.auth"),
        )

    def process_request(self, request: HttpRequest) -> None:
        self._session.process_request(request)
        if self._authentication:
            self._authentication.process_request(request)
        if self._csp:
            self._csp.process_request(request)
        # A secret in the session can be had only once the session is loaded.
        if self._csrf and not settings.CSRF_USE_SESSIONS:
            self._csrf.process_request(request)

    def session_loaded(self, request: HttpRequest) -> None:
        """To be called once, when the request's session can be read without I/O."""
        if self._csrf and settings.CSRF_USE_SESSIONS:
            self._csrf.process_request(request)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> None:
        """Add to the response what they add; save the session by SessionMiddleware's rules."""
        for middleware in (self._csp, self._csrf, self._session):
            if middleware:
                middleware.process_response(request, response)


@lru_cache(maxsize=8)
def _request_middleware(*read_when_made: Any) -> RequestMiddleware:
    return RequestMiddleware()
