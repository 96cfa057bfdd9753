"""The project on aiohttp: python -m benchmarks.project.serve NAME PORT LOOP

NAME is a key of APPLICATIONS; LOOP "asyncio" or "uvloop".
"""

import io
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from . import coroutines, entry

THREADS = int(os.environ["BENCHMARK_THREADS"])
KIB = 1024
MIB = 1024 * KIB


def aiodjango() -> web.Application:
    from aiodjango import get_aio_application

    return get_aio_application(entry.wsgi(), threads=THREADS)


def on_the_loop() -> web.Application:
    """Django called on the event loop, without a thread: the limit for any server on aiohttp.

    It serves one request at a time, so it is no server to use, and each request opens database
    connections of its own.
    """
    from aiodjango.gateway.environ import TrustedProxies, build_environ

    application = entry.wsgi()
    proxies = TrustedProxies("127.0.0.1")

    def answer(environ: dict[str, Any], begun: list[Any]) -> bytes:
        parts = application(environ, lambda *head: begun.append(head))  # type: ignore[arg-type]
        try:
            return b"".join(parts)
        finally:
            parts.close()  # type: ignore[attr-defined]

    async def call(request: web.Request) -> web.Response:
        environ = build_environ(request, "", proxies)
        environ["wsgi.input"] = io.BytesIO(await request.read())
        begun: list[Any] = []
        body = answer(environ, begun)
        status, headers = begun[0]
        return web.Response(
            status=int(status.partition(" ")[0]), body=body, headers=CIMultiDict(headers)
        )

    app = web.Application(client_max_size=1024 * MIB)
    app.router.add_route("*", "/{tail:.*}", call)
    return app


def aiohttp_wsgi() -> web.Application:
    from aiohttp_wsgi import WSGIHandler

    handler = WSGIHandler(entry.wsgi(), executor=ThreadPoolExecutor(THREADS))
    app = web.Application()
    app.router.add_route("*", "/{path_info:.*}", handler)
    return app


async def echo_json(request: web.Request) -> web.Response:
    return web.json_response({"received": await request.json()})


async def upload(request: web.Request) -> web.Response:
    length = 0
    async for part in request.content.iter_chunked(64 * KIB):
        length += len(part)
    return web.Response(text=f"{length} bytes")


async def file(request: web.Request) -> web.FileResponse:
    path = Path(os.environ["BENCHMARK_FOLDER"], request.match_info["name"])
    return web.FileResponse(path, headers={"Content-Type": "text/plain"})


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    for _ in range(int(request.match_info["size"]) * 16):
        await response.write(bytes(64 * KIB))
    return response


def bare() -> web.Application:
    """The same in aiohttp's handlers, without Django."""
    app = web.Application()
    app.router.add_get("/", coroutines.hello)
    app.router.add_get("/coroutine/", coroutines.hello)
    app.router.add_post("/json/", echo_json)
    app.router.add_post("/upload/", upload)
    app.router.add_get("/file/{name}", file)
    app.router.add_get("/stream/{size}/", stream)
    app.router.add_get("/echo/", coroutines.echo)
    return app


APPLICATIONS: dict[str, Callable[[], web.Application]] = {
    "aiodjango": aiodjango,
    "aiohttp-wsgi": aiohttp_wsgi,
    "limit": on_the_loop,
    "aiohttp": bare,
}


def main(name: str, port: str, loop: str) -> None:
    new_loop = None
    if loop == "uvloop":
        import uvloop

        new_loop = uvloop.new_event_loop()
    web.run_app(
        APPLICATIONS[name](),
        host="127.0.0.1",
        port=int(port),
        access_log=None,
        print=None,
        loop=new_loop,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
