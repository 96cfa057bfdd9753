"""Names of lifted routes, url_for() and what the router lists."""

import pytest
from aiohttp import web
from django.urls import NoReverseMatch, include, path, re_path

from aiodjango import get_aio_application, get_aio_routes, get_aio_subapp


async def view(request, *args, **kwargs):
    return web.Response()


def names(app):
    return sorted(app.router)


def test_names_are_djangos_with_namespaces():
    chat = ([path("room/", view, name="room"), path("go-on/", view, name="go-on")], "chat")
    app = get_aio_subapp(
        [
            path("home/", view, name="home"),
            path("chat/", include(chat)),
            path("other/", include(chat, namespace="other")),
            path("nested/", include(([path("c/", include(chat))], "outer"))),
        ]
    )
    assert names(app) == [
        *("chat:go-on", "chat:room", "home", "other:go-on", "other:room"),
        *("outer:chat:go-on", "outer:chat:room"),
    ]


@pytest.mark.parametrize("name", ["with space", "1st", "class", "a:class", "", "naïve?"])
def test_a_name_that_aiohttp_refuses_is_left_out(name):
    app = get_aio_subapp([path("a/", view, name=name)])
    assert names(app) == []
    assert len(app.router.routes()) == 1


def test_the_first_of_equal_names_has_it():
    app = get_aio_subapp([path("a/", view, name="x"), path("b/", view, name="x")])
    assert str(app.router["x"].url_for()) == "/a/"


def test_a_name_of_the_application_stays_its_own():
    app = web.Application()
    host = app.router.add_get("/host", view, name="x")
    app.add_routes(get_aio_routes([path("a/", view, name="x")]))
    assert app.router["x"] is host.resource


def test_url_for_takes_strings_as_in_match_info_and_values():
    app = get_aio_subapp(
        [
            path("r/<slug:room>/<int:pk>/", view, name="room"),
            re_path(r"^y/(?P<year>\d{4})/$", view, name="year"),
            re_path(r"^p/(\d+)/$", view, name="positional"),
            path("ü/<str:text>/", view, name="text"),
            path("extra/<int:pk>/", view, {"x": 1}, name="extra"),
        ]
    )
    url_for = {name: resource.url_for for name, resource in app.router.named_resources().items()}
    assert str(url_for["room"](room="a-b", pk="7")) == "/r/a-b/7/"
    assert str(url_for["room"](room="a-b", pk=7)) == "/r/a-b/7/"
    assert str(url_for["year"](year="2026")) == "/y/2026/"
    assert str(url_for["positional"]("5")) == "/p/5/"
    assert str(url_for["text"](text="a b?%")) == "/%C3%BC/a%20b%3F%25/"
    assert str(url_for["extra"](pk=3)) == "/extra/3/"
    with pytest.raises(NoReverseMatch, match="not found"):
        url_for["room"](room="a/b", pk="7")
    with pytest.raises(NoReverseMatch, match="with keyword arguments"):
        url_for["room"](room="a", pk="seven")


def test_url_for_gives_the_mounted_path():
    inner, outer = web.Application(), web.Application()
    app = get_aio_subapp([path("r/<slug:room>/", view, name="room")])
    inner.add_subapp("/in/", app)
    outer.add_subapp("/out", inner)
    assert str(app.router["room"].url_for(room="x")) == "/out/in/r/x/"


async def test_url_for_of_a_matched_route(aiohttp_client):
    async def where(request, room):
        return web.Response(text=str(request.match_info.route.url_for(room="other")))

    app = web.Application()
    app.add_subapp("/m/", get_aio_subapp([path("r/<slug:room>/", where)]))
    client = await aiohttp_client(app)
    assert await (await client.get("/m/r/x/")).text() == "/m/r/other/"


def test_the_router_lists_each_lifted_route():
    app = get_aio_subapp(
        [path("a/", view), path("b/<int:pk>/", view), re_path(r"^c(\d)/$", lambda r: 1)]
    )
    assert [route.resource.canonical for route in app.router.routes()] == ["/a/", "/b/{pk}/"]
    assert {route.method for route in app.router.routes()} == {"*"}


def test_every_resource_can_be_listed():
    app = get_aio_application(lambda e, s: [], urlconf=[path("a/", view), path("b/", view)])
    resources = list(app.router.resources())
    assert [len(resource) for resource in resources] == [len([*r]) for r in resources]
    assert sum(map(len, resources)) == 2
    without_routes = [resource for resource in resources if not len(resource)]
    assert without_routes
    for resource in without_routes:
        with pytest.raises(RuntimeError, match="has no URL of its own"):
            resource.url_for()


def test_route_definitions_are_aiohttps():
    definitions = get_aio_routes([path("a/", view), path("b/", view)])
    assert all(isinstance(d, web.AbstractRouteDef) for d in definitions)
    assert repr(definitions[0]) == "<ViewRouteDef /a/ -> tests.routes.test_names.view>"


async def test_some_of_the_definitions_alone(aiohttp_client):
    app = web.Application()
    _, second = get_aio_routes([path("<slug:x>/", view), path("b/", view, {"x": "b"})])
    app.add_routes([second])
    client = await aiohttp_client(app)
    assert (await client.get("/b/")).status == 200
    assert (await client.get("/a/")).status == 404


async def test_the_same_definitions_on_two_applications(aiohttp_client):
    definitions = get_aio_routes([path("a/", view)])
    for _ in range(2):
        app = web.Application()
        app.add_routes(definitions)
        client = await aiohttp_client(app)
        assert (await client.get("/a/")).status == 200


async def test_every_method_is_answered(aiohttp_client):
    async def method(request):
        return web.Response(text=request.method)

    client = await aiohttp_client(get_aio_subapp([path("a/", method)]))
    for name in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]:
        assert await (await client.request(name, "/a/")).text() == name
    assert (await client.head("/a/")).headers["Content-Length"] == "4"
