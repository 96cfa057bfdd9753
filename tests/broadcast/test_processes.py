"""Events between real processes: workers of gunicorn, commands, and code without an event loop."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.conftest import require
from tests.support.environment import ROOT, environment
from tests.support.postgres import Cluster
from tests.support.server import Server, serve
from tests.support.waiting import DEADLINE

COMMAND = [
    "-m",
    "gunicorn",
    "tests.broadcast.project.wsgi:app",
    "--worker-class=aiodjango.worker.GunicornWorker",
    "--workers=2",
    "--bind=fd://{fd}",
    "--no-control-socket",
]
SETTINGS = "tests.broadcast.project.settings"


@pytest.fixture(scope="module", params=["redis", "postgres"])
def variables(request: pytest.FixtureRequest, postgres: Cluster) -> dict[str, str]:
    """What the processes find in their environment."""
    require(module="gunicorn")
    if request.param == "redis":
        url = request.getfixturevalue("redis").url
        value = {"BACKEND": "aiodjango.broadcast.redis.RedisBackend", "LOCATION": url}
    else:
        value = {"BACKEND": "aiodjango.broadcast.postgres.PostgresBackend"}
    return {
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PYTHONPATH": str(ROOT),
        "TEST_BROADCAST": json.dumps(value),
        "TEST_DATABASES": json.dumps(
            {"default": postgres.database(), "other": postgres.database()}
        ),
    }


@pytest.fixture(scope="module")
def server(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("broadcast") / "log"
    with serve(COMMAND, log, settings=SETTINGS, variables=variables) as server:
        yield server


@pytest.fixture
async def bells(server: Server):
    """A WebSocket in each of two workers."""
    async with AsyncExitStack() as stack:
        found: dict[int, aiohttp.ClientWebSocketResponse] = {}
        async with asyncio.timeout(DEADLINE):
            while len(found) < 2:
                client = await stack.enter_async_context(server.client())
                ws = await stack.enter_async_context(client.ws_connect("/bell/"))
                found.setdefault((await ws.receive_json())["pid"], ws)
        yield list(found.values())


async def hears(ws: aiohttp.ClientWebSocketResponse, number: int) -> list[object]:
    async with asyncio.timeout(DEADLINE):
        return [await ws.receive_json() for _ in range(number)]


@pytest.fixture
def python(variables: dict[str, str]) -> Callable[..., Awaitable[tuple[int, str, str]]]:
    """Runs python in another process; gives its return code, output and errors."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *arguments),
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE):
            output, errors = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()

    return run


async def test_a_websocket_reaches_those_of_all_workers(bells):
    await bells[0].send_json({"said": "here"})
    for ws in bells:
        assert await hears(ws, 1) == [{"said": "here"}]


async def test_what_is_committed_is_heard_and_what_is_rolled_back_is_not(server, bells):
    async with server.client() as client:
        for query, answer in ("n=2&name=x", "committed"), ("n=2&fail=1&name=y", "rolled back"):
            async with client.get(f"/ring/?{query}") as response:
                assert await response.text() == answer
        async with client.get("/ring/?n=2&name=z"):
            pass
    for ws in bells:
        # What is sent at once may come before or after what waits for the commit.
        heard = await hears(ws, 7)
        numbered = [event for event in heard if "number" in event]
        assert numbered == [{"number": number, "name": name} for name in "xz" for number in (0, 1)]
        assert [event for event in heard if "now" in event] == [{"now": name} for name in "xyz"]


async def test_the_same_event_twice_is_heard_twice(python, bells):
    await python(
        "-c",
        "import django; django.setup()\n"
        "from django.db import transaction\n"
        "from aiodjango.broadcast import publish\n"
        "with transaction.atomic():\n"
        "    publish('everybody', 'ring'); publish('everybody', 'ring')\n",
    )
    for ws in bells:
        assert await hears(ws, 2) == ["ring", "ring"]


CODE: dict[str, Callable[[], str]] = {
    "script": lambda: "publish('everybody', [1])",
    "thread": lambda: (
        "import threading; t = threading.Thread(target=publish, args=('everybody', [1]));"
        " t.start(); t.join()"
    ),
    "fork": lambda: (
        "import os\n"
        "publish('nobody', 0)\n"
        "if os.fork():\n"
        "    assert os.wait()[1] == 0\n"
        "else:\n"
        "    publish('everybody', [1])\n"
    ),
    "coroutine": lambda: (
        "import asyncio; from aiodjango.broadcast import apublish\n"
        "asyncio.run(apublish('everybody', [1]))"
    ),
}


@pytest.mark.parametrize("code", CODE)
async def test_code_without_a_server_is_heard(code, python, bells):
    done = await python(
        "-W",
        "ignore:This process:DeprecationWarning",  # a fork beside the thread that sends
        "-c",
        "import django; django.setup()\nfrom aiodjango.broadcast import publish\n" + CODE[code](),
    )
    assert done == (0, "", "")
    for ws in bells:
        assert await hears(ws, 1) == [[1]]


async def test_the_command_publishes(python, bells):
    done = await python("-m", "django", "aiobroadcast", "everybody", '{"ü": [1]}')
    assert done == (0, "", "")
    for ws in bells:
        assert await hears(ws, 1) == [{"ü": [1]}]


async def test_the_command_prints_what_is_published(variables, bells):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "django", "aiobroadcast", "--listen", "bell"),
        env=environment(**variables),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            reading = asyncio.create_task(process.stdout.readline())
            while not reading.done():  # until it has subscribed
                await bells[0].send_json("ü")
                await asyncio.wait([reading], timeout=0.1)
            assert await reading == '"ü"\n'.encode()
    finally:
        process.terminate()
        await process.wait()


async def test_the_command_refuses_what_is_no_json(python):
    code, _, errors = await python("-m", "django", "aiobroadcast", "bell", "{")
    assert code == 1
    assert "The event is not JSON" in errors
