"""Views annotated by strings, with names imported for type checkers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import django.http
    from django.core.handlers.asgi import ASGIRequest
    from django.http import HttpRequest
    from nowhere import Unknown


async def http_request(request: HttpRequest): ...


async def subclass(request: ASGIRequest): ...


async def dotted(request: django.http.HttpRequest): ...


async def optional(request: HttpRequest | None): ...


async def union(request: HttpRequest | None): ...


async def with_more(request: HttpRequest, pk: Unknown): ...


async def aiohttp_request(request: web.Request): ...


async def unknown(request: Unknown): ...


async def nonsense(request: "not ! an expression"): ...  # noqa: F722


async def missing_attribute(request: web.Nothing): ...


async def undefined(request: Undefined): ...  # noqa: F821


async def return_only(request) -> HttpRequest: ...


class Instances:
    async def __call__(self, request: HttpRequest): ...


class Views:
    async def method(self, request: HttpRequest): ...

    async def aio_method(self, request: web.Request): ...
