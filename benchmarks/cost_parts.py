"""The parts of a request, run by themselves: for benchmarks.cost."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from wsgiref.types import WSGIApplication

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, StreamWriter

from aiodjango import get_aio_application
from aiodjango.gateway.call import WsgiCall
from aiodjango.gateway.environ import TrustedProxies, build_environ
from aiodjango.gateway.head import make_head
from aiodjango.gateway.response import complete_response
from aiodjango.gateway.stream import Streams
from aiodjango.gateway.threads import Workers
from benchmarks.cost_steps import CONNECTIONS, Cost, least, new_streams, serving, trivial

# In each round a part is measured so often, and each measurement runs it so many times.
REPEATS = 10
CALLS = 50

# A part: what makes its material, off the clock, and what is measured.
Part = tuple[Callable[[], Any], Callable[[Any], Awaitable[object]]]


class Parts:
    """Measures the parts, and keeps the least of each."""

    def __init__(self) -> None:
        self.loop: dict[str, float] = {}
        self.threads: dict[str, float] = {}

    async def measure(self, application: WSGIApplication) -> None:
        streams = new_streams()
        async with real_request(application) as request:
            overhead = await cost_of((nothing, empty))
            for kept, parts in [
                (self.loop, loop_parts(request, application, streams)),
                (self.threads, thread_parts(request, application, streams)),
            ]:
                for name, part in parts.items():
                    keep(kept, name, await cost_of(part) - overhead)
        hand_over = await cost_of_hand_over(streams.workers)
        keep(self.loop, "to a thread and back", hand_over.loop)
        keep(self.threads, "to a thread and back", hand_over.threads)
        streams.workers.stop()
        await streams.workers.wait_stopped()


def keep(kept: dict[str, float], name: str, cost: float) -> None:
    kept[name] = min(cost, kept.get(name, cost))


class Nothing:
    """A job that only reports."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.done: asyncio.Future[None] = workers.loop.create_future()

    def wanted(self) -> bool:
        return True

    def run(self) -> None:
        self._workers.post(self.done.set_result, None)

    def drop(self) -> None:
        self.done.cancel()


class Nowhere(asyncio.Transport):
    """Throws away what is written: what sending costs is counted with the sockets."""

    def is_closing(self) -> bool:
        return False

    def write(self, data: object) -> None:
        pass


@asynccontextmanager
async def real_request(application: WSGIApplication) -> AsyncIterator[web.Request]:
    """A request as it is when it has just come in, and before it is answered."""
    found: asyncio.Future[web.Request] = asyncio.get_running_loop().create_future()
    seen = asyncio.Event()

    @web.middleware
    async def hold(request: web.Request, handler: Any) -> web.StreamResponse:
        found.set_result(request)
        await seen.wait()
        return web.Response()

    app = get_aio_application(application)
    app.middlewares.append(hold)
    async with serving(app) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(raw_request(served.port))
        try:
            yield await found
        finally:
            seen.set()
            writer.close()
            await writer.wait_closed()


def raw_request(port: int) -> bytes:
    """What wrk sends."""
    return f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


async def cost_of(part: Part) -> float:
    make, run = part
    best = float("inf")
    for _ in range(REPEATS):
        materials = [make() for _ in range(CALLS)]
        begun = time.thread_time()
        for material in materials:
            await run(material)
        best = min(best, time.thread_time() - begun)
        del materials
        await asyncio.sleep(0)  # what was posted is delivered
    return best / CALLS * 1e6


async def cost_of_hand_over(workers: Workers) -> Cost:
    """To a thread and back, as many requests at a time as under load."""
    best = Cost(float("inf"), 0.0)
    for _ in range(REPEATS):
        jobs = [[Nothing(workers) for _ in range(CONNECTIONS)] for _ in range(CALLS)]
        own, all_ = time.thread_time(), time.process_time()
        for batch in jobs:
            for job in batch:
                workers.submit(job)
            for job in batch:
                await job.done
        own, all_ = time.thread_time() - own, time.process_time() - all_
        count = CONNECTIONS * CALLS
        cost = Cost(own / count * 1e6, (all_ - own) / count * 1e6)
        best = least([best, cost])
    return best


