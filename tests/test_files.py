"""include_static and include_media: files from the event loop."""

import asyncio

import pytest
from aiohttp import web
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application, setup


@pytest.fixture
def roots(settings, tmp_path):
    for name in ["static", "media"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"{name} file")
    (tmp_path / "secret.txt").write_text("secret")
    settings.STATIC_ROOT = tmp_path / "static"
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.MEDIA_URL = "media/"
    return tmp_path


def site(**options):
    return get_aio_application(get_wsgi_application(), **options)


async def test_files_at_their_urls(roots, aiohttp_client):
    client = await aiohttp_client(site(include_static=True, include_media=True))
    for name in ["static", "media"]:
        response = await client.get(f"/{name}/a.txt")
        assert (response.status, await response.text()) == (200, f"{name} file")
    assert (await client.get("/static/none.txt")).status == 404


async def test_none_unless_asked_for(roots, aiohttp_client):
    client = await aiohttp_client(site())
    assert "<title>Not Found</title>" in await (await client.get("/static/a.txt")).text()


async def test_the_2015_signature(roots, aiohttp_client):
    client = await aiohttp_client(get_aio_application(None, True))
    assert (await client.get("/static/a.txt")).status == 200
    assert (await client.get("/sync/")).status == 200


@pytest.mark.parametrize("static_url", ["static/", "/static/", "/site/static/"])
async def test_under_a_mount(roots, settings, aiohttp_client, static_url):
    settings.STATIC_URL = static_url
    main = web.Application()
    main.add_subapp("/site/", site(include_static=True))
    client = await aiohttp_client(main)
    assert await (await client.get("/site/static/a.txt")).text() == "static file"


async def test_in_an_existing_application(roots, aiohttp_client):
    app = web.Application()
    setup(app, get_wsgi_application(), True)
    client = await aiohttp_client(app)
    assert await (await client.get("/static/a.txt")).text() == "static file"


async def test_no_path_leads_out_of_the_folder(roots, aiohttp_server):
    server = await aiohttp_server(site(include_static=True))
    for path in ["/static/../secret.txt", "/static/%2e%2e/secret.txt", "/static/..%2fsecret.txt"]:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answer.split()[1] in (b"403", b"404")
        assert b"secret" not in answer.partition(b"\r\n\r\n")[2].replace(b"/secret.txt", b"")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {"STATIC_ROOT": None},
            "STATIC_ROOT = None is not a folder: run `manage.py collectstatic`",
        ),
        ({"STATIC_ROOT": "/no/such/folder"}, "STATIC_ROOT = '/no/such/folder' is not a folder"),
        ({"STATIC_URL": None}, "can't be served at STATIC_URL = None"),
        ({"STATIC_URL": "http://cdn.example/"}, "it has to name a path"),
        ({"MEDIA_ROOT": ""}, "MEDIA_ROOT = '' is not a folder"),
    ],
)
def test_settings_that_name_no_files(roots, settings, names, message):
    for name, value in names.items():
        setattr(settings, name, value)
    with pytest.raises(ImproperlyConfigured, match=message):
        site(include_static=True, include_media=True)
