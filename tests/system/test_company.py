"""Lifted routes and Django beside an application's own routes, sub-applications, middlewares."""

import asyncio
import logging
import threading

import pytest
from aiohttp import web
from django.core.wsgi import get_wsgi_application
from django.urls import path

from aiodjango import (
    FALLBACK,
    fallback_middleware,
    get_aio_application,
    get_aio_routes,
    get_aio_subapp,
    setup,
)
from tests.support.server import until


def saying(text, status=200):
    async def handler(request):
        return web.Response(text=text, status=status)

    return handler


async def not_found(request):
    raise web.HTTPNotFound(text="the host's own 404")


def by_setup(app):
    setup(app, get_wsgi_application())


def by_middleware(app):
    middleware = fallback_middleware(get_wsgi_application())
    app.middlewares.append(middleware)
    app.cleanup_ctx.append(middleware.cleanup_ctx)
    app.add_routes(get_aio_routes())


def by_setup_with_middlewares(app):
    @web.middleware
    async def passing(request, handler):
        return await handler(request)

    app.middlewares.append(passing)
    by_setup(app)


@pytest.fixture(params=[by_setup, by_middleware, by_setup_with_middlewares])
def add_django(request):
    return request.param


@pytest.fixture(params=["before", "after"])
def company(request, add_django, settings):
    """An application with routes of its own, added before Django is, or after."""
    settings.MIDDLEWARE = []  # no CSRF check for POSTs

    def add_own_routes(app):
        app.router.add_get("/own", saying("own"))
        app.router.add_post("/form", saying("form"))
        app.router.add_get("/missing", not_found)
        app.router.add_get("/teapot", saying("teapot", status=404))
        app.router.add_get("/echo/own", saying("own echo"))
        app.router.add_get("/dynamic/{name}", saying("dynamic"))
        sub = web.Application()
        sub.router.add_get("/here", saying("sub"))
        app.add_subapp("/sub/", sub)

    app = web.Application()
    if request.param == "before":
        add_own_routes(app)
    add_django(app)
    if request.param == "after":
        add_own_routes(app)
    return app


async def server_of(response):
    """Who answered: "django", "aiohttp" (a lifted view), or the text of a host's handler."""
    if response.content_type == "application/json":
        return (await response.json())["server"]
    return await response.text()


@pytest.mark.parametrize(
    ("method", "url", "status", "answer"),
    [
        ("GET", "/own", 200, "own"),
        ("GET", "/sync/", 200, "django"),
        ("GET", "/aio/", 200, "aiohttp"),
        ("GET", "/shop/5/", 200, "aiohttp"),
        ("GET", "/echo/own", 200, "own echo"),
        ("GET", "/echo/other", 200, "django"),
        ("POST", "/echo/other", 200, "django"),
        ("GET", "/dynamic/x", 200, "dynamic"),
        ("GET", "/sub/here", 200, "sub"),
        ("GET", "/missing", 404, "the host's own 404"),
        ("GET", "/teapot", 404, "teapot"),
        ("POST", "/own", 405, "405: Method Not Allowed"),
        ("GET", "/form", 405, "405: Method Not Allowed"),
        ("PUT", "/dynamic/x", 405, "405: Method Not Allowed"),
        ("GET", "/sub/other", 404, "404: Not Found"),
        ("POST", "/sub/here", 405, "405: Method Not Allowed"),
    ],
)
async def test_who_answers(company, aiohttp_client, method, url, status, answer):
    client = await aiohttp_client(company)
    for _ in range(3):  # the first request, which puts the index in order, and later ones
        response = await client.request(method, url)
        assert (response.status, await server_of(response)) == (status, answer)


async def test_django_answers_what_nobody_else_does(company, aiohttp_client):
    client = await aiohttp_client(company)
    for url in ["/nowhere/", "/own/", "/subway/", "/dynamic/x/y"]:
        response = await client.get(url)
        assert response.status == 404
        assert "<title>Not Found</title>" in await response.text()  # Django's page


