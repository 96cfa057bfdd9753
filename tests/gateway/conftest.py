"""Real servers for the gateway: aiohttp on a port of its own, every request to the gateway."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from aiodjango.gateway import Gateway
from tests.gateway.client import Client
from tests.support import waiting

Serve = Callable[..., Awaitable["Server"]]


class Server:
    """A running aiohttp server whose every request goes to a gateway."""

    def __init__(self, gateway: Gateway, runner: web.AppRunner, site: web.BaseSite) -> None:
        self.gateway = gateway
        self.runner = runner
        self.site = site

    @property
    def port(self) -> int:
        return self.runner.addresses[0][1]

    @property
    def connections(self) -> int:
        """Connections that are open (aiohttp keeps one listed until its handler ends)."""
        return sum(protocol.transport is not None for protocol in self.runner.server.connections)

    def client(self) -> Client:
        return Client("127.0.0.1", self.port)

    async def get(self, path: str = "/", **kwargs: Any):
        """One GET on a connection of its own."""
        async with self.client() as client:
            return await client.request("GET", path, **kwargs)

    async def post(self, path: str, body: bytes, **kwargs: Any):
        async with self.client() as client:
            return await client.request("POST", path, body=body, **kwargs)


@pytest.fixture
async def serve(tmp_path) -> AsyncIterator[Serve]:
    """A function that starts a server for a WSGI application; all end with the test."""
    servers: list[Server] = []
    before = set(threading.enumerate())

    async def start(
        application,
        *,
        mount: str = "",
        middlewares=(),
        unix: bool = False,
        ssl_context=None,
        runner_options=None,
        **options: Any,
    ) -> Server:
        gateway = Gateway(application, **options)
        gateway.mount = mount

        # A middleware sees also what no route matches: "OPTIONS *", say.
        @web.middleware
        async def answer(request: web.Request, handler) -> web.StreamResponse:
            return await gateway.handle(request)

        async def never(request: web.Request) -> web.StreamResponse:
            raise AssertionError("not reached")

        app = web.Application(middlewares=[*middlewares, answer])
        app.router.add_route("*", "/{tail:.*}", never, expect_handler=gateway.handle_expect)

        async def on_shutdown(_: web.Application) -> None:
            await gateway.shutdown()

        async def on_cleanup(_: web.Application) -> None:
            await gateway.close()

        app.on_shutdown.append(on_shutdown)
        app.on_cleanup.append(on_cleanup)
        defaults = {"access_log": None, "shutdown_timeout": waiting.DEADLINE}
        runner = web.AppRunner(app, **{**defaults, **(runner_options or {})})
        await runner.setup()
        site: web.BaseSite
        if unix:
            site = web.UnixSite(runner, str(tmp_path / "gateway.sock"))
        else:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
        await site.start()
        server = Server(gateway, runner, site)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.runner.cleanup()
    left = {
        thread
        for thread in set(threading.enumerate()) - before
        if thread.name.startswith("aiodjango")
    }
    assert not left, f"threads left behind: {left}"


@pytest.fixture
def until():
    """Wait for a condition, with a deadline that fails the test."""
    return waiting.until


@pytest.fixture
def gateway_log(caplog):
    """The messages that the gateway logged, of any level."""
    caplog.set_level("DEBUG", logger="aiodjango.gateway")

    def messages() -> list[str]:
        return [
            record.getMessage() for record in caplog.records if record.name == "aiodjango.gateway"
        ]

    return messages
