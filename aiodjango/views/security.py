"""A site's security settings applied to requests for coroutine views, and to their responses.

The rules are those of HttpRequest.get_host() and of Django's own middlewares.
"""

from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.http import is_same_domain

from aiodjango.conf import CORS, CSP, CSRF, FRAME_OPTIONS, SECURITY, installed
from aiodjango.gateway import TrustedProxies
from aiodjango.notes import proxy_hint
from aiodjango.runtime.exits import without_exit

from .cors import Cors
from .decorators import FRAME_OPTIONS_EXEMPT, django_decorators
from .match import AddHeaders
from .request import django_request, is_handshake, is_secure, no_view, trusted_proxies
from .response import process_response

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# Sec-Fetch-Site of the site's own pages, or of no page at all.
OWN_FETCH_SITES = frozenset({"same-origin", "none"})
# How many allowed hosts an application remembers, and of which length at most: a client can choose
# ports, and names under a wildcard, at will.
MAX_HOSTS = 1024
MAX_HOST_LENGTH = 300
# Longer than the origin of any host (253 characters) with its scheme and port.
MAX_ORIGIN_LENGTH = 300
# aiohttp reads a Content-Type by the standard library's parser of mails, in a time that grows with
# the square of the length: 8 kB keep the event loop for seconds.
MAX_CONTENT_TYPE_LENGTH = 512
WAYS_TO_ALLOW = "CSRF_TRUSTED_ORIGINS allows an origin, @csrf_exempt on the view all of them."


class OriginRefused(PermissionDenied):
    """A request that a page of another site may have sent."""


class SecurityRules:
    """Which requests the settings allow to the coroutine views of an application.

    Most settings are read once, when the application is made.
    """

    def __init__(self) -> None:
        self._is_forwarded = settings.USE_X_FORWARDED_HOST
        self._known_hosts: set[str] = set()
        self._csrf: CsrfViewMiddleware = (installed(CSRF) or CsrfViewMiddleware)(no_view)
        security = installed(SECURITY)
        may_redirect = security and (not _is_djangos(security) or settings.SECURE_SSL_REDIRECT)
        self._security: Any = security(no_view) if security and may_redirect else None
        cors = installed(CORS)
        self.cors = None if cors is None else Cors(cors)
        # A preflight is answered in examine().
        self._quick_methods = SAFE_METHODS if self.cors is None else SAFE_METHODS - {"OPTIONS"}
        self._headers = SecurityHeaders(self)
        self._framable_headers = SecurityHeaders(self, is_framable=True)
        self._proxies: TrustedProxies | None = None

    def passes(self, request: web.Request) -> bool:
        """Whether a request needs no examination: it is safe, and has only a head to be read."""
        headers = request.headers
        return (
            # The request's own host is that of an absolute-form target, where there is one.
            (headers.get(hdrs.X_FORWARDED_HOST) if self._is_forwarded else request.host)
            in self._known_hosts
            and request.method in self._quick_methods
            and hdrs.UPGRADE not in headers
            and hdrs.TRANSFER_ENCODING not in headers
            and hdrs.CONTENT_TYPE not in headers
            and hdrs.CONTENT_LENGTH not in headers
            # Conditions with dates, which aiohttp may fail to read.
            and hdrs.IF_MODIFIED_SINCE not in headers
            and hdrs.IF_UNMODIFIED_SINCE not in headers
            and hdrs.IF_RANGE not in headers
            and (self._security is None or not self._may_redirect(request))
        )

    def examine(self, request: web.Request, *, is_exempt: bool) -> HttpResponseBase | None:
        """Return a redirection to https or the answer to a preflight; None if all is well.

        is_exempt: whether the view takes requests from the pages of any site.
        Raises DisallowedHost, OriginRefused for what another site's page may have sent, and
        BadRequest for a Content-Type that takes too long to read.
        """
        if not has_short_content_type(request):
            raise BadRequest("The Content-Type of the request is too long")
        if self._security is not None and self._may_redirect(request):
            redirection: HttpResponseBase | None = self._security.process_request(
                django_request(request)
            )
            if redirection is not None:
                return redirection
        host = self._checked_host(request)
        if not is_exempt and (request.method not in SAFE_METHODS or is_handshake(request)):
            self._check_origin(request, host)
        return None if self.cors is None else self.cors.preflight(request)

    def headers_for(self, view: Any) -> AddHeaders | None:
        """Return what adds headers to the responses of a view; None for no headers."""
        is_framable = FRAME_OPTIONS_EXEMPT in django_decorators(view)
        headers = self._framable_headers if is_framable else self._headers
        return None if headers.is_empty else headers.add_to

    def is_secure(self, request: web.Request) -> bool:
        if self._proxies is None:
            self._proxies = trusted_proxies(request)
        return is_secure(request, self._proxies)

    def _may_redirect(self, request: web.Request) -> bool:
        return not _is_djangos(type(self._security)) or not self.is_secure(request)

    def _checked_host(self, request: web.Request) -> str:
        """Return the host that a request names. Raises DisallowedHost."""
        header = hdrs.X_FORWARDED_HOST if self._is_forwarded else hdrs.HOST
        values = request.headers.getall(header, [])
        # The host in an absolute-form target replaces the header.
        is_plain = len(values) == 1 and request.raw_path[0] == "/"
        # A middleware may have replaced the header's, by request.clone(host=…).
        named = values[0] if self._is_forwarded and values else request.host
        if is_plain and named in self._known_hosts:
            return named
        host = django_request(request).get_host()
        if is_plain and len(host) <= MAX_HOST_LENGTH:
            if len(self._known_hosts) >= MAX_HOSTS:
                self._known_hosts.clear()
            self._known_hosts.add(host)
        return host

    def _check_origin(self, request: web.Request, host: str) -> None:
        origins = request.headers.getall(hdrs.ORIGIN, ())
        if len(origins) > 1:
            raise OriginRefused("Origin checking failed - the request has more than one Origin.")
        if origins:
            origin = origins[0]
            own = f"{'https' if self.is_secure(request) else 'http'}://{host}"
            if origin != own and not self._is_trusted(origin):
                hint = proxy_hint(
                    origin,
                    own,
                    peer=request.remote,
                    header=request.headers.get(hdrs.X_FORWARDED_PROTO),
                )
                raise OriginRefused(
                    f"Origin checking failed - {origin[:MAX_ORIGIN_LENGTH]} does not match any "
                    f"trusted origins. {hint or WAYS_TO_ALLOW}"
                )
        else:
            site = request.headers.get("Sec-Fetch-Site")
            if site is not None and site not in OWN_FETCH_SITES:
                raise OriginRefused(
                    f"Origin checking failed - no Origin, and Sec-Fetch-Site is {site}. "
                    "@csrf_exempt on the view allows such requests."
                )

    def _is_trusted(self, origin: str) -> bool:
        if origin in self._csrf.allowed_origins_exact:
            return True
        # urlsplit() has a cache.
        if not self._csrf.allowed_origin_subdomains or len(origin) > MAX_ORIGIN_LENGTH:
            return False
        try:
            parsed = urlsplit(origin)
        except ValueError:
            return False
        hosts = self._csrf.allowed_origin_subdomains.get(parsed.scheme, ())
        return any(is_same_domain(parsed.netloc, host) for host in hosts)


