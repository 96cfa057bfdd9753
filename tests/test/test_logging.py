"""Django's logging stays as the test has it: nothing here sets Django up again."""

import logging

import pytest
from aiohttp import web
from django.core.wsgi import get_wsgi_application
from django.test import SimpleTestCase, override_settings

from aiodjango import get_aio_application, setup
from aiodjango.test import AioClient, AioLiveServerTestCase
from tests.test.conftest import SITE
from tests.test.test_liveserver import read, running, status


@pytest.fixture(autouse=True)
def handler_stays():
    """A configuration of logging would take it away."""
    logger, handler = logging.getLogger("django.request"), logging.NullHandler()
    logger.addHandler(handler)
    yield
    assert handler in logger.handlers
    logger.removeHandler(handler)


def test_application(site):
    get_aio_application()
    setup(web.Application())


async def test_client(site, caplog):
    async with AioClient() as client:
        for path in ("/missing/", "/refuse/", "/aio/refuse/"):
            await client.get(path)
            assert caplog.records[-1].name == "django.request"


def test_live_server(transactional_db, site, caplog):
    with running(AioLiveServerTestCase) as case:
        assert status(f"{case.live_server_url}/missing/") == 404
    assert [record.name for record in caplog.records] == ["django.request"]


def make_with_another_set_up():
    return get_aio_application(get_wsgi_application())


async def test_client_of_an_application_that_sets_django_up(site):
    async with AioClient(application=make_with_another_set_up) as client:
        await client.get("/headers/")


def test_live_server_of_an_application_that_sets_django_up(transactional_db, site):
    with running(AioLiveServerTestCase, application=staticmethod(make_with_another_set_up)) as case:
        read(f"{case.live_server_url}/headers/")


@override_settings(**SITE)
class AssertLogsTests(SimpleTestCase):
    async_client_class = AioClient

    async def test_logs(self):
        for path in ("/missing/", "/refuse/", "/aio/refuse/"):
            with self.assertLogs("django.request", "WARNING") as logs:
                await self.async_client.get(path)
            assert len(logs.records) == 1
