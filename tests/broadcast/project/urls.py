import os

from aiohttp import web
from django.contrib.auth import logout
from django.db import transaction
from django.http import HttpResponse
from django.urls import path

from aiodjango import watch_user
from aiodjango.broadcast import apublish, publish, subscribe


async def bell(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async with subscribe("bell", "everybody") as events:
        await ws.send_json({"pid": os.getpid()})
        await events.send_to(ws, lambda content: apublish("bell", content))
    return ws


def ring(request):
    """Publish `?n=` events inside a transaction, which `?fail=1` rolls back."""
    try:
        with transaction.atomic():
            for number in range(int(request.GET["n"])):
                publish("bell", {"number": number, "name": request.GET.get("name", "")})
            publish("bell", {"now": request.GET.get("name", "")}, now=True)
            if "fail" in request.GET:
                raise ValueError
    except ValueError:
        return HttpResponse("rolled back")
    return HttpResponse("committed")


async def watched(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await watch_user(request, ws)
    await ws.send_json({"pid": os.getpid()})
    async for _ in ws:
        pass
    return ws


async def stream(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    async with subscribe("stream") as events:
        await response.write(b"data: 1\n\n")
        async for event in events:
            await response.write(f"data: {event}\n\n".encode())
    return response


def log_out(request):
    logout(request)
    return HttpResponse("logged out")


urlpatterns = [
    path("bell/", bell),
    path("ring/", ring),
    path("watched/", watched),
    path("stream/", stream),
    path("logout/", log_out),
]
