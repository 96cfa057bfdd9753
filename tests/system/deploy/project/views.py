"""Views that say who answered: the process, the thread and the kind of request."""

import asyncio
import hashlib
import os
import threading
import time
from pathlib import Path

from aiohttp import web
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt

from aiodjango import FALLBACK


def answer(request: HttpRequest | web.Request, **more: object) -> dict[str, object]:
    return {
        "request": type(request).__module__.partition(".")[0],
        "thread": threading.current_thread().name,
        "main_thread": threading.current_thread() is threading.main_thread(),
        "pid": os.getpid(),
        **more,
    }


def sync(request, number):
    return JsonResponse(answer(request, number=number))


async def coroutine(request, number):
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    return web.json_response(answer(request, number=number, loop=loop))


@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return JsonResponse(answer(request, name=file.name, size=file.size, sha256=digest.hexdigest()))


async def echo(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"{os.getpid()}: {message.data}")
    return socket


def say_started(request):
    """Tell the test that the view runs: it gives the path of a file that it waits for."""
    Path(request.headers["X-Started"]).touch()


def slow_sync(request):
    say_started(request)
    time.sleep(1)
    return HttpResponse("finished")


async def slow_coroutine(request):
    say_started(request)
    await asyncio.sleep(1)
    return web.Response(text="finished")


def count(request):
    """Note the request's number in the test's file, so that it can tell what was begun."""
    with open(request.headers["X-Counted"], "a") as file:
        file.write(request.headers["X-Number"] + "\n")


def counted_sync(request):
    count(request)
    return JsonResponse(answer(request))


async def counted_coroutine(request):
    count(request)
    return web.json_response(answer(request))


async def figures(request):
    fallback = request.app[FALLBACK]
    return web.json_response({"busy": fallback.busy, "pending": fallback.pending})


def sleep(request, seconds):
    time.sleep(float(seconds))
    return HttpResponse("finished")


def stream(request):
    """Go on for ever; the test's file is there once that has ended."""

    def parts():
        try:
            while True:
                yield "part\n"
                time.sleep(0.05)
        finally:
            Path(request.headers["X-Ended"]).touch()

    return StreamingHttpResponse(parts())


def wait(request, number):
    """Wait for a coroutine that never ends by itself."""

    async def never():
        say_started(request)
        await asyncio.Event().wait()

    try:
        async_to_sync(never)()
    finally:
        Path(request.headers["X-Ended"]).touch()
    return HttpResponse("finished")
