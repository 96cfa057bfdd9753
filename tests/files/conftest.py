"""Folders with static and media files, and raw clients of a site that serves them."""

from contextlib import AsyncExitStack

import pytest
from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application
from tests.gateway.client import Client
from tests.support.browser import page  # noqa: F401


@pytest.fixture
def roots(settings, tmp_path):
    """The folder with the two folders, and a file that nobody may see."""
    for name in ["static", "media"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"{name} file")
    (tmp_path / "secret.txt").write_text("secret")
    settings.ALLOWED_HOSTS = ["test"]  # what the client calls it
    settings.STATIC_ROOT = tmp_path / "static"
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.MEDIA_URL = "media/"
    return tmp_path


@pytest.fixture
def static(roots):
    return roots / "static"


@pytest.fixture
def media(roots):
    return roots / "media"


def site(**options):
    return get_aio_application(get_wsgi_application(), **options)


@pytest.fixture
async def connect(roots, aiohttp_server):
    """Returns a client's connection to a new server for an application, or for a site."""
    async with AsyncExitStack() as connections:

        async def connect(app=None):
            server = await aiohttp_server(app or site(include_static=True, include_media=True))
            return await connections.enter_async_context(Client(server.host, server.port))

        yield connect


@pytest.fixture
async def client(connect):
    return await connect()
