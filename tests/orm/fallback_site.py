"""python -m tests.orm.fallback_site FD SETTINGS OPTIONS: sync views on a database.

Serves until SIGTERM; then the application is cleaned up, and the process says so and stays, so
that a test can look for what it has left behind.
"""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import threading

from aiohttp import web
from django.db import connection
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path

from aiodjango import get_aio_application, run_in_django

CLEAN = "cleaned up"


def query(request, seconds):
    """Work in the database for so long; tell by which thread, over which connection."""
    return JsonResponse(work(float(seconds)))


async def orm_query(request, seconds):
    return web.json_response(await run_in_django(work, float(seconds)))


def work(seconds):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), pg_sleep(%s)", [seconds])
        backend, _ = cursor.fetchone()
    return {"thread": threading.current_thread().name, "backend": backend}


def stream(request):
    """Go on for ever, with a query for each part."""
    return StreamingHttpResponse(f"{work(0.05)['backend']}\n" for _ in iter(int, 1))


urlpatterns = [
    path("query/<str:seconds>/", query),
    path("orm/<str:seconds>/", orm_query),
    path("stream/", stream),
]


async def serve(listener, runner_options, options):
    runner = web.AppRunner(get_aio_application(**options), access_log=None, **runner_options)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
    await terminated.wait()
    terminated.clear()
    await runner.cleanup()
    gc.collect()
    print(CLEAN, flush=True)
    await terminated.wait()


if __name__ == "__main__":
    os.environ["TEST_SETTINGS"] = sys.argv[2]
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), **json.loads(sys.argv[3])))
