"""The project's middlewares: those that hold for coroutine views, and one to be installed."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Never

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string

from .urlconf.patterns import dotted_name, is_aio_view

SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"
SECURITY = "django.middleware.security.SecurityMiddleware"
FRAME_OPTIONS = "django.middleware.clickjacking.XFrameOptionsMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
CSP = "django.middleware.csp.ContentSecurityPolicyMiddleware"
LOCALE = "django.middleware.locale.LocaleMiddleware"
CORS = "corsheaders.middleware.CorsMiddleware"


def installed(path: str) -> type[Any] | None:
    """Return the middleware class in MIDDLEWARE that is the one at `path`, or derived from it."""
    return _find(path, tuple(settings.MIDDLEWARE))


@lru_cache(maxsize=64)
def _find(path: str, middleware: tuple[str, ...]) -> type[Any] | None:
    for name in middleware:
        if is_derived(found := import_string(name), path):
            return found  # type: ignore[no-any-return]
    return None


def is_derived(kind: Any, path: str) -> bool:
    """Whether something is the class at a dotted path, or derived from it.

    By name, because a module of Django's may need an app that isn't installed.
    """
    classes = kind.__mro__ if isinstance(kind, type) else ()
    return path in (f"{c.__module__}.{c.__qualname__}" for c in classes)


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