async def test_allowed_methods_of_a_405(company, aiohttp_client):
    company.router.add_get("/many", saying("get"))
    company.router.add_put("/many", saying("put"))
    company.router.add_delete("/{name:man.}", saying("delete"))
    client = await aiohttp_client(company)
    for _ in range(2):
        response = await client.post("/many")
        assert response.status == 405
        assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD", "PUT", "DELETE"}


async def test_the_most_explicit_route_wins(add_django, aiohttp_client):
    urlconf_like = [
        path("<slug:x>/", saying("lifted slug")),
        path("a/<slug:x>/", saying("lifted a")),
    ]
    app = web.Application()
    app.router.add_get("/{x}/", saying("host slug"))
    app.add_routes(get_aio_routes(urlconf_like))
    app.router.add_get("/b/{x}/", saying("host b"))
    app.router.add_get("/a/{x}/", saying("host a"))
    add_django(app)
    client = await aiohttp_client(app)
    expected = {
        "/z/": "host slug",  # equally explicit, registered first
        "/a/z/": "lifted a",  # equally explicit, registered first
        "/b/z/": "host b",  # more explicit than any lifted one
    }
    for url, text in expected.items():
        assert await (await client.get(url)).text() == text


async def test_urlconf_order_among_lifted_routes(aiohttp_client):
    app = get_aio_subapp(
        [
            path("<slug:x>/", saying("slug")),
            path("a/", saying("a, never reached")),
            path("b/c/", saying("b/c")),
            path("b/<slug:x>/", saying("b/slug")),
        ]
    )
    client = await aiohttp_client(app)
    for url, text in {"/a/": "slug", "/b/c/": "b/c", "/b/d/": "b/slug"}.items():
        assert await (await client.get(url)).text() == text


async def test_a_miss_in_a_subapp_goes_to_the_django_around_it(add_django, aiohttp_client):
    main, between = web.Application(), web.Application()
    add_django(main)
    between.add_subapp("/chat/", get_aio_subapp([path("room/", saying("room"))]))
    main.add_subapp("/a/", between)
    client = await aiohttp_client(main)
    for _ in range(2):
        assert await (await client.get("/a/chat/room/")).text() == "room"
        response = await client.get("/a/chat/nowhere/")
        assert "<title>Not Found</title>" in await response.text()
        response = await client.get("/a/other/")
        assert (response.status, await response.text()) == (404, "404: Not Found")


async def test_a_subapp_passes_the_whole_path_on(add_django, aiohttp_client):
    main = web.Application()
    main.add_subapp("/echo/", get_aio_subapp([path("room/", saying("room"))]))
    add_django(main)
    client = await aiohttp_client(main)
    for _ in range(2):
        answer = await (await client.get("/echo/below")).json()
        assert (answer["path"], answer["path_info"]) == ("/echo/below", "/echo/below")


async def test_a_subapp_alone_answers_404(aiohttp_client):
    client = await aiohttp_client(get_aio_subapp([path("room/", saying("room"))]))
    for headers in [{}, {"Expect": "100-continue"}]:
        response = await client.get("/nowhere/", headers=headers)
        assert (response.status, await response.text()) == (404, "404: Not Found")


async def test_a_mounted_subapp_without_django_answers_404(aiohttp_client):
    main = web.Application()
    main.add_subapp("/echo/", get_aio_subapp([path("room/", saying("room"))]))
    client = await aiohttp_client(main)
    for headers in [{}, {"Expect": "100-continue"}]:
        response = await client.get("/echo/nowhere/", headers=headers)
        assert (response.status, await response.text()) == (404, "404: Not Found")


