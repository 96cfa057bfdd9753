"""Sites whose coroutine views do what a test asks of them, each in a process of its own."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import aiohttp
import pytest

from tests.support.postgres import postgres  # noqa: F401
from tests.support.server import DEADLINE, serve

COMMAND = ["-m", "tests.orm.project.serve", "{fd}"]
SETTINGS = "tests.orm.project.settings"


def as_step(step):
    return [step] if isinstance(step, str) else step


class Client:
    """A client of a site. A step is the name of a method of Steps, or that with arguments."""

    def __init__(self, session):
        self.session = session

    async def steps(self, *steps):
        return await self._post("/steps/", steps)

    async def _post(self, path, steps):
        async with self.session.post(path, json=[as_step(step) for step in steps]) as response:
            assert response.status == 200, await response.text()
            return await response.json() if response.content_length else None

    async def many(self, number, *steps):
        """Have as many views do the same at once."""
        return await asyncio.gather(*(self.steps(*steps) for _ in range(number)))

    @asynccontextmanager
    async def stream(self, *steps):
        """An iterator of the results, after the answer has begun."""
        steps = [as_step(step) for step in steps]
        async with self.session.post("/stream/", json=steps) as response:
            assert response.status == 200
            await response.content.readline()
            yield (json.loads(line) async for line in response.content)

    @asynccontextmanager
    async def socket(self):
        async with self.session.ws_connect("/socket/") as ws:

            async def step(*step):
                await ws.send_json(step)
                return await ws.receive_json(timeout=DEADLINE)

            yield step

    async def background(self, name, *steps):
        await self._post(f"/background/{name}/", steps)

    async def results(self, name):
        async with self.session.get(f"/results/{name}/") as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def sync(self):
        async with self.session.get("/sync/") as response:
            return await response.json()


@contextmanager
def running_site(folder, database, **settings):
    settings = {"DATABASES": {"default": database}, **settings}
    log = folder / "log"
    with serve(
        [*COMMAND, json.dumps(settings).replace("{", "{{").replace("}", "}}")],
        log,
        settings=SETTINGS,
    ) as server:
        yield server


@pytest.fixture
async def site(tmp_path):
    """Start a site on a database, and return a client of it."""
    async with AsyncExitStack() as stack:

        async def start(database, **settings):
            server = stack.enter_context(running_site(tmp_path, database, **settings))
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    f"http://127.0.0.1:{server.address}",
                    connector=aiohttp.TCPConnector(limit=0),
                    timeout=aiohttp.ClientTimeout(DEADLINE),
                )
            )
            client = Client(session)
            client.server = server
            await client.steps()
            return client

        yield start


@pytest.fixture
def sqlite(tmp_path):
    """An entry for DATABASES."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "db.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    """A function that makes an entry for DATABASES, for each database in turn."""
    if request.param == "sqlite":
        entry = request.getfixturevalue("sqlite")
        return lambda **settings: {**entry, **settings}
    return request.getfixturevalue("postgres").database
