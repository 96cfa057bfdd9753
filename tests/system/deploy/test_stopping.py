"""How a deployed site ends and begins again: finishing its work, leaving nothing behind."""

import asyncio
import signal

import pytest

from tests.conftest import require
from tests.support.server import PROJECT, gunicorn, is_alive, serve, until

GUNICORN = [*gunicorn("--workers=2"), "--bind=fd://{fd}"]
COMMANDS = {
    "gunicorn": GUNICORN,
    "preload": [*GUNICORN, "--preload"],
    "uvloop": [*gunicorn(worker="aiodjango.worker.GunicornUVLoopWorker"), "--bind=fd://{fd}"],
    "aiohttp's worker": [*gunicorn(worker="aiohttp.GunicornWebWorker"), "--bind=fd://{fd}"],
    "run_app": ["-m", f"{PROJECT}.run_app", "{fd}"],
}
WORKERS = {"gunicorn": 2, "preload": 2, "uvloop": 1, "aiohttp's worker": 1, "run_app": 1}


@pytest.fixture(params=COMMANDS)
async def server(request, tmp_path):
    if request.param != "run_app":
        require(module="gunicorn")
    if request.param == "uvloop":
        require(module="uvloop")
    with serve(COMMANDS[request.param], tmp_path / "log") as server:
        server.pids = await server.workers(WORKERS[request.param])
        yield server
        assert "Traceback" not in server.output()
        assert "ResourceWarning" not in server.output()


@pytest.fixture
async def client(server):
    async with server.client() as client:
        yield client


async def text(client, path, started):
    async with client.get(path, headers={"X-Started": str(started)}) as response:
        return response.status, await response.text()


async def start_slow_requests(client, folder):
    """Begin one slow request in each half, and return once both views run."""
    tasks = []
    for kind in "sync", "coroutine":
        started = folder / kind
        tasks.append(asyncio.ensure_future(text(client, f"/slow/{kind}/", started)))
        await until(started.exists)
    return tasks


async def test_term_finishes_what_is_under_way(server, client, tmp_path):
    tasks = await start_slow_requests(client, tmp_path)
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.gather(*tasks) == [(200, "finished"), (200, "finished")]
    assert await server.wait() == 0
    assert not server.left_behind()


async def test_term_does_not_wait_for_an_idle_client(server, client):
    """An open keep-alive connection, with nothing under way, delays nobody."""
    async with client.get("/sync/1/") as response:
        assert response.status == 200
    server.process.send_signal(signal.SIGTERM)
    assert await server.wait() == 0
    assert not server.left_behind()


async def test_interrupt_ends_too(server):
    server.process.send_signal(signal.SIGINT)
    assert await server.wait() == 0
    assert not server.left_behind()


@pytest.mark.parametrize("server", ["gunicorn", "preload", "uvloop"], indirect=True)
async def test_hup_replaces_the_workers_and_drops_no_request(server, client, tmp_path):
    tasks = await start_slow_requests(client, tmp_path)
    server.process.send_signal(signal.SIGHUP)
    assert await asyncio.gather(*tasks) == [(200, "finished"), (200, "finished")]
    await server.workers(len(server.pids), old=server.pids)
    await until(lambda: not any(map(is_alive, server.pids)))
    server.process.send_signal(signal.SIGTERM)
    assert await server.wait() == 0
    assert not server.left_behind()
