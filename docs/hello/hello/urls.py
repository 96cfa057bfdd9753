from functools import partial

from aiohttp import web
from django.shortcuts import render
from django.urls import path

from aiodjango.broadcast import apublish, subscribe


def page(request):  # Django answers this, in a thread
    return render(request, "page.html")


async def live(request):  # aiohttp answers this, on its event loop
    ws = web.WebSocketResponse()
    async with subscribe("room") as events:
        await ws.prepare(request)
        await events.send_to(ws, partial(apublish, "room"))
    return ws


urlpatterns = [path("", page), path("live/", live)]
