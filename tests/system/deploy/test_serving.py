"""One site on every server it can be deployed to: each kind of request, the right half answers."""

import hashlib
import io
import os

import aiohttp
import pytest

from tests.conftest import require
from tests.support.server import PROJECT, gunicorn, serve, serve_unix

COMMANDS = {
    "one worker": [*gunicorn("--workers=1"), "--bind=fd://{fd}"],
    "two workers": [*gunicorn("--workers=2"), "--bind=fd://{fd}"],
    "preload": [*gunicorn("--workers=2", "--preload"), "--bind=fd://{fd}"],
    "uvloop": [*gunicorn(worker="aiodjango.worker.GunicornUVLoopWorker"), "--bind=fd://{fd}"],
    "aiohttp's worker": [*gunicorn(worker="aiohttp.GunicornWebWorker"), "--bind=fd://{fd}"],
    "unix socket": gunicorn(),
    "run_app": ["-m", f"{PROJECT}.run_app", "{fd}"],
}


@pytest.fixture(scope="module", params=COMMANDS)
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    command = COMMANDS[request.param]
    if "gunicorn" in command:
        require(module="gunicorn")
    if request.param == "uvloop":
        require(module="uvloop")
    if request.param == "unix socket":
        path = str(folder / "socket")
        running = serve_unix([*command, f"--bind=unix:{path}"], path, folder / "log")
    else:
        running = serve(command, folder / "log")
    with running as server:
        server.name = request.param
        yield server
        assert "Traceback" not in server.output()
        assert "ResourceWarning" not in server.output()


@pytest.fixture
async def client(server):
    async with server.client() as client:
        yield client


async def test_sync_view_is_answered_by_django_in_a_thread(client):
    async with client.get("/sync/7/") as response:
        answer = await response.json()
    assert answer["request"] == "django"
    assert answer["number"] == 7
    assert not answer["main_thread"]


async def test_coroutine_view_is_answered_by_aiohttp_on_the_loop(client, server):
    async with client.get("/coroutine/7/") as response:
        answer = await response.json()
    assert answer["request"] == "aiohttp"
    assert answer["number"] == 7
    assert answer["main_thread"]
    assert answer["loop"] == ("uvloop" if server.name == "uvloop" else "asyncio")


async def test_both_halves_live_in_one_process(client):
    """One connection has one worker behind it."""
    async with client.get("/sync/1/") as response:
        pid = (await response.json())["pid"]
    async with client.get("/coroutine/1/") as response:
        assert (await response.json())["pid"] == pid


async def test_every_worker_answers(server):
    number = 2 if server.name in ("two workers", "preload") else 1
    pids = await server.workers(number)
    assert (server.process.pid in pids) == (server.name == "run_app")


async def test_websocket(client):
    async with client.ws_connect("/echo/") as socket:
        await socket.send_str("one")
        await socket.send_str("two")
        first, second = await socket.receive_str(), await socket.receive_str()
    pid, _, text = first.partition(": ")
    assert pid.isdecimal()
    assert text == "one"
    assert second == f"{pid}: two"


@pytest.mark.parametrize("size", [10, 8 * 1024 * 1024], ids=["small", "above every memory limit"])
async def test_upload(client, size):
    content = os.urandom(size)
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(content), filename="data.bin")
    async with client.post("/upload/", data=form) as response:
        answer = await response.json()
    assert answer["request"] == "django"
    assert answer["name"] == "data.bin"
    assert answer["size"] == size
    assert answer["sha256"] == hashlib.sha256(content).hexdigest()


async def test_static_file_through_the_fallback(client):
    async with client.get("/static/app.css") as response:
        assert response.status == 200
        assert response.content_type == "text/css"
        assert await response.text() == "body { color: teal; }\n"


async def test_unknown_path_is_djangos_404(client):
    async with client.get("/nowhere/") as response:
        assert response.status == 404
        assert "The requested resource was not found on this server." in await response.text()
