"""A gateway in a process of its own, whose memory can be looked at: GET /memory.

Prints its port, and ends when its standard input does. The arguments are the gateway's options, as
JSON.
"""

import asyncio
import gc
import itertools
import json
import sys
import tempfile
import tracemalloc

from aiohttp import web

from aiodjango.gateway import Gateway

MIB = 1024 * 1024
PART = b"x" * (64 * 1024)


def application(environ, start_response):
    kind = environ["PATH_INFO"]
    size = int(environ["QUERY_STRING"] or 0)
    if kind == "/whole":
        start_response("200 OK", [])
        return [b"x" * size]
    if kind == "/stream":
        start_response("200 OK", [("Content-Length", str(size))])
        return (PART for _ in range(size // len(PART)))
    if kind == "/endless":
        start_response("200 OK", [])
        return itertools.repeat(b"x" * size)
    if kind == "/file":
        start_response("200 OK", [])
        file = tempfile.TemporaryFile()
        file.truncate(size)
        return environ["wsgi.file_wrapper"](file)
    count = 0
    while part := environ["wsgi.input"].read(MIB):
        count += len(part)
    start_response("200 OK", [])
    return [str(count).encode()]


def memory() -> dict[str, int]:
    """What Python has allocated now and had at most, in bytes.

    Not what is resident: that depends on what the allocator of an interpreter keeps in reserve.
    """
    gc.collect()
    now, most = tracemalloc.get_traced_memory()
    return {"now": now, "most": most}


async def main() -> None:
    gateway = Gateway(application, **json.loads(sys.argv[1]))

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/memory":
            return web.json_response({"busy": gateway.busy, **memory()})
        return await gateway.handle(request)

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await gateway.shutdown()
    await runner.cleanup()
    await gateway.close()


if __name__ == "__main__":
    tracemalloc.start()
    asyncio.run(main())
