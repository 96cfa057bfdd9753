"""Views that say who answered: the process, the thread and the kind of request."""

import asyncio
import hashlib
import os
import threading
import time
from pathlib import Path

from aiohttp import web
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt


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
