"""Django's async test client, over real connections to a real server."""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import Any, Generic, Self, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp import hdrs, web
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.test import AsyncClient
from django.urls import resolve
from django.utils.encoding import force_bytes, iri_to_uri
from django.utils.functional import SimpleLazyObject
from django.utils.http import urlencode
from yarl import URL

from aiodjango.subapp import fallbacks

from .exchange import Exchange, RecordingHandler
from .oneatatime import OneAtATime
from .response import ClientCookies, make_response
from .server import Factory, LoopServer

T = TypeVar("T")

HOST = "testserver"
# Keys of a client's `extra` that are not sent as headers.
_NO_HEADERS = ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "QUERY_STRING")


class AioClient(AsyncClient):
    """A test client for both coroutine views and Django's views.

    It has the arguments and methods of Django's `AsyncClient`, and can also open WebSockets and
    read responses part by part. The first request starts a server, which ends with the event loop
    (in Django's test cases, with the test method), or earlier with `close()` or `async with`.

    Django's views run in the thread of the test's own database calls, one at a time, as do the
    calls of coroutine views: they see the rows of the test's transaction.

    application: a function that returns the application to be served; None for the one that
        AIO_APPLICATION_FACTORY names, or for `get_aio_application()`. May also be an attribute of
        a subclass.
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

    # --- The server ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the server; another request would start a new one."""
        server, self._server = self._server, None
        if server is not None and not server.is_over:
            await server.close()

    def close_between_tests(self) -> None:
        """End the server from sync code, if its loop is neither running nor closed."""
        server = self._server
        if server is not None and not server.is_over and not server.loop.is_running():
            server.loop.run_until_complete(self.close())

    async def _start(self) -> LoopServer:
        server = self._server
        if server is None or server.is_over:
            server = self._server = LoopServer(self.application, self._prepare, ClientCookies(self))
        await server.wait_ready()
        return server

    def _prepare(self, app: web.Application) -> None:
        self._in_django = []
        for fallback in fallbacks(app):
            application = fallback.application
            if type(application) is WSGIHandler:
                application = RecordingHandler(enforce_csrf_checks=self._enforces_csrf)
            fallback.application = OneAtATime(application)
            self._in_django.append(fallback.application)

    # --- Requests --------------------------------------------------------------------------

    async def request(self, **request: Any) -> Any:
        """Raise TypeError: this client makes no requests from ASGI scopes."""
        raise TypeError(
            "AioClient does not support request(): use generic(), or a method such as get()."
        )

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
    ) -> Any:
        """Make a request and return the complete response, as get(), post() and others do."""
        extra = {**self.defaults, **extra}
        body = force_bytes(data, settings.DEFAULT_CHARSET)
        sent = {"content-type": content_type} if body else {}
        target = _target(path, query_params, extra)
        exchange = _exchange(secure, extra)
        server = await self._start()
        with self._recording(server, exchange) as own_headers:
            async with server.session.request(
                method,
                server.url(target),
                data=BytesIO(body) if body else None,  # aiohttp warns of large `bytes`
                headers={**_headers(sent, extra, headers), **own_headers},
                # Not for an empty body.
                skip_auto_headers=[hdrs.CONTENT_TYPE],
                allow_redirects=False,
            ) as reply:
                response = make_response(exchange, reply, await reply.read())
            for application in self._in_django:
                await application.wait_closed()
        response.exc_info = exchange.exc_info
        self._raise_view_error(exchange)
        return self._annotated(response, exchange, method, target, extra)

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
        """Make a request, and return aiohttp's response when its headers have arrived.

        The result is to be awaited or used by `async with`.

        options: those of `aiohttp.ClientSession.request()`, as `json=`.
        """
        options = {"allow_redirects": False, **options}
        return self._opening(
            lambda session, url, fields: session.request(method, url, headers=fields, **options),
            path,
            secure,
            headers,
            query_params,
        )

    def ws_connect(
        self,
        path: Any,
        *,
        secure: bool = False,
        headers: Any = None,
        query_params: Any = None,
        **options: Any,
    ) -> "_Opening[aiohttp.ClientWebSocketResponse]":
        """Open a WebSocket, and return an `aiohttp.ClientWebSocketResponse`.

        The result is to be awaited or used by `async with`.

        options: those of `aiohttp.ClientSession.ws_connect()`, as `protocols=`, `origin=`.

        Raises the exception of a view that fails before the handshake, and
        aiohttp.WSServerHandshakeError for any response but a handshake.
        """
        return self._opening(
            lambda session, url, fields: session.ws_connect(url, headers=fields, **options),
            path,
            secure,
            headers,
            query_params,
        )

    def _opening(
        self,
        connect: Callable[[aiohttp.ClientSession, URL, Mapping[str, str]], Awaitable[T]],
        path: Any,
        secure: bool,
        headers: Any,
        query_params: Any,
    ) -> "_Opening[T]":
        target = _target(path, query_params, self.defaults)
        fields = _headers({}, self.defaults, headers)
        exchange = _exchange(secure, self.defaults)

        async def open_connection() -> T:
            server = await self._start()
            with self._recording(server, exchange) as own_headers:
                opened = await connect(
                    server.session, server.url(target), {**fields, **own_headers}
                )
            if isinstance(opened, aiohttp.ClientResponse):
                server.opened.append(opened)
            return opened

        return _Opening(open_connection())

    @contextmanager
    def _recording(self, server: LoopServer, exchange: Exchange) -> Iterator[dict[str, str]]:
        """Open an exchange; raise the exception of a view that closes the connection."""
        with server.exchanges.open(exchange) as own_headers:
            try:
                yield own_headers
            except aiohttp.ClientError:
                # The error of the view explains more than that of the connection.
                self._raise_view_error(exchange)
                raise

    def _raise_view_error(self, exchange: Exchange) -> None:
        if exchange.exc_info is not None and self.raise_request_exception:
            raise exchange.exc_info[1]

    def _annotated(
        self, response: Any, exchange: Exchange, method: str, target: URL, extra: Mapping[str, Any]
    ) -> Any:
        """Add the attributes that Django's clients add to a response."""
        path, query = unquote(target.raw_path), target.raw_query_string
        scheme = exchange.scheme or "http"
        response.client = self
        response.request = {
            **extra,
            # As in Django's sync client, and in its async one.
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": method,
            "wsgi.url_scheme": scheme,
            "path": path,
            "query_string": query,
            "method": method,
            "scheme": scheme,
        }
        response.templates = exchange.rendered.get("templates", [])
        context = exchange.rendered.get("context")
        response.context = context[0] if context and len(context) == 1 else context
        response.json = partial(self._parse_json, response)  # type: ignore[attr-defined]
        request = response.wsgi_request
        response.resolver_match = SimpleLazyObject(
            lambda: resolve(getattr(request, "path_info", path), getattr(request, "urlconf", None))
        )
        if response.cookies:
            self.cookies.update(response.cookies)
        return response


