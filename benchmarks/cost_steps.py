"""What a server costs under load: for benchmarks.cost."""

import asyncio
import io
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from wsgiref.types import WSGIApplication

from aiohttp import web

from aiodjango.gateway.call import WsgiCall
from aiodjango.gateway.environ import TrustedProxies, build_environ
from aiodjango.gateway.spool import MemoryBudget
from aiodjango.gateway.stream import Streams
from aiodjango.gateway.threads import Workers
from benchmarks.harness import SERVER_CORE, Load
from benchmarks.project import coroutines

# wrk asks over so many connections at once.
CONNECTIONS = 32
# How long (seconds) wrk has with a server; every WINDOW is a measurement, unless the machine was
# busy with something else. It shares the server's core: to wake it on another one would cost a
# server more the longer wrk has to wait for it.
TURN = 1
WINDOW = 0.25
FEWEST = 100  # requests
MIB = 1024 * 1024


class Cost(NamedTuple):
    """Microseconds of processor time: of the event loop's thread, and of all the others."""

    loop: float
    threads: float

    @property
    def total(self) -> float:
        return self.loop + self.threads


def least(costs: Iterable[Cost]) -> Cost:
    return min(costs, key=lambda cost: cost.total)


# --- Servers that do ever more ---------------------------------------------------------------


class Blind(asyncio.Protocol):
    """Answers without looking at the question: what asyncio and the sockets cost."""

    answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        Blind.answered += 1
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def alone() -> web.Application:
    """aiohttp alone: the same answer, by a handler that takes every path."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", coroutines.hello)
    return app


def prepared(application: WSGIApplication) -> web.Application:
    """aiohttp, with all that is made for a request before it is queued."""
    proxies = TrustedProxies("127.0.0.1")
    streams: list[Streams] = []

    async def prepare(request: web.Request) -> web.Response:
        if not streams:
            streams.append(new_streams())
        transport = request.transport
        assert transport is not None
        environ = build_environ(request, "", proxies)
        environ["wsgi.input"] = io.BytesIO()
        WsgiCall(application, environ, transport, streams[0].workers, streams[0])
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", prepare)
    return app


def trivial(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """A WSGI application with the answer of Django's."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"hello"]


def new_streams() -> Streams:
    """Streams of the running loop, with threads that are started when a call is submitted."""
    return Streams(Workers(8), limit=MIB, memory=MIB, budget=MemoryBudget(MIB), max_aside=1)


# --- Under load ----------------------------------------------------------------------------


class Served(NamedTuple):
    """A server that runs."""

    port: int
    count: Callable[[], int]  # of requests, until now


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[Served]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server = runner.server
        assert server is not None
        yield Served(runner.addresses[0][1], lambda: server.requests_count)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_blindly() -> AsyncIterator[Served]:
    server = await asyncio.get_running_loop().create_server(Blind, "127.0.0.1", 0)
    async with server:
        yield Served(server.sockets[0].getsockname()[1], lambda: Blind.answered)


async def cost_under_load(served: Served) -> Cost:
    """What a request costs while wrk asks."""
    url = f"http://127.0.0.1:{served.port}/"
    command = Load("/", CONNECTIONS, core=SERVER_CORE).command(url, TURN)
    client = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL)
    ended = asyncio.ensure_future(client.wait())
    costs = []
    while not ended.done():
        count, own, all_ = served.count(), time.thread_time(), time.process_time()
        await asyncio.wait([ended], timeout=WINDOW)
        count = served.count() - count
        own, all_ = time.thread_time() - own, time.process_time() - all_
        if count >= FEWEST and not ended.done():
            costs.append(Cost(own / count * 1e6, (all_ - own) / count * 1e6))
    if ended.result() != 0 or not costs:
        raise RuntimeError("wrk has failed, or the machine is too busy")
    return least(costs)
