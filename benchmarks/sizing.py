"""What a worker is made of, in memory and connections: python -m benchmarks.sizing

Starts a worker of a small site with PostgreSQL, under aiohttp's own runner, and weighs it (resident
memory, as the system counts it): with idle WebSockets, with all its ORM threads and with all its
fallback threads in use, when it also counts PostgreSQL's connections. And the example's WebSockets.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from benchmarks.harness import (
    Server,
    end_properly,
    free_port,
    running_command,
    running_module,
)
from benchmarks.sockets import open_all
from tests.support.postgres import Cluster, missing_part, running_cluster

THREADS = 32  # of each kind; more than the defaults, as a thread weighs little
SOCKETS = 2000
CHAT = "/site/rooms/lobby/socket/"


def serve(folder: str, threads: int, listener: int) -> None:
    """Be the worker. FOLDER is where PostgreSQL has its socket."""
    from aiohttp import web
    from django.conf import settings
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    from aiodjango import get_aio_application, run_in_django

    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="benchmarks.urls",
        AIO_ORM_THREADS=threads,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": "test",
                "USER": "postgres",
                "HOST": folder,
                "CONN_MAX_AGE": None,
            }
        },
    )
    # All threads have to be busy at the same time, or some would never be started.
    barrier = threading.Barrier(threads)

    def query(together: bool) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if together:
            barrier.wait(30)

    async def idle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for _ in ws:
            pass
        return ws

    async def lifted(request: web.Request, together: bool) -> web.Response:
        await run_in_django(query, together)
        return web.Response(text="done")

    def plain(request: HttpRequest, together: bool) -> HttpResponse:
        query(together)
        return HttpResponse("done")

    module = types.ModuleType(settings.ROOT_URLCONF)
    module.urlpatterns = [  # type: ignore[attr-defined]
        path("idle/", idle),
        path("lifted/one/", lifted, {"together": False}),
        path("lifted/all/", lifted, {"together": True}),
        path("plain/one/", plain, {"together": False}),
        path("plain/all/", plain, {"together": True}),
    ]
    sys.modules[module.__name__] = module
    app = get_aio_application(threads=threads)
    web.run_app(app, sock=socket.socket(fileno=listener), access_log=None, print=None)


def ask_at_once(server: Server, path: str, times: int) -> None:
    with ThreadPoolExecutor(times) as pool:
        list(pool.map(lambda _: server.ask(path), range(times)))


async def weigh_sockets(server: Server, path: str, number: int) -> float:
    """What each of so many WebSockets adds to the memory, in KiB."""
    before = server.memory()
    clients = await open_all(server.port, path, number)
    weight = server.memory() - before
    for client in clients:
        client.transport.close()
    return weight / number / 1024


@contextmanager
def running_chat() -> Iterator[Server]:
    """The example site, under /site/."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        environ = {
            "EXAMPLE_DATABASE": f"{folder}/db.sqlite3",
            "EXAMPLE_DEBUG": "0",
            "EXAMPLE_HOSTS": "127.0.0.1",
            "EXAMPLE_STATIC_ROOT": folder,
        }
        command = [sys.executable, "manage.py", "demo"]
        subprocess.run(command, check=True, env={**os.environ, **environ}, stdout=subprocess.PIPE)
        command = [sys.executable, "-m", "example.embedded", f"--port={port}"]
        with running_command(command, port, None, environ) as server:
            yield server


def measure(cluster: Cluster, threads: int, sockets: int) -> dict[str, float]:
    """Figures of workers: memory in MiB for a whole one, in KiB for its parts.

    Each is taken from a worker of its own, which would reuse what another use has left behind, and
    after one of the kind: the first imports modules and fills caches.
    """
    figures: dict[str, float] = {}

    def worker() -> AbstractContextManager[Server]:
        return running_module("benchmarks.sizing", "--serve", str(cluster.folder), str(threads))

    with worker() as server:
        server.wait_until_listening()
        server.ask("/plain/one/")
        figures["a worker after its first request, MiB"] = server.memory() / 1024**2
        asyncio.run(weigh_sockets(server, "/idle/", 1))
        figures["an idle WebSocket, KiB"] = asyncio.run(weigh_sockets(server, "/idle/", sockets))
    with running_chat() as server:
        asyncio.run(weigh_sockets(server, CHAT, 1))
        figures["a WebSocket of the chat, KiB"] = asyncio.run(weigh_sockets(server, CHAT, sockets))
    for name, path in ("ORM", "lifted"), ("fallback", "plain"):
        with worker() as server:
            server.wait_until_listening()
            server.ask(f"/{path}/one/")
            before = server.memory()
            ask_at_once(server, f"/{path}/all/", threads)
            weight = (server.memory() - before) / (threads - 1) / 1024
            figures[f"{name} thread with a connection, KiB"] = weight
            figures[f"connections of {threads} {name} threads"] = len(cluster.backends())
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=THREADS, help="of each kind")
    parser.add_argument("--sockets", type=int, default=SOCKETS)
    parser.add_argument("--rounds", type=int, default=3, help="workers; the median is printed")
    options = parser.parse_args()
    if reason := missing_part():
        sys.exit(f"The benchmark {reason}.")
    end_properly()
    with running_cluster() as cluster:
        rounds = [measure(cluster, options.threads, options.sockets) for _ in range(options.rounds)]
    for name in rounds[0]:
        print(f"{name:40} {statistics.median(figures[name] for figures in rounds):8.1f}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        sys.exit(main())
