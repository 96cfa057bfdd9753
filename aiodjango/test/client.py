"""Django's async test client, over a real connection to a real server."""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.cookies import SimpleCookie
from io import BytesIO
from typing import Any, Generic, Self, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp import hdrs, web
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.signals import got_request_exception
from django.http import HttpResponse
from django.test import AsyncClient
from django.test.client import store_rendered_templates  # type: ignore[attr-defined]
from django.test.signals import template_rendered
from django.urls import resolve
from django.utils.encoding import force_bytes, iri_to_uri
from django.utils.functional import SimpleLazyObject
from django.utils.http import urlencode
from yarl import URL

from aiodjango.subapp import get_aio_application

from .oneatatime import OneAtATime
from .server import Factory, LoopServer, gateways

T = TypeVar("T")

HOST = "testserver"
# What Django's client knows of a request that is not a header of it.
_NO_HEADERS = ("SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme", "QUERY_STRING")


class AioResponse(HttpResponse):
    """What a server has answered, as a response of Django's, for Django's assertions.

    It has, where there is something to have, the attributes that Django's test client adds:
    `client`, `request`, `templates`, `context`, `json()`, `resolver_match`, `exc_info`,
    `redirect_chain`.
    """

    def __init__(self, reply: aiohttp.ClientResponse, content: bytes) -> None:
        names = dict.fromkeys(name.title() for name in reply.headers)
        names.pop("Set-Cookie", None)
        headers = {name: ", ".join(reply.headers.getall(name)) for name in names}
        super().__init__(content, status=reply.status, reason=reply.reason, headers=headers)
        if hdrs.CONTENT_TYPE not in reply.headers:
            del self.headers["Content-Type"]
        for header in reply.headers.getall(hdrs.SET_COOKIE, ()):
            self.cookies.update(SimpleCookie(header))

    @property
    def url(self) -> str:
        """Where a redirect leads to."""
        try:
            return self["Location"]
        except KeyError:
            raise AttributeError("The response has no Location, so no url") from None


class AioClient(AsyncClient):
    """A test client for coroutine views and Django's own views alike.

    Its requests go through a server of its own, which is started by the first one and ends with
    the event loop, in Django's test cases with the test method; or sooner, with `close()` or
    `async with`. Beyond Django's `AsyncClient`, whose arguments and methods it has, it can open
    WebSockets, and read responses part by part.

    Django's views run where the test's own database calls are made, one at a time, as do the calls
    of coroutine views: they see the rows of the test's transaction.

    application: a function that makes the application to be served; None for what
    `get_aio_application()` gives. A subclass can have it as an attribute.
    """

    application: Factory | None = None

    def __init__(
        self,
        enforce_csrf_checks: bool = False,
        raise_request_exception: bool = True,
        *,
        application: Factory | None = None,
        **options: Any,
    ) -> None:
        super().__init__(enforce_csrf_checks, raise_request_exception, **options)
        if application is not None:
            self.application = application
        self._enforces_csrf = enforce_csrf_checks
        self._server: LoopServer | None = None
        self._in_django: list[OneAtATime] = []
        self._recordings = 0

    # --- The server ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the server; the next request would start another."""
        server, self._server = self._server, None
        if server is not None and not server.is_over:
            await server.close()

    def close_between_tests(self) -> None:
        """End the server from sync code, if its loop stands still but has not been closed."""
        server = self._server
        if server is not None and not server.is_over and not server.loop.is_running():
            server.loop.run_until_complete(self.close())

    async def _start(self) -> LoopServer:
        server = self._server
        if server is None or server.is_over:
            server = self._server = LoopServer(
                self._make_application, self._prepare, _Cookies(self)
            )
        await server.wait_ready()
        return server

    def _make_application(self) -> web.Application:
        return get_aio_application() if self.application is None else self.application()

    def _prepare(self, app: web.Application) -> None:
        self._in_django = []
        for gateway in gateways(app):
            application = gateway.application
            if type(application) is WSGIHandler and not self._enforces_csrf:
                application = _UncheckedHandler()
            gateway.application = OneAtATime(application, self._note_error)
            self._in_django.append(gateway.application)

    # --- Requests --------------------------------------------------------------------------

    async def generic(  # type: ignore[override]
        self,
        method: str,
        path: Any,
        data: Any = "",
        content_type: str = "application/octet-stream",
        secure: bool = False,
        *,
        headers: Any = None,
        query_params: Any = None,
        **extra: Any,
    ) -> AioResponse:
        """Make a request and return the whole response. All other methods for requests use this."""
        extra = {**self.defaults, **extra}
        body = force_bytes(data, settings.DEFAULT_CHARSET)
        sent = {"content-type": content_type} if body else {}
        target = _target(path, query_params, extra)
        rendered: dict[str, Any] = {}
        server = await self._start()
        with self._recording(rendered):
            async with server.session.request(
                method,
                server.url(target),
                data=BytesIO(body) if body else None,  # aiohttp warns of so many bytes
                headers=_headers(secure, sent, extra, headers),
                allow_redirects=False,
            ) as reply:
                response: Any = AioResponse(reply, await reply.read())
            for application in self._in_django:
                await application.wait_closed()
        response.exc_info = self.exc_info
        self._raise_view_error()
        return self._annotated(response, method, target, rendered)

    def stream(
        self,
        method: str,
        path: Any,
        *,
        secure: bool = False,
        headers: Any = None,
        query_params: Any = None,
        **options: Any,
    ) -> "_Opening[aiohttp.ClientResponse]":
        """Make a request, and return aiohttp's response as soon as it has begun.

        For `async with`. options: those of `aiohttp.ClientSession.request()`, as `json=`.
        """

        fields = _headers(secure, {}, self.defaults, headers)

        async def begin(server: LoopServer, url: URL) -> aiohttp.ClientResponse:
            response = await server.session.request(
                method, url, headers=fields, **{"allow_redirects": False, **options}
            )
            server.opened.append(response)
            return response

        return self._opening(path, query_params, begin)

    def ws_connect(
        self,
        path: Any,
        *,
        secure: bool = False,
        headers: Any = None,
        query_params: Any = None,
        **options: Any,
    ) -> "_Opening[aiohttp.ClientWebSocketResponse]":
        """Open a WebSocket: an `aiohttp.ClientWebSocketResponse`, to be awaited or `async with`.

        options: those of `aiohttp.ClientSession.ws_connect()`, as `protocols=`, `origin=`.

        Raises what the view raises before the handshake, and aiohttp.WSServerHandshakeError for any
        other answer.
        """

        fields = _headers(secure, {}, self.defaults, headers)

        async def shake_hands(server: LoopServer, url: URL) -> aiohttp.ClientWebSocketResponse:
            return await server.session.ws_connect(  # type: ignore[no-any-return]
                url, headers=fields, **options
            )

        return self._opening(path, query_params, shake_hands)

    def _opening(
        self, path: Any, query_params: Any, connect: Callable[[LoopServer, URL], Awaitable[T]]
    ) -> "_Opening[T]":
        target = _target(path, query_params, self.defaults)

        async def open_connection() -> T:
            server = await self._start()
            with self._recording({}):
                return await connect(server, server.url(target))

        return _Opening(open_connection())

    @contextmanager
    def _recording(self, rendered: dict[str, Any]) -> Iterator[None]:
        """Note the templates that views render, and raise the exception that one of them raises."""
        # They're held here: signals don't.
        on_render = partial(store_rendered_templates, rendered)
        on_exception = self.store_exc_info
        self._recordings += 1
        template_rendered.connect(on_render)
        got_request_exception.connect(on_exception)
        try:
            yield
        except aiohttp.ClientError:
            # The error of the view says more than how the connection ended.
            self._raise_view_error()
            raise
        finally:
            self._recordings -= 1
            template_rendered.disconnect(on_render)
            got_request_exception.disconnect(on_exception)

    def _note_error(self) -> None:
        """Store an exception that Django has not made a response of."""
        if self._recordings:
            self.store_exc_info()

    def _raise_view_error(self) -> None:
        exc_info, self.exc_info = self.exc_info, None
        if exc_info is not None and self.raise_request_exception:
            raise exc_info[1]

    def _annotated(
        self, response: Any, method: str, target: URL, rendered: dict[str, Any]
    ) -> AioResponse:
        """Give a response what Django's client gives it."""
        path = unquote(target.raw_path)
        response.client = self
        response.request = {
            "PATH_INFO": path,
            "QUERY_STRING": target.raw_query_string,
            "REQUEST_METHOD": method,
        }
        response.templates = rendered.get("templates", [])
        context = rendered.get("context")
        response.context = context[0] if context and len(context) == 1 else context
        response.json = partial(self._parse_json, response)  # type: ignore[attr-defined]
        response.resolver_match = SimpleLazyObject(lambda: resolve(path))
        return response  # type: ignore[no-any-return]