def loop_parts(
    request: web.Request, application: WSGIApplication, streams: Streams
) -> dict[str, Part]:
    """What happens to a request on the loop, before and after its thread."""
    loop, transport = asyncio.get_running_loop(), request.transport
    assert transport is not None
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
    answering = BaseProtocol(loop)
    answering.connection_made(Nowhere())
    raw = raw_request(request.url.port or 80)
    message, payload = parser.feed_data(raw)[0][0]
    parser.message_consumed()
    proxies = TrustedProxies("127.0.0.1")
    head = make_head("200 OK", headers_of(application, request))
    head = head.with_length(5)

    def new_request() -> web.Request:
        writer = StreamWriter(answering, loop)
        return web.Request(message, payload, request.protocol, writer, request.task, loop)

    def new_response() -> tuple[web.Request, web.StreamResponse]:
        fresh = new_request()
        fresh._match_info = request.match_info
        return fresh, complete_response(head, b"hello")

    async def parse(_: None) -> None:
        parser.feed_data(raw)
        parser.message_consumed()

    async def make_request(_: None) -> None:
        new_request()

    async def route(fresh: web.Request) -> None:
        await request.app.router.resolve(fresh)

    async def environ(fresh: web.Request) -> None:
        build_environ(fresh, "", proxies)["wsgi.input"] = io.BytesIO()

    async def call(environ: dict[str, Any]) -> None:
        WsgiCall(application, environ, transport, streams.workers, streams)

    async def send(made: tuple[web.Request, web.StreamResponse]) -> None:
        fresh, response = made
        await response.prepare(fresh)
        await response.write_eof()

    return {
        "aiohttp: parsing": (nothing, parse),
        "aiohttp: the request object": (nothing, make_request),
        "aiohttp: routing, to the catch-all": (new_request, route),
        "the environ": (new_request, environ),
        "the call object": (lambda: new_environ(request), call),
        "aiohttp: status, headers and body as bytes": (new_response, send),
    }


def thread_parts(
    request: web.Request, application: WSGIApplication, streams: Streams
) -> dict[str, Part]:
    """What happens in a thread. Measured in the loop's: who calls makes no difference to them."""
    transport = request.transport
    assert transport is not None
    headers = headers_of(application, request)

    def new_call() -> WsgiCall:
        return WsgiCall(trivial, new_environ(request), transport, streams.workers, streams)

    async def run_call(call: WsgiCall) -> None:
        call.run()

    async def check_head(_: None) -> None:
        make_head("200 OK", headers)

    head = make_head("200 OK", headers).with_length(5)

    async def respond(_: None) -> None:
        complete_response(head, b"hello")

    async def ask_django(environ: dict[str, Any]) -> None:
        b"".join(application(environ, ignore))

    async def close(response: Any) -> None:
        response.close()

    return {
        "the call, with PEP 3333's checks": (new_call, run_call),
        "… of it, checks of status and headers": (nothing, check_head),
        "… of it, the response of aiohttp": (nothing, respond),
        "Django, from environ to response": (lambda: new_environ(request), ask_django),
        "Django's close()": (lambda: application(new_environ(request), ignore), close),
    }


def nothing() -> None:
    """The material of a part that needs none."""


async def empty(_: None) -> None:
    """What every measurement has on top."""


def new_environ(request: web.Request) -> dict[str, Any]:
    return build_environ(request, "", TrustedProxies("")) | {"wsgi.input": io.BytesIO()}


def ignore(*args: Any) -> Callable[[bytes], object]:
    return bytes


def headers_of(application: WSGIApplication, request: web.Request) -> list[tuple[str, str]]:
    """What the application says to start_response()."""
    said = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[..., object]:
        said.append((status, headers))
        return bytes

    application(new_environ(request), start_response)
    ((status, headers),) = said
    assert status == "200 OK"
    return list(headers)
