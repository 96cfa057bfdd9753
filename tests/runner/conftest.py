"""An application on a real port, under a runner of the test's choice."""

import pytest
from aiohttp import web

from aiodjango import AioRunner
from tests.gateway.client import Client

RUNNERS = {"ours": AioRunner, "aiohttp's": web.AppRunner}


@pytest.fixture
async def serve():
    """A function that starts an application; returns a function that opens connections to it."""
    runners = []

    async def start(app, *, make_runner=AioRunner, **options):
        options = {"access_log": None, "shutdown_timeout": 1.0, **options}
        if make_runner is AioRunner:
            options.setdefault("idle_grace", 0)
        runner = make_runner(app, **options)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return Server(runner)

    yield start
    for runner in runners:
        await runner.cleanup()


class Server:
    def __init__(self, runner):
        self.runner = runner
        self.port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    def client(self):
        return Client("127.0.0.1", self.port)

    async def request(self, method, path, **options):
        """One request on a connection of its own."""
        async with self.client() as client:
            return await client.request(method, path, **options)

    async def raw(self, data):
        """Send these bytes; return all that comes until the end of the connection."""
        async with self.client() as client:
            await client.send(data)
            return await client.reader.read()
