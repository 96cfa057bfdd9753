"""Paths whose slashes make aiohttp's index look in unusual places."""

import pytest
from aiohttp import web
from django.urls import URLPattern, include, path, re_path
from django.urls.resolvers import RoutePattern

from aiodjango import get_aio_subapp

from .resolving import django_resolve, request_to, router_resolve


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


@pytest.mark.parametrize(
    "raw_path", ["/a/a", "/b/x/", "/b/1/x/", "/c//x/", "/c/b/x/", "/d/1/x/", "/d/b/x/"]
)
async def test_sets_of_characters_with_a_slash_and_without(raw_path):
    patterns = [
        re_path(r"^[/a]+$", view),
        re_path(r"^b[^/1]+x/$", view),
        re_path(r"^b[^1]+x/$", view),
        re_path(r"^c[/b-]+/x/$", view),
        re_path(r"^d/[^/b]/x/$", view),
    ]
    app = get_aio_subapp(patterns)
    app.freeze()
    assert await router_resolve(app, raw_path) == django_resolve(patterns, raw_path)


class OwnPattern(RoutePattern):
    """A kind of pattern of which only match() is known."""


@pytest.mark.parametrize("raw_path", ["/a/1/", "/a/x/", "/a/1/b/"])
async def test_a_pattern_of_another_kind(raw_path):
    patterns = [URLPattern(OwnPattern("a/<int:pk>/", is_endpoint=True), view)]
    app = get_aio_subapp(patterns)
    app.freeze()
    assert await router_resolve(app, raw_path) == django_resolve(patterns, raw_path)


async def test_asked_before_it_is_complete_beside_other_routes():
    patterns = [path("a/", view), path("b/<int:pk>/", view)]
    app = get_aio_subapp(patterns)
    own = app.router.add_get("/own", view)
    for _ in range(2):
        for raw_path in ["/a/", "/b/7/", "/c/"]:
            assert await router_resolve(app, raw_path) == django_resolve(patterns, raw_path)
        assert (await app.router.resolve(request_to("/own"))).route is own
