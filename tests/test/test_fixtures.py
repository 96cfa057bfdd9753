"""The pytest fixtures, in this run and in runs of pytest of their own."""

import subprocess
import sys
import threading
from urllib.request import urlopen

import aiohttp
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group

from aiodjango import get_aio_application
from aiodjango.test import close_orm_threads
from pytest_aiodjango import AioLiveServer
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE
from tests.test.test_lifecycle import server_threads
from tests.test.urls import where

pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert server_threads() == []


async def test_rows_of_the_test(aio_client, db, half):
    await Group.objects.acreate(name="test")
    response = await aio_client.get(f"{half}/groups/")
    seen = response.json()
    assert seen["groups"] == ["test"]
    assert seen["connection"] == (await sync_to_async(where)())["connection"]
    await aio_client.post(f"{half}/groups/", {"name": "view"})
    assert await Group.objects.acount() == 2


async def test_rows_are_gone_afterwards(db):
    assert await Group.objects.acount() == 0


@pytest.mark.django_db
async def test_with_the_marker(aio_client, half):
    await Group.objects.acreate(name="test")
    assert (await aio_client.get(f"{half}/groups/")).json()["groups"] == ["test"]


async def test_committed_rows(aio_client, transactional_db, half):
    await aio_client.get(f"{half}/commit/")
    assert await Group.objects.filter(name="committed").aexists()


async def test_without_the_database(aio_client, half):
    assert (await aio_client.get(f"{half}/headers/")).text == "text"
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        await aio_client.get(f"{half}/groups/")


def test_sync(aio_client, db, half):
    Group.objects.create(name="test")
    response = async_to_sync(aio_client.get)(f"{half}/groups/")
    assert response.json()["groups"] == ["test"]
    assert response.json()["thread"] == threading.current_thread().name


def test_callbacks_on_commit(aio_client, db, half, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks:
        async_to_sync(aio_client.get)(f"{half}/commit/")
    assert len(callbacks) == 1


@pytest.fixture
async def websocket(aio_client):
    ws = await aio_client.ws_connect("/socket/")
    yield ws
    await ws.close()


async def test_in_an_async_fixture(websocket, db):
    assert await websocket.receive_json() == ["", "testserver"]


def test_live_server(aio_live_server, half):
    Group.objects.create(name="test")
    with urlopen(aio_live_server + f"{half}/groups/") as response:
        assert b'["test"]' in response.read()
    assert str(aio_live_server) == aio_live_server.url
    assert repr(aio_live_server) == f"<AioLiveServer at {aio_live_server.url}>"


async def test_live_server_in_an_async_test(aio_live_server: AioLiveServer):
    assert aio_live_server.ws_url == aio_live_server.url.replace("http://", "ws://")
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{aio_live_server.ws_url}/socket/") as ws,
    ):
        assert (await ws.receive_json())[0] == ""


async def test_aiohttps_own_client_needs_a_host(aiohttp_client, settings):
    settings.ALLOWED_HOSTS = ["testserver"]
    for headers, status in (({"Host": "testserver"}, 200), ({}, 400)):
        client = await aiohttp_client(get_aio_application(), headers=headers)
        for half in ("", "/aio"):
            async with client.get(f"{half}/seen/x/") as response:
                assert response.status == status
        await client.close()
    close_orm_threads()  # which have rendered the page of the coroutine view


# ---- In runs of their own ----


def run_pytest(folder, test, *options, **variables):
    """Run pytest on a single test file, with warnings as errors; return how it ended."""
    (folder / "test_it.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-p", "pytest_aiodjango", "-q", *options],
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )
    return done.returncode, done.stdout


def test_run_without_django(tmp_path):
    """It's loaded in the runs of all projects: it may take no time, and ask for nothing."""
    code, output = run_pytest(
        tmp_path,
        "import sys\n"
        "def test_nothing_is_imported():\n"
        "    assert not {'django', 'aiohttp', 'aiodjango', 'asgiref'} & set(sys.modules)\n"
        "def test_client(aio_client): pass\n",
    )
    assert ("1 passed" in output, "1 error" in output) == (True, True), output
    assert "ImproperlyConfigured: Requested setting DATABASES" in output
    assert code == 1


def test_run_in_strict_mode_and_without_pytest_django(tmp_path):
    code, output = run_pytest(
        tmp_path,
        "import django, pytest\n"
        "django.setup()\n"
        "@pytest.mark.asyncio(loop_scope='module')\n"
        "@pytest.mark.parametrize('number', [1, 2])\n"
        "async def test_client(aio_client, number):\n"
        "    response = await aio_client.get('/aio/', headers={'Host': 'localhost'})\n"
        "    assert response.json()['server'] == 'aiohttp'\n"
        "def test_nothing_is_left():\n"
        "    import threading\n"
        "    names = {thread.name for thread in threading.enumerate()}\n"
        "    assert not [name for name in names if name.startswith('aiodjango-')]\n",
        *["-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=strict", "--strict-markers"],
        *["-o", "asyncio_default_fixture_loop_scope=function"],
        DJANGO_SETTINGS_MODULE="tests.settings",
    )
    assert code == 0, output
    assert "3 passed" in output