class _Opening(Generic[T]):
    """A connection that is opened by `await`, or for a block by `async with`."""

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


def _target(path: Any, query_params: Any, extra: Mapping[str, Any]) -> URL:
    """Return the path and the query of a request, as they are sent."""
    parsed = urlsplit(str(path))
    query = extra.get("QUERY_STRING") or parsed.query
    if query_params:
        query = urlencode(query_params, doseq=True)
    return URL.build(
        path="/" + (iri_to_uri(parsed.path) or "").removeprefix("/"),
        query_string=iri_to_uri(query) or "",
        encoded=True,
    )


def _exchange(secure: bool, extra: Mapping[str, Any]) -> Exchange:
    """Return the facts about a request that are not sent."""
    scheme = "https" if secure else extra.get("wsgi.url_scheme")
    names = [name for name in extra if not name.startswith(("HTTP_", "wsgi."))]
    return Exchange(
        scheme=scheme,
        remote=extra.get("REMOTE_ADDR"),
        environ={
            "SERVER_NAME": HOST,
            "SERVER_PORT": "443" if scheme == "https" else "80",
            **{name: extra[name] for name in names if name != "QUERY_STRING"},
        },
    )


def _headers(sent: Mapping[str, str], extra: Mapping[str, Any], headers: Any) -> dict[str, str]:
    """Return the headers of a request, from all arguments by which Django's clients accept them."""
    host, port = extra.get("SERVER_NAME", HOST), str(extra.get("SERVER_PORT", ""))
    default_port = "443" if extra.get("wsgi.url_scheme") == "https" else "80"
    found = {"host": host if port in ("", default_port) else f"{host}:{port}", **sent}
    for name, value in extra.items():
        if name not in _NO_HEADERS and not name.startswith("wsgi.") and value is not None:
            found[name.removeprefix("HTTP_").replace("_", "-").lower()] = str(value)
    for name, value in dict(headers or {}).items():
        if value is not None:
            found[name.lower()] = str(value)
    return {name.title(): value for name, value in found.items()}
