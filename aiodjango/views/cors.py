"""The rules of django-cors-headers for coroutine views, where its middleware is installed."""

from typing import Any, NamedTuple

from aiohttp import hdrs, web
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.module_loading import import_string

from aiodjango.conf import CORS
from aiodjango.orm import run_in_django

from .request import DjangoRequest, bare_django_request, no_view


class Cors:
    """The middleware, asked once for each request, before the view runs."""

    def __init__(self, kind: type[Any]) -> None:
        self._middleware = kind(no_view)
        self._is_plain = kind.__module__ == CORS.rpartition(".")[0]
        self._signal = import_string("corsheaders.signals.check_request_enabled")

    async def ask(self, request: web.Request) -> None:
        """Have the middleware judge a request, for answer_preflight() and add_to()."""
        django = bare_django_request(request)
        if self._is_plain and not self._signal.has_listeners():
            request[_VERDICT] = self._judge(django)
        else:
            # A receiver of its signal, or a class derived from it, may use the database.
            request[_VERDICT] = await run_in_django(self._judge, django)

    def _judge(self, request: DjangoRequest) -> "_Verdict":
        preflight = self._middleware.check_preflight(request)
        likeness = HttpResponse()
        del likeness.headers["Content-Type"]
        self._middleware.add_response_headers(request, likeness)
        return _Verdict(preflight, dict(likeness.items()))

    @staticmethod
    def preflight(request: web.Request) -> HttpResponseBase | None:
        """Return the answer to a preflight request, None for any other request."""
        return request[_VERDICT].preflight

    @staticmethod
    def add_to(response: web.StreamResponse, request: web.Request) -> None:
        verdict = request.get(_VERDICT)
        if verdict is None:
            return  # it could not be asked
        for name, value in verdict.headers.items():
            if name == hdrs.VARY and name in response.headers:
                value = _joined(", ".join(response.headers.getall(name)), value)
            response.headers[name] = value


class _Verdict(NamedTuple):
    preflight: HttpResponseBase | None
    headers: dict[str, str]


_VERDICT: web.RequestKey[_Verdict] = web.RequestKey("aiodjango.CORS", _Verdict)


def _joined(vary: str, more: str) -> str:
    """Complete a Vary header."""
    response = HttpResponse(headers={hdrs.VARY: vary})
    patch_vary_headers(response, more.split(", "))
    return response.headers[hdrs.VARY]
