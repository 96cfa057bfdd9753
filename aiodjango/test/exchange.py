"""What a request of a test client causes in the server: templates, exceptions, Django's request."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from types import TracebackType
from typing import Any

from aiohttp import web
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import got_request_exception
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.test.client import store_rendered_templates  # type: ignore[attr-defined]
from django.test.signals import template_rendered

# The header that names the exchange of a request. No view receives it.
HEADER = "X-Aiodjango-Exchange"

# That of the current code: in the server's task for a request, and in threads that run its code.
current_exchange: ContextVar["Exchange | None"] = ContextVar(
    "aiodjango.test.exchange", default=None
)


class Exchange:
    """A request of a client, and what happened in the server.

    scheme: of the connection, as seen by a view; None for the real one.
    remote: the client's address, as seen by a view; None for the real one.
    environ: the entries of `request.META` in Django's views, apart from the headers.
    """

    def __init__(self, scheme: str | None, remote: str | None, environ: Mapping[str, Any]) -> None:
        self.scheme = scheme
        self.remote = remote
        self.environ = environ
        self.request: web.BaseRequest | None = None
        # If Django has answered.
        self.django_request: HttpRequest | None = None
        self.django_response: HttpResponseBase | None = None
        # The result of store_rendered_templates().
        self.rendered: dict[str, Any] = {}
        self.exc_info: tuple[type[BaseException], BaseException, TracebackType] | None = None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note templates that are rendered and exceptions that are raised for the request."""
        template_rendered.connect(self._note_template)
        got_request_exception.connect(self.note_exception)
        try:
            yield
        finally:
            template_rendered.disconnect(self._note_template)
            got_request_exception.disconnect(self.note_exception)

    def _note_template(self, **signal: Any) -> None:
        if self._is_current():
            store_rendered_templates(self.rendered, **signal)

    def note_exception(self, **signal: Any) -> None:
        """Note the exception that is being handled."""
        if self._is_current():
            self.exc_info = sys.exc_info()  # type: ignore[assignment]

    def _is_current(self) -> bool:
        # A thread without a context may work for any of the requests.
        return current_exchange.get(self) is self


class Exchanges:
    """The open exchanges of a server."""

    def __init__(self) -> None:
        self._by_name: dict[str, Exchange] = {}
        self._names = map(str, count())

    @contextmanager
    def open(self, exchange: Exchange) -> Iterator[dict[str, str]]:
        """Open an exchange. Yields the headers of its requests."""
        name = next(self._names)
        self._by_name[name] = exchange
        try:
            with exchange.recording():
                yield {HEADER: name}
        finally:
            del self._by_name[name]

    def install(self, server: web.Server) -> None:
        """Assign the requests of a server to their exchanges."""
        make_request = server.request_factory

        def make_and_receive(message: Any, *others: Any) -> web.BaseRequest:
            if HEADER not in message.headers:
                return make_request(message, *others)
            exchange = self._by_name[message.headers[HEADER]]
            request = make_request(_without(HEADER, message), *others)
            # Its handler is called in a copy of this context.
            current_exchange.set(exchange)
            changes: dict[str, Any] = {"scheme": exchange.scheme, "remote": exchange.remote}
            given = {name: value for name, value in changes.items() if value is not None}
            exchange.request = request.clone(**given) if given else request
            return exchange.request

        server.request_factory = make_and_receive


def _without(header: str, message: Any) -> Any:
    headers = message.headers.copy()
    del headers[header]
    raw_name = header.lower().encode()
    return message._replace(
        headers=type(message.headers)(headers),
        raw_headers=tuple(pair for pair in message.raw_headers if pair[0].lower() != raw_name),
    )


class RecordingHandler(WSGIHandler):
    """Django's WSGI application, which notes its request and response in the exchange.

    enforce_csrf_checks: whether CSRF tokens are required.
    """

    def __init__(self, *, enforce_csrf_checks: bool) -> None:
        self._enforces_csrf = enforce_csrf_checks
        super().__init__()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        exchange = current_exchange.get()
        if exchange is not None:
            environ.update(exchange.environ)
        return super().__call__(environ, start_response)

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        # The attribute by which Django's own client disables the check of CSRF tokens.
        request._dont_enforce_csrf_checks = not self._enforces_csrf  # type: ignore[attr-defined]
        response: HttpResponseBase = super().get_response(request)
        exchange = current_exchange.get()
        if exchange is not None:
            exchange.django_request, exchange.django_response = request, response
        return response
