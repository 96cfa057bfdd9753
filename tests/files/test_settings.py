"""Where files are served: Django's settings, mounts, and what the settings lack."""

import pytest
from aiohttp import web
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application, setup
from tests.files.conftest import site


async def test_each_at_its_url(client):
    for name in ["static", "media"]:
        answer = await client.request("GET", f"/{name}/a.txt")
        assert (answer.status, answer.text) == (200, f"{name} file")


def test_the_application_lists_them(roots):
    resources = {
        resource.canonical: resource
        for resource in site(include_static=True, include_media=True).router.resources()
    }
    for path in ["/static", "/media"]:
        assert len(resources[path]) == 2
        assert [route.method for route in resources[path]] == ["GET", "HEAD"]


async def test_none_unless_asked_for(connect):
    client = await connect(site())
    answer = await client.request("GET", "/static/a.txt")
    assert "<title>Not Found</title>" in answer.text


async def test_the_2015_signature(connect):
    client = await connect(get_aio_application(None, True))
    assert (await client.request("GET", "/static/a.txt")).status == 200
    answer = await client.request("GET", "/sync/")
    assert answer.status == 200


async def test_in_an_existing_application(connect):
    app = web.Application()
    setup(app, get_wsgi_application(), True)
    client = await connect(app)
    assert (await client.request("GET", "/static/a.txt")).text == "static file"


async def test_beside_a_route_of_the_application(connect):
    async def made(request):
        return web.Response(text="made")

    app = site(include_static=True)
    app.router.add_get("/static/made.txt", made)
    client = await connect(app)
    assert (await client.request("GET", "/static/made.txt")).text == "made"
    assert (await client.request("GET", "/static/a.txt")).text == "static file"


@pytest.mark.parametrize(
    "static_url",
    ["static/", "/static/", "/outer/site/static/", "https://cdn.example/static/"],
)
async def test_under_mounts(settings, connect, static_url):
    settings.STATIC_URL = static_url
    outer, main = web.Application(), web.Application()
    outer.add_subapp("/site/", site(include_static=True))
    main.add_subapp("/outer/", outer)
    client = await connect(main)
    assert (await client.request("GET", "/outer/site/static/a.txt")).text == "static file"


@pytest.mark.parametrize("name", ["/shop", "/shop/"])
@pytest.mark.parametrize("mount", ["", "/shop", "/inside"])
async def test_behind_a_proxy_that_takes_the_prefix_away(settings, connect, name, mount):
    settings.FORCE_SCRIPT_NAME = name
    settings.STATIC_URL = "/shop/static/"  # what Django makes of "static/"
    app = main = site(include_static=True)
    if mount:
        main = web.Application()
        main.add_subapp(mount, app)
    client = await connect(main)
    assert (await client.request("GET", f"{mount}/static/a.txt")).text == "static file"


async def test_other_characters_in_a_url(settings, connect):
    settings.STATIC_URL = "/my%20files/v1.2/"
    client = await connect(site(include_static=True))
    assert (await client.request("GET", "/my%20files/v1.2/a.txt")).text == "static file"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"STATIC_ROOT": None}, "include_static requires STATIC_ROOT to name a folder, not None"),
        ({"MEDIA_ROOT": ""}, "include_media requires MEDIA_ROOT to name a folder, not ''"),
        ({"STATIC_URL": None}, "STATIC_URL = None is invalid for serving files"),
        (
            {"STATIC_URL": "https://cdn.example/"},
            "cdn.example/' is invalid for serving files: it must contain a path",
        ),
        ({"STATIC_URL": "https://cdn.example"}, "it must contain a path"),
        (
            {"MEDIA_URL": "/"},
            "MEDIA_URL = '/' is invalid for serving files: it must contain a path",
        ),
    ],
)
def test_settings_that_name_no_files(roots, settings, names, message):
    for name, value in names.items():
        setattr(settings, name, value)
    with pytest.raises(ImproperlyConfigured, match=message):
        site(include_static=True, include_media=True)
