"""The responses of the test client: Django's, with what was received over the connection."""

from collections.abc import AsyncIterator, Iterable
from functools import cache, partial
from http.cookies import Morsel, SimpleCookie
from typing import Any

import aiohttp
from aiohttp.abc import AbstractCookieJar
from django import http
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.test import AsyncClient
from django.utils.functional import SimpleLazyObject
from yarl import URL

from aiodjango.views.request import django_request

from .exchange import Exchange

# By status: HttpResponseNotFound for 404, and so on.
_CLASSES: dict[int, type[HttpResponse]] = {
    kind.status_code: kind
    for kind in vars(http).values()
    if isinstance(kind, type) and issubclass(kind, HttpResponse) and kind.status_code != 200
}
# Classes that Django uses for two statuses.
_CLASSES[307], _CLASSES[308] = _CLASSES[302], _CLASSES[301]

# Headers that are in response.cookies, or that belong to the connection.
_NOT_OF_THE_RESPONSE = {"set-cookie", "connection", "keep-alive", "transfer-encoding"}


class AioResponse(HttpResponse):
    """The response of a coroutine view, as a Django response.

    It is also an instance of Django's class for its status, or of `JsonResponse`.
    """

    def __init__(self, status: int, reason: str | None, content: bytes) -> None:
        HttpResponse.__init__(self, content, status=status, reason=reason)

    @property
    def url(self) -> str:
        """The target of a redirect."""
        try:
            return self["Location"]
        except KeyError:
            raise AttributeError(
                "The response has no url, because it has no header Location"
            ) from None


def make_response(exchange: Exchange, reply: aiohttp.ClientResponse, content: bytes) -> Any:
    """Return a response that has been received completely.

    It is the object that Django returned, if Django answered, otherwise an `AioResponse`.
    """
    response: Any = exchange.django_response
    if response is not None and response.status_code == reply.status:
        # The server, or an aiohttp middleware, may have changed it.
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
        # Made when it is used, unless the view has made it.
        request = SimpleLazyObject(partial(django_request, exchange.request))  # type: ignore[arg-type]
    # None if the server itself has refused the request, for an unknown method.
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
    """Return received cookies in the form of those that Django sends."""
    cookies = SimpleCookie()
    for name, morsel in received:
        cookies[name] = morsel
        age = morsel["max-age"]
        if isinstance(age, str) and age.lstrip("-").isdecimal():
            morsel["max-age"] = int(age)
    return cookies


class ClientCookies(aiohttp.DummyCookieJar):
    """The cookies of a Django client, which sends all of them to every URL."""

    def __init__(self, client: AsyncClient) -> None:
        super().__init__()
        self._client = client

    def filter_cookies(self, request_url: URL) -> SimpleCookie:
        return self._client.cookies

    # It reads the cookies, and calls update_cookies().
    update_cookies_from_headers = AbstractCookieJar.update_cookies_from_headers

    def update_cookies(self, cookies: Any, response_url: Any = None) -> None:
        self._client.cookies.update(read_cookies(cookies))
