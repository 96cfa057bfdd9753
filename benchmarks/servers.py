"""The servers that are compared: python -m benchmarks.servers NAME FD.

Without FD, NAME is a kind of URLconf, and the seconds to build an application of it are printed.
"""

import asyncio
import socket
import sys
import time
import types
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp
import django
from aiohttp import web
from django.conf import settings
from django.urls import path

from aiodjango import fallback_middleware, get_aio_application, setup
from aiodjango.gateway import Gateway

FEW, MANY = 10, 10_000


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


def trivial(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A WSGI application that costs nothing, so that what is in front of it shows."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"hello"]


def use_urlconf(patterns: list[Any]) -> None:
    """Make these the patterns of ROOT_URLCONF."""
    module = types.ModuleType(settings.ROOT_URLCONF)
    module.urlpatterns = patterns  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


def small_urlconf() -> list[Any]:
    return [path("hello/", hello), path("items/<int:pk>/", hello)]


def distinct(number: int) -> list[Any]:
    """Patterns with different literal prefixes."""
    return [path(f"dyn{i}/<int:pk>/", hello) for i in range(number)]


def shared(number: int) -> list[Any]:
    """Patterns that share a dynamic prefix."""
    return [path(f"<slug:org>/<int:pk>/act{i}/", hello) for i in range(number)]


@web.middleware
async def stamp(request: web.Request, handler: Any) -> web.StreamResponse:
    response: web.StreamResponse = await handler(request)
    response.headers["X-Stamp"] = "1"
    return response


@web.middleware
async def passing(request: web.Request, handler: Any) -> web.StreamResponse:
    response: web.StreamResponse = await handler(request)
    return response


def bare() -> web.Application:
    app = web.Application()
    app.router.add_get("/hello/", hello)
    app.router.add_get(r"/items/{pk:\d+}/", hello)
    return app


def lifted(patterns: list[Any]) -> web.Application:
    use_urlconf(patterns)
    return get_aio_application(trivial)


def mounted(app: web.Application) -> web.Application:
    main = web.Application()
    main.add_subapp("/site/", app)
    return main


def host() -> web.Application:
    app = web.Application(middlewares=[stamp, passing])
    app.router.add_get("/hello/", hello)
    app.router.add_get("/own/", hello)
    return app


def host_with_setup() -> web.Application:
    app = web.Application(middlewares=[stamp, passing])
    app.router.add_get("/own/", hello)
    use_urlconf(small_urlconf())
    setup(app, trivial)
    return app


def middleware() -> web.Application:
    app = web.Application(middlewares=[fallback_middleware(trivial)])
    app.router.add_get("/own/", hello)
    return app


def catch_all() -> web.Application:
    gateway = Gateway(trivial)
    app = web.Application()

    async def handler(request: web.Request) -> web.StreamResponse:
        return await gateway.handle(request)

    async def end(app: web.Application) -> None:
        await gateway.shutdown()
        await gateway.close()

    app.router.add_get("/own/", hello)
    app.router.add_route("*", "/{tail:.*}", handler)
    app.on_shutdown.append(end)
    return app


SERVERS: dict[str, Callable[[], web.Application]] = {
    "bare": bare,
    "bare-mounted": lambda: mounted(bare()),
    "lifted": lambda: lifted(small_urlconf()),
    "lifted-mounted": lambda: mounted(lifted(small_urlconf())),
    "host": host,
    "host-with-setup": host_with_setup,
    "distinct-few": lambda: lifted(distinct(FEW)),
    "distinct-many": lambda: lifted(distinct(MANY)),
    "shared-few": lambda: lifted(shared(FEW)),
    "shared-many": lambda: lifted(shared(MANY)),
    "middleware": middleware,
    "catch-all": catch_all,
}


async def seconds_to_first_answer(path: str) -> tuple[float, float]:
    """From a URLconf that exists to an answered request: whatever is put off is paid too.

    Returns seconds by the clock and of processor time.
    """
    begun, cpu_begun = time.perf_counter(), time.process_time()
    runner = web.AppRunner(get_aio_application(trivial), access_log=None)
    await runner.setup()
    site = web.SockSite(runner, socket.create_server(("127.0.0.1", 0)))
    await site.start()
    host, port = runner.addresses[0]
    async with aiohttp.request("GET", f"http://{host}:{port}{path}") as response:
        response.raise_for_status()
    taken = time.perf_counter() - begun, time.process_time() - cpu_begun
    await runner.cleanup()
    return taken


def main(name: str, listener: int | None) -> None:
    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="benchmarks.urls",
        USE_TZ=True,
    )
    django.setup()
    if listener is None:
        patterns, path = {
            "distinct": (distinct, f"/dyn{MANY - 1}/5/"),
            "shared": (shared, f"/acme/5/act{MANY - 1}/"),
        }[name]
        use_urlconf(patterns(MANY))
        print(*asyncio.run(seconds_to_first_answer(path)))
    else:
        sock = socket.socket(fileno=listener)
        web.run_app(SERVERS[name](), sock=sock, access_log=None, print=None)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
