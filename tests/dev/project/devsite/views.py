import asyncio
import threading
import time
from pathlib import Path

from aiohttp import web
from django.http import (
    FileResponse,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.templatetags.static import static
from django.utils.translation import gettext

# Longer than any test may take.
LONG = 1200

# Django watches translations from their first use on.
gettext("Hello")

at_work = threading.BoundedSemaphore(1)


def sync_view(request):
    return HttpResponse("sync, first edition")


def page(request):
    return render(request, "page.html")


def greeting(request):
    return HttpResponse(gettext("Hello"))


def status(request, status):
    return HttpResponse("" if status in (204, 304) else "x" * status, status=status)


def moved(request):
    return HttpResponseRedirect("/sync/")


def streamed(request):
    return StreamingHttpResponse(["a" * 100, "b" * 23])


def file(request):
    return FileResponse(Path(__file__).open("rb"))


def static_url(request):
    return HttpResponse(static("style.css"))


def busy(request):
    print("busy begins", flush=True)
    time.sleep(LONG)
    return HttpResponse("late")


def alone(request):
    """Says whether another request was in this view at the same time."""
    if not at_work.acquire(blocking=False):
        return HttpResponse("together")
    try:
        time.sleep(0.3)
        return HttpResponse("alone")
    finally:
        at_work.release()


async def lifted(request):
    return web.Response(text="lifted, first edition")


async def chunks(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"a" * 100)
    await response.write(b"b" * 23)
    return response


async def websocket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data)
    return ws


async def failing_websocket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await ws.receive()
    raise ValueError("the view failed")


async def ticks(request):
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"tick\n")
        await asyncio.sleep(0.05)


async def busy_executor(request):
    print("executor begins", flush=True)
    await asyncio.to_thread(time.sleep, LONG)
    return web.Response()


async def blocking(request):
    print("loop blocked", flush=True)
    time.sleep(LONG)
    return web.Response()


async def catch_all(request, rest):
    return web.Response(text=f"caught {rest}")
