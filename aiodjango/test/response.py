"""What a test client returns: Django's response, as it came over the connection."""

from collections.abc import AsyncIterator, Iterable
from functools import cache, partial
from http.cookies import Morsel, SimpleCookie
from typing import Any

import aiohttp
from django.http import (
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseForbidden,
    HttpResponseGone,
    HttpResponseNotAllowed,
    HttpResponseNotFound,
    HttpResponseNotModified,
    HttpResponsePermanentRedirect,
    HttpResponseRedirect,
    HttpResponseServerError,
    JsonResponse,
)
from django.http.response import HttpResponseBase
from django.utils.functional import SimpleLazyObject

from aiodjango.views.request import django_request

from .exchange import Exchange

# By status. Of the classes that two statuses share, Django's have both.
_CLASSES: dict[int, type[HttpResponse]] = {
    301: HttpResponsePermanentRedirect,
    302: HttpResponseRedirect,
    304: HttpResponseNotModified,
    307: HttpResponseRedirect,
    308: HttpResponsePermanentRedirect,
    400: HttpResponseBadRequest,
    403: HttpResponseForbidden,
    404: HttpResponseNotFound,
    405: HttpResponseNotAllowed,
    410: HttpResponseGone,
    500: HttpResponseServerError,
}


# Headers that response.cookies has, or that belong to the connection.
_NOT_OF_THE_RESPONSE = {"set-cookie", "connection", "keep-alive", "transfer-encoding"}


class AioResponse(HttpResponse):
    """The response of a coroutine view, as one of Django's.

    It is also an instance of Django's class for its status, or of `JsonResponse`.
    """

    def __init__(self, status: int, reason: str | None, content: bytes) -> None:
        HttpResponse.__init__(self, content, status=status, reason=reason)

    @property
    def url(self) -> str:
        """Where a redirect leads to."""
        try:
            return self["Location"]
        except KeyError:
            raise AttributeError("The response has no Location, and so no url") from None


def make_response(exchange: Exchange, reply: aiohttp.ClientResponse, content: bytes) -> Any:
    """Return a response that was read to its end.

    That is the object which Django's half has returned, if it was this; else an `AioResponse`.
    """
    response: Any = exchange.django_response
    if response is not None and response.status_code == reply.status:
        # The server, and what surrounds Django, may have changed it on its way.
        if response.streaming:
            response.streaming_content = _once_more(content, is_async=response.is_async)
        else:
            response.content = content
    else:
        kind = _class_for(reply.status, is_json=reply.content_type == "application/json")
        response = kind(reply.status, reply.reason, content)
    _set_headers(response, reply)
    request: Any = exchange.django_request
    if request is None and exchange.request is not None:
        # Made when somebody asks for it, if the view has not.
        request = SimpleLazyObject(partial(django_request, exchange.request))  # type: ignore[arg-type]
    # None where the server itself has refused it, as a method that it does not know.
    response.wsgi_request = response.asgi_request = request
    return response


@cache
def _class_for(status: int, *, is_json: bool) -> type[AioResponse]:
    base = JsonResponse if is_json else _CLASSES.get(status)
    return AioResponse if base is None else type("AioResponse", (AioResponse, base), {})


def _once_more(content: bytes, *, is_async: bool) -> Any:
    if not is_async:
        return [content]

    async def parts() -> AsyncIterator[bytes]:
        yield content

    return parts()


def _set_headers(response: HttpResponseBase, reply: aiohttp.ClientResponse) -> None:
    for name in [*response.headers]:
        del response.headers[name]
    for name in reply.headers:
        if name not in response.headers and name.lower() not in _NOT_OF_THE_RESPONSE:
            response.headers[name] = ", ".join(reply.headers.getall(name))
    own, response.cookies = response.cookies, read_cookies(reply.cookies.items())
    for name in response.cookies.keys() & own.keys():
        if response.cookies[name].value == own[name].value:
            response.cookies[name] = own[name]


def read_cookies(received: Iterable[tuple[str, "Morsel[str]"]]) -> "SimpleCookie":
    """Return cookies that were received as Django has those that it sends."""
    cookies = SimpleCookie()
    for name, morsel in received:
        cookies[name] = morsel
        age = morsel["max-age"]
        if isinstance(age, str) and age.lstrip("-").isdecimal():
            morsel["max-age"] = int(age)
    return cookies
