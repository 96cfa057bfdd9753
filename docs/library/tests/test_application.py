import pytest
from aiohttp import web

from aiodjango import get_aio_application


async def status(request):
    return web.json_response({"ok": True})


def make_app():
    app = get_aio_application()
    app.router.add_get("/status/", status)
    return app


@pytest.fixture
def client(settings, aio_client):
    settings.AIO_APPLICATION_FACTORY = f"{__name__}.make_app"
    return aio_client


async def test_status(client):
    response = await client.get("/status/")
    assert response.json() == {"ok": True}