def has_short_content_type(request: web.Request) -> bool:
    """Whether the Content-Type of a request, if any, may be read on the event loop."""
    return len(request.headers.get(hdrs.CONTENT_TYPE, "")) <= MAX_CONTENT_TYPE_LENGTH


class SecurityHeaders:
    """The headers that SecurityMiddleware and those for X-Frame-Options and CSP add to responses.

    is_framable: without X-Frame-Options.
    """

    def __init__(self, rules: SecurityRules, *, is_framable: bool = False) -> None:
        self._rules = rules
        paths = [SECURITY, CSP] if is_framable else [SECURITY, FRAME_OPTIONS, CSP]
        kinds = [kind for kind in map(installed, paths) if kind is not None]
        # Django's own give every response the same: they are asked once. A project's may not.
        own = [kind(no_view) for kind in kinds if _is_djangos(kind)]
        self._plain = _headers_by(own, "http")
        self._secure = _headers_by(own, "https")
        self._depends_on_scheme = self._plain != self._secure
        self._others = [kind(no_view) for kind in kinds if not _is_djangos(kind)]
        self._cors = rules.cors
        self.is_empty = not (self._plain or self._secure or self._others or self._cors)

    def add_to(self, response: web.StreamResponse, request: web.Request) -> None:
        """Add those that a response does not have."""
        if self._cors is not None:
            self._cors.add_to(response, request)
        for middleware in self._others:
            process = middleware.process_response
            without_exit(process_response, process, django_request(request), response)
        pairs = self._plain
        if self._depends_on_scheme and self._rules.is_secure(request):
            pairs = self._secure
        headers = response.headers
        for name, _ in pairs:
            if name in headers:
                break
        else:  # all at once, which is much quicker
            headers.extend(pairs)
            return
        for name, value in pairs:
            headers.setdefault(name, value)


def _is_djangos(kind: type[Any]) -> bool:
    return kind.__module__.startswith("django.")


def _headers_by(middlewares: list[Any], scheme: str) -> list[tuple[str, str]]:
    environ = {"REQUEST_METHOD": "GET", "wsgi.input": BytesIO(), "wsgi.url_scheme": scheme}
    request, response = WSGIRequest(environ), HttpResponse()
    del response.headers["Content-Type"]
    for middleware in middlewares:
        middleware.process_response(request, response)
    # Of the type that aiohttp's names of headers have, which is the quickest to look up.
    istr = type(hdrs.HOST)
    return [(istr(name), value) for name, value in response.items()]
