"""Which application the client, the live servers and the fixtures serve: the project's own."""

import asyncio

import pytest
from aiohttp import web
from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase, override_settings

from aiodjango import get_aio_application
from aiodjango.test import AioClient, AioLiveServerTestCase
from tests.test.conftest import SITE
from tests.test.test_liveserver import read, running

pytestmark = pytest.mark.usefixtures("site")

QUESTIONS = web.AppKey("QUESTIONS", asyncio.Queue)
SETTING = {"AIO_APPLICATION_FACTORY": f"{__name__}.make_app"}


async def listen(app):
    """What a project's start-up begins: a task, here, that answers what it is asked."""
    questions = app[QUESTIONS] = asyncio.Queue()

    async def answer():
        while True:
            (await questions.get()).set_result("heard")

    task = asyncio.create_task(answer())
    yield
    task.cancel()


async def ask(request):
    answer = asyncio.get_running_loop().create_future()
    request.app[QUESTIONS].put_nowait(answer)
    return web.Response(text=await answer)


def make_app():
    app = web.Application()
    app.cleanup_ctx.append(listen)
    app.router.add_get("/ask/", ask)
    app.add_subapp("/site/", get_aio_application())
    return app


@pytest.fixture
def own_application(settings):
    settings.AIO_APPLICATION_FACTORY = SETTING["AIO_APPLICATION_FACTORY"]


async def test_fixture(own_application, aio_client):
    assert (await aio_client.get("/ask/")).text == "heard"
    assert (await aio_client.get("/site/headers/")).text == "text"
    assert (await aio_client.get("/site/aio/headers/")).text == "text"


def test_fixture_of_the_live_server(own_application, aio_live_server):
    assert read(aio_live_server + "/ask/") == b"heard"
    assert read(aio_live_server + "/site/headers/") == b"text"


def test_live_server(own_application, transactional_db):
    with running(AioLiveServerTestCase) as case:
        assert read(f"{case.live_server_url}/ask/") == b"heard"


@override_settings(**SITE, **SETTING)
class TestCaseTests(SimpleTestCase):
    async_client_class = AioClient

    async def test_client(self):
        for _ in range(2):
            assert (await self.async_client.get("/ask/")).text == "heard"

    async def test_another_client(self):
        """Each has an application of its own, new for each test."""
        assert (await AioClient().get("/ask/")).text == "heard"
        assert (await self.async_client.get("/ask/")).text == "heard"


async def test_an_application_of_the_clients_own_comes_first(own_application):
    async with AioClient(application=get_aio_application) as client:
        assert (await client.get("/headers/")).text == "text"


async def test_a_setting_that_is_wrong(settings, aio_client):
    settings.AIO_APPLICATION_FACTORY = "tests.test.nowhere.make_app"
    with pytest.raises(ImproperlyConfigured, match=r"_FACTORY .* could not be loaded"):
        await aio_client.get("/headers/")


def test_a_setting_that_is_wrong_for_a_live_server(settings, transactional_db):
    settings.AIO_APPLICATION_FACTORY = f"{__name__}.SETTING"
    with (
        pytest.raises(ImproperlyConfigured, match=r"_FACTORY .* is a dict"),
        running(AioLiveServerTestCase),
    ):
        pytest.fail("it has started")
