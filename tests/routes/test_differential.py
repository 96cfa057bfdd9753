"""Lifted routes match exactly where Django's own resolver matches, with the same values."""

import asyncio
import inspect

from aiohttp import web
from hypothesis import event, given, settings
from hypothesis import strategies as st

from aiodjango import get_aio_application, get_aio_subapp

from .resolving import django_resolve, router_resolve
from .strategies import only_lifted, urlconfs


def make_aio_view():
    async def aio_view(request, *args, **kwargs):
        return web.Response()

    return aio_view


def make_sync_view():
    def sync_view(request, *args, **kwargs):
        raise AssertionError("only resolved, never called")

    return sync_view


def is_lifted(view):
    return inspect.iscoroutinefunction(view)


lifted = st.builds(make_aio_view)
mixed = st.one_of(lifted, st.builds(make_sync_view))


def wsgi(environ, start_response):
    raise AssertionError("only resolved, never called")


def check(app, raw_path, expected):
    event("match" if expected else "no match")
    assert asyncio.run(router_resolve(app, raw_path)) == expected, raw_path


@settings(max_examples=500)
@given(urlconfs(lifted))
def test_same_view_and_values(drawn):
    patterns, paths = drawn
    app = get_aio_subapp(patterns)
    app.freeze()
    for path in paths:
        check(app, path, django_resolve(patterns, path))


@settings(max_examples=200)
@given(urlconfs(mixed))
def test_lifted_routes_win_over_sync_ones(drawn):
    patterns, paths = drawn
    app = get_aio_application(wsgi, urlconf=patterns)
    app.freeze()
    for path in paths:
        check(app, path, django_resolve(only_lifted(patterns, is_lifted), path))


@settings(max_examples=200)
@given(urlconfs(mixed))
def test_preserved_order_resolves_as_the_whole_urlconf(drawn):
    patterns, paths = drawn
    app = get_aio_application(wsgi, urlconf=patterns, preserve_order=True)
    app.freeze()
    for path in paths:
        expected = django_resolve(patterns, path)
        is_ours = expected is not None and is_lifted(expected[0])
        check(app, path, expected if is_ours else None)


@settings(max_examples=200)
@given(urlconfs(lifted))
def test_same_under_a_prefix(drawn):
    patterns, paths = drawn
    main = web.Application()
    inner = web.Application()
    inner.add_subapp("/inner/", get_aio_subapp(patterns))
    main.add_subapp("/m", inner)
    main.freeze()
    for path in paths:
        for mounted in (f"/m/inner{path}", f"/%6d/inner{path}"):
            check(main, mounted, django_resolve(patterns, mounted, mount="/m/inner"))


@settings(max_examples=100)
@given(urlconfs(lifted))
def test_an_application_may_be_asked_before_it_is_complete(drawn):
    patterns, paths = drawn
    app = get_aio_subapp(patterns)
    for path in paths:
        check(app, path, django_resolve(patterns, path))
    main = web.Application()
    main.add_subapp("/m", app)
    for path in paths:
        check(main, f"/m{path}", django_resolve(patterns, f"/m{path}", mount="/m"))