async def test_the_nearest_fallback_has_the_miss(aiohttp_client):
    def wsgi_saying(text):
        def wsgi(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{text} {environ['SCRIPT_NAME']}".encode()]

        return wsgi

    def with_middleware(text):
        middleware = fallback_middleware(wsgi_saying(text))
        app = web.Application(middlewares=[middleware])
        app.cleanup_ctx.append(middleware.cleanup_ctx)
        return app

    inner = with_middleware("inner")
    inner.add_subapp("/chat/", get_aio_subapp([path("room/", saying("room"))]))
    setup_app = get_aio_application(wsgi_saying("setup"), urlconf=[])
    setup_app.add_subapp("/chat/", get_aio_subapp([path("room/", saying("room"))]))
    outer = with_middleware("outer")
    outer.add_subapp("/inner/", inner)
    outer.add_subapp("/setup/", setup_app)
    client = await aiohttp_client(outer)
    for _ in range(2):
        for url, text in {
            "/x": "outer ",
            "/inner/x": "inner /inner",
            "/inner/chat/x": "inner /inner",
            "/inner/chat/room/": "room",
            "/setup/x": "setup /setup",
            "/setup/chat/x": "setup /setup",
        }.items():
            assert await (await client.get(url)).text() == text


async def test_the_middleware_takes_over_at_its_place(aiohttp_client):
    seen = []

    def noting(name):
        @web.middleware
        async def middleware(request, handler):
            seen.append(name)
            return await handler(request)

        return middleware

    django = fallback_middleware(get_wsgi_application())
    app = web.Application(middlewares=[noting("outer"), django, noting("inner")])
    app.cleanup_ctx.append(django.cleanup_ctx)
    app.router.add_get("/own", saying("own"))
    client = await aiohttp_client(app)
    for url, expected in [("/sync/", "outer"), ("/sync/", "outer"), ("/own", "outer inner")]:
        seen.clear()
        assert (await client.get(url)).status == 200
        assert " ".join(seen) == expected


async def test_routes_added_during_startup_win_over_django(aiohttp_client):
    app = get_aio_application(get_wsgi_application())

    async def add_route(app):
        app.router.add_get("/{name}", saying("late"))

    app.on_startup.append(add_route)
    client = await aiohttp_client(app)
    assert await (await client.get("/late")).text() == "late"
    assert (await (await client.get("/sync/")).json())["server"] == "django"


@pytest.mark.parametrize("place", ["before", "after"])
async def test_a_route_that_hides_django_is_named(caplog, aiohttp_client, place):
    app = web.Application()
    if place == "before":
        app.router.add_get("/{tail:.*}", saying("everything"))
    setup(app, get_wsgi_application())
    if place == "after":
        app.router.add_get("/{tail:.*}", saying("everything"))
    with caplog.at_level(logging.WARNING, "aiodjango"):
        client = await aiohttp_client(app)
    assert "'/{tail}' matches every path" in caplog.text
    assert await (await client.get("/sync/")).text() == "everything"


async def test_nothing_is_named_where_django_is_reached(caplog, company, aiohttp_client):
    with caplog.at_level(logging.WARNING, "aiodjango"):
        await aiohttp_client(company)
    assert caplog.text == ""


def test_an_application_has_one_fallback():
    app = web.Application()
    setup(app, get_wsgi_application())
    with pytest.raises(RuntimeError, match="has a fallback to Django already"):
        setup(app, get_wsgi_application())


def test_setup_comes_before_the_start():
    app = web.Application()
    app.freeze()
    with pytest.raises(RuntimeError, match="before the application is started or mounted"):
        setup(app, get_wsgi_application())


def test_the_fallback_has_to_be_a_wsgi_application():
    with pytest.raises(TypeError, match="not 'wsgi'"):
        get_aio_application("wsgi")


def test_unknown_options_are_named():
    with pytest.raises(TypeError, match="thread_count"):
        get_aio_application(get_wsgi_application(), thread_count=3)


async def test_figures_of_the_fallback(aiohttp_client):
    may_end = threading.Event()

    def wsgi(environ, start_response):
        may_end.wait()
        start_response("204 No Content", [])
        return []

    app = get_aio_application(wsgi, urlconf=[], threads=1)
    client = await aiohttp_client(app)
    fallback = app[FALLBACK]
    requests = [asyncio.create_task(client.get("/")) for _ in range(3)]
    try:
        await until(lambda: (fallback.busy, fallback.pending) == (1, 2))
    finally:
        may_end.set()
    assert [response.status for response in await asyncio.gather(*requests)] == [204] * 3
    await until(lambda: (fallback.busy, fallback.pending) == (0, 0))
    assert (fallback.shed, fallback.abandoned) == (0, 0)


async def test_options_of_the_whole_server_reach_django(aiohttp_server):
    server = await aiohttp_server(get_aio_application())
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"<title>Not Found</title>" in answer
