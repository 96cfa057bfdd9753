from aiohttp import web
from aiohttp_sse import sse_response
from django.shortcuts import render

from aiodjango import aget_user, aio_login_required
from aiodjango.broadcast import apublish, subscribe


def index(request):
    return render(request, "shop/index.html")


@aio_login_required
async def bell(request):
    ws = web.WebSocketResponse(heartbeat=30)
    await ws.prepare(request)
    user = await aget_user(request)
    async with subscribe(f"user-{user.pk}", "everybody") as events:
        await events.send_to(ws)
    return ws


async def room(request, slug):
    ws = web.WebSocketResponse(heartbeat=30)
    await ws.prepare(request)

    async def receive(content):
        await apublish(f"room-{slug}", {"text": str(content["text"])[:500]})

    async with subscribe(f"room-{slug}") as events:
        await events.send_to(ws, receive)
    return ws


async def stream(request):
    async with sse_response(request) as response, subscribe("news") as events:
        await events.send_to(response)
    return response