class _Opening(Generic[T]):
    """What is opened by `await`, or for a block by `async with`."""

    def __init__(self, opening: Coroutine[Any, Any, T]) -> None:
        self._opening = opening

    def __await__(self) -> Generator[Any, None, T]:
        return self._opening.__await__()

    async def __aenter__(self) -> T:
        self._opened = await self._opening
        return self._opened

    async def __aexit__(self, *exc_info: object) -> None:
        if isinstance(self._opened, aiohttp.ClientWebSocketResponse):
            await self._opened.close()
        elif isinstance(self._opened, aiohttp.ClientResponse):  # pragma: no branch - nothing else
            self._opened.close()


class _Cookies(aiohttp.DummyCookieJar):
    """The cookies of a client, in the manner of Django's: all are sent, wherever to."""

    def __init__(self, client: AioClient) -> None:
        super().__init__()
        self._client = client

    def filter_cookies(self, request_url: URL) -> "SimpleCookie":
        return self._client.cookies

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        for header in headers:
            self._client.cookies.update(SimpleCookie(header))


class _UncheckedRequest(WSGIRequest):
    # By this attribute Django's own client, too, turns off the check of CSRF tokens.
    _dont_enforce_csrf_checks = True


class _UncheckedHandler(WSGIHandler):
    request_class = _UncheckedRequest


def _target(path: Any, query_params: Any, extra: Mapping[str, Any]) -> URL:
    """The path and the query of a request, as they are sent."""
    parsed = urlsplit(str(path))
    query = extra.get("QUERY_STRING") or parsed.query
    if query_params:
        query = urlencode(query_params, doseq=True)
    return URL.build(
        path="/" + (iri_to_uri(parsed.path) or "").removeprefix("/"),
        query_string=iri_to_uri(query) or "",
        encoded=True,
    )


def _headers(
    secure: bool, sent: Mapping[str, str], extra: Mapping[str, Any], headers: Any
) -> dict[str, str]:
    """The headers of a request, from all the ways in which Django's client can be given some."""
    found = {"host": HOST, **sent}
    if secure or extra.get("wsgi.url_scheme") == "https":
        # As a proxy says it, which the server trusts on this machine.
        found["x-forwarded-proto"] = "https"
    for name, value in extra.items():
        if name not in _NO_HEADERS:
            found[name.removeprefix("HTTP_").replace("_", "-").lower()] = str(value)
    for name, value in dict(headers or {}).items():
        found[name.lower()] = str(value)
    return {name.title(): value for name, value in found.items()}
