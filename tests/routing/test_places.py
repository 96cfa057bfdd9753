"""Paths whose slashes make aiohttp's index look in unusual places."""

import pytest
from aiohttp import web
from django.urls import include, path

from aiodjango import get_aio_subapp

from .resolving import django_resolve, router_resolve


async def view(request):
    return web.Response()


@pytest.mark.parametrize("raw_path", ["/", "//", "//a/", "//a", "/a/", "//a//b/", "///", "/%2Fa/"])
async def test_doubled_slashes(raw_path):
    patterns = [
        path("", view),
        path("/", include([path("a/", view), path("", view)])),
        path("/a//b/", view),
    ]
    app = get_aio_subapp(patterns)
    app.freeze()
    assert await router_resolve(app, raw_path) == django_resolve(patterns, raw_path)
