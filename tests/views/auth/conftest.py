"""The site of urls.py on a server, users, and clients of it."""

import aiohttp
import pytest
from aiohttp import web
from asgiref.sync import SyncToAsync
from django.contrib.auth.models import User
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.test import Client

from aiodjango import get_aio_application
from aiodjango.orm import close_orm_threads, run_in_django
from tests.support.browser import page  # noqa: F401
from tests.support.waiting import DEADLINE


@pytest.fixture
def users(transactional_db):
    ann = User.objects.create_user("ann", password="secret")
    ben = User.objects.create_user("ben", password="secret")
    yield ann, ben
    close_orm_threads()
    # Where asgiref makes the ORM calls of whatever has no ORM threads.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result(DEADLINE)


@pytest.fixture
def session_settings(settings, tmp_path):
    settings.SESSION_FILE_PATH = str(tmp_path)
    settings.ROOT_URLCONF = "tests.views.auth.urls"
    return settings


@pytest.fixture
async def make_client(aiohttp_client, users, session_settings):
    """Makes a client of a new server; `mount` is the prefix of the site."""

    async def make(mount="", **options):
        app = get_aio_application(get_wsgi_application(), **options)
        if mount:
            main = web.Application()
            main.add_subapp(mount, app)
            app = main
        # An IP address may set cookies.
        return await aiohttp_client(app, cookie_jar=aiohttp.CookieJar(unsafe=True))

    return make


@pytest.fixture
async def client(make_client):
    return await make_client()


@pytest.fixture
def log_in(session_settings):
    """Logs a user in, as Django's test client does, with the cookie of an aiohttp client."""

    async def log_in(client, user):
        def cookie():
            django = Client()
            django.force_login(user, "django.contrib.auth.backends.ModelBackend")
            return django.cookies[session_settings.SESSION_COOKIE_NAME].value

        value = await run_in_django(cookie)
        client.session.cookie_jar.update_cookies({session_settings.SESSION_COOKIE_NAME: value})
        return value

    return log_in
