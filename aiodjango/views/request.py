"""aiohttp's request as Django's, for the parts of Django that need one."""

from functools import lru_cache
from io import BytesIO
from typing import Any, Never

from aiohttp import hdrs, web
from django.apps import apps
from django.conf import settings
from django.core.exceptions import BadRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.module_loading import import_string

from aiodjango.conf import AUTHENTICATION, CSP, CSRF, MESSAGES, SESSION, installed
from aiodjango.fallback import FALLBACK
from aiodjango.gateway import (
    SchemeConflict,
    TrustedProxies,
    build_environ,
    default_proxies,
    http_schemes,
    scheme_of,
)
from aiodjango.resources import PlacedResource

from .match import ViewMatch


class DjangoRequest(WSGIRequest):
    """Django's view of a request that a coroutine view answers.

    It has the session and the user, but no body: that is read from aiohttp's request.
    """

    session: Any
    auser: Any
    exception_reporter_filter: Any
    is_session_loaded = False

    def __init__(self, environ: dict[str, Any]) -> None:
        super().__init__({**environ, "wsgi.input": BytesIO()})
        self.POST = QueryDict()

    @property
    def user(self) -> Any:
        return self._user

    @user.setter
    def user(self, user: Any) -> None:
        # At a login or logout Django 5.2 sets only `user`.
        async def auser() -> Any:
            return user

        self._user, self.auser = user, auser


_DJANGO_REQUEST: web.RequestKey[DjangoRequest] = web.RequestKey(
    "aiodjango.DJANGO_REQUEST", DjangoRequest
)


def django_request(request: web.Request) -> DjangoRequest:
    """Return Django's view of a request, the same one each time.

    For Django's functions that take an HttpRequest, as `alogin(django_request(request), user)` and
    `render_to_string(template, context, django_request(request))`.
    """
    found = request.get(_DJANGO_REQUEST)
    if found is None:
        found = bare_django_request(request)
        RequestMiddleware.current().process_request(found)
        request[_DJANGO_REQUEST] = found
        if isinstance(request.match_info, ViewMatch):
            request.match_info.needs_middlewares = True
    return found


def bare_django_request(request: web.Request) -> DjangoRequest:
    """Return Django's view of a request as the first middleware sees it, a new one each time."""
    mount = _mount(request)
    try:
        environ = build_environ(request, mount, trusted_proxies(request))
    except SchemeConflict:
        environ = build_environ(request, mount, TrustedProxies(""))
    secure_header = (settings.SECURE_PROXY_SSL_HEADER or ("",))[0]
    if secure_header in environ:
        environ[secure_header] = http_schemes(environ[secure_header])
    try:
        return DjangoRequest(environ)
    except (BadRequest, LookupError, ValueError):
        # An invalid Content-Type, which nothing here needs.
        del environ["CONTENT_TYPE"]
        return DjangoRequest(environ)


def _mount(request: web.Request) -> str:
    """Return the mount of the URLconf that a request was matched in."""
    resource = request.match_info.route.resource
    if isinstance(resource, PlacedResource):
        return resource.mount
    # A handler of the application around: Django's own mount, where the path lies in it.
    fallback = request.config_dict.get(FALLBACK)
    if fallback is None or not request.path.startswith(f"{fallback.mount}/"):
        return ""
    return fallback.mount


# ---- The project's middlewares, as far as they apply to coroutine views ----


def no_view(request: HttpRequest) -> Never:
    """The get_response of a middleware of which only single hooks are called: never called."""
    raise NotImplementedError


class RequestMiddleware:
    """What the project's middlewares do for a request that a coroutine view shows to Django."""

    def __init__(self) -> None:
        self._session = (installed(SESSION) or import_string(SESSION))(no_view)
        self._authentication = None
        if apps.is_installed("django.contrib.auth"):
            kind = installed(AUTHENTICATION) or import_string(AUTHENTICATION)
            self._authentication = kind(no_view)
        csrf, csp, messages = installed(CSRF), installed(CSP), installed(MESSAGES)
        self._messages = messages and messages(no_view)
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
        if self._messages:
            self._messages.process_request(request)
        if self._csp:
            self._csp.process_request(request)
        # A secret in the session can only be read when the session is loaded.
        if self._csrf and not settings.CSRF_USE_SESSIONS:
            self._csrf.process_request(request)

    def session_loaded(self, request: HttpRequest) -> None:
        """To be called once, when the request's session has been loaded."""
        if self._csrf and settings.CSRF_USE_SESSIONS:
            self._csrf.process_request(request)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> None:
        """Add to the response what they add; save messages and the session."""
        for middleware in (self._csp, self._messages, self._csrf, self._session):
            if middleware:
                middleware.process_response(request, response)


@lru_cache(maxsize=8)
def _request_middleware(*read_when_made: Any) -> RequestMiddleware:
    return RequestMiddleware()


# ---- The scheme, by the rules of Django's half, without an environ ----


def trusted_proxies(request: web.Request) -> TrustedProxies:
    """Return the proxies that may name a request's scheme, by the options of its fallback."""
    fallback = request.config_dict.get(FALLBACK)
    return default_proxies() if fallback is None else fallback.trusted_proxies


def is_secure(request: web.Request, proxies: TrustedProxies) -> bool:
    """Whether a client uses TLS, by SECURE_PROXY_SSL_HEADER and by trusted proxies."""
    if settings.SECURE_PROXY_SSL_HEADER:
        key, secure_value = settings.SECURE_PROXY_SSL_HEADER
        values = request.headers.getall(key.removeprefix("HTTP_").replace("_", "-"), [])
        if values:
            schemes = http_schemes(values[0])
            return bool(schemes.partition(",")[0].strip() == secure_value)
    try:
        return scheme_of(request, proxies) == "https"
    except SchemeConflict:
        return request.scheme == "https"


def is_handshake(request: web.BaseRequest) -> bool:
    """Whether a request asks for a WebSocket."""
    return request.headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"
