"""The live server test cases: a real server in a thread, for the time of a class."""

import asyncio
import json
import threading
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import urlopen

import aiohttp
import pytest
from aiohttp import web
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connections
from django.test import override_settings
from django.urls import path, re_path

from aiodjango import get_aio_application, setup
from aiodjango.test import AioLiveServerTestCase, AioStaticLiveServerTestCase
from tests.support.waiting import DEADLINE
from tests.test.conftest import SITE
from tests.test.test_lifecycle import server_threads
from tests.test.urls import groups


def read(url, data=None):
    with urlopen(url, data) as response:
        return response.read()


def status(url):
    try:
        read(url)
    except HTTPError as error:
        error.close()
        return error.code
    return 200


class LiveTests(AioLiveServerTestCase):
    """A site with the database of the test."""

    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(override_settings(**SITE))
        super().setUpClass()

    def test_connections(self):
        """As with Django's live server, one to a database in memory is shared."""
        Group.objects.create(name="test")
        for half in ("", "/aio"):
            seen = json.loads(read(f"{self.live_server_url}{half}/groups/"))
            assert seen["groups"] == ["test"]
            is_shared = seen["connection"] == id(connections["default"])
            assert is_shared == connections["default"].is_in_memory_db()
            assert seen["thread"] != threading.current_thread().name

    def test_writing(self):
        for half in ("", "/aio"):
            read(f"{self.live_server_url}{half}/commit/")
            assert Group.objects.filter(name="committed").delete()[0] == 1

    def test_websocket(self):
        async def talk():
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"{self.ws_url}/socket/") as ws,
            ):
                await ws.receive_json()
                await ws.send_str("socket")
                return await ws.receive_json()

        assert asyncio.run(talk())[0] == 1
        assert Group.objects.get().name == "socket"

    async def test_in_an_async_test(self):
        await Group.objects.acreate(name="test")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.live_server_url}/aio/groups/") as response,
        ):
            assert (await response.json())["groups"] == ["test"]

    def test_requests_at_once(self):
        answers = []
        urls = [f"{self.live_server_url}/aio/stream/", f"{self.live_server_url}/stream/"] * 4
        threads = [threading.Thread(target=lambda u=u: answers.append(read(u))) for u in urls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        assert len(answers) == len(urls)

    def test_exception_of_a_view(self):
        assert status(f"{self.live_server_url}/fail/") == 500
        assert status(f"{self.live_server_url}/aio/fail/") == 500


@contextmanager
def running(base, **attributes):
    """A live server outside a test case."""
    case = type("Live", (base,), attributes)
    with override_settings(ALLOWED_HOSTS=[*settings.ALLOWED_HOSTS, case.allowed_host]):
        try:
            case._start_server_thread()
            yield case
        finally:
            case.doClassCleanups()
    assert server_threads() == []
    assert not case.server_thread.is_alive()


class Urls:
    """A URLconf whose coroutine view takes every path."""

    async def any_view(request):
        return web.Response(text="any")

    urlpatterns = [path("groups/", groups), re_path(r"^", any_view)]


def test_static_files_of_the_finders_come_before_all_views(transactional_db, settings):
    settings.ROOT_URLCONF = Urls
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.test"]
    with running(AioStaticLiveServerTestCase) as case:
        assert read(f"{case.live_server_url}/static/testing/app.css") == b"p { color: red }\n"
        assert status(f"{case.live_server_url}/static/missing.css") == 404
        assert read(f"{case.live_server_url}/other/") == b"any"


def test_static_and_media_files_of_folders(transactional_db, settings, tmp_path):
    for name in ("static", "media"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.txt").write_text(name)
    settings.STATIC_ROOT, settings.MEDIA_ROOT = tmp_path / "static", tmp_path / "media"
    settings.MEDIA_URL = "/media/"
    settings.ROOT_URLCONF = Urls
    with running(AioLiveServerTestCase) as case:
        assert read(f"{case.live_server_url}/static/file.txt") == b"static"
        assert read(f"{case.live_server_url}/media/file.txt") == b"media"
        assert read(f"{case.live_server_url}/file.txt") == b"any"


def test_files_of_a_site_under_a_prefix(transactional_db, settings, tmp_path):
    (tmp_path / "file.txt").write_text("static")
    settings.STATIC_ROOT, settings.STATIC_URL = tmp_path, "static/"
    settings.ROOT_URLCONF = Urls

    def make():
        host = web.Application()
        host.add_subapp("/site/", get_aio_application())
        return host

    with running(AioLiveServerTestCase, application=staticmethod(make)) as case:
        assert read(f"{case.live_server_url}/site/static/file.txt") == b"static"
        assert read(f"{case.live_server_url}/site/other/") == b"any"
        assert status(f"{case.live_server_url}/other/") == 404


def test_application_that_fails_to_start(transactional_db, site):
    async def fail(app):
        raise OSError("no such service")

    def make():
        app = get_aio_application()
        app.on_startup.append(fail)
        return app

    with (
        pytest.raises(OSError, match="no such service"),
        running(AioLiveServerTestCase, application=staticmethod(make)),
    ):
        pytest.fail("it has started")


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_application_that_is_not_djangos(transactional_db, kind):
    """The last kind has no close()."""

    def application(environ, start_response):
        start_response("200 OK", [])
        return kind([b"one ", b"two"])

    def make():
        app = web.Application()
        setup(app, application)
        return app

    with running(AioLiveServerTestCase, application=staticmethod(make)) as case:
        for _ in range(2):
            assert read(case.live_server_url) == b"one two"


def test_the_end_may_come_twice(transactional_db, site):
    with running(AioLiveServerTestCase) as case:
        read(f"{case.live_server_url}/headers/")
    case.server_thread.terminate()
    assert not case.server_thread.is_alive()


def test_two_servers_at_once(transactional_db, site):
    with running(AioLiveServerTestCase) as one, running(AioLiveServerTestCase) as other:
        assert one.live_server_url != other.live_server_url
        for case in (one, other):
            assert read(f"{case.live_server_url}/aio/headers/") == b"text"


async def test_open_connections_do_not_hold_up_the_end(transactional_db, site):
    with running(AioLiveServerTestCase) as case:
        async with aiohttp.ClientSession() as session:
            response = await session.get(f"{case.live_server_url}/chat/")
            assert await response.content.readline() == b"ready\n"
            response.close()
