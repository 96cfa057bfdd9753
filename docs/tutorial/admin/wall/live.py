from aiohttp import web

from aiodjango import aget_user, watch_user
from aiodjango.broadcast import subscribe

from .models import Note


async def notes(request):
    return web.json_response(await latest_notes())


async def live(request):
    user = await aget_user(request)
    ws = web.WebSocketResponse(heartbeat=30)
    await ws.prepare(request)
    watch_user(request, ws)

    async def receive(text):
        if user.is_authenticated:
            await Note.objects.acreate(text=str(text)[:200], author=user.username)

    async with subscribe("wall") as events:
        for note in reversed(await latest_notes()):
            await ws.send_json(note)
        await events.send_to(ws, receive)  # until the page is left, or the user logs out
    return ws


async def latest_notes():
    return [as_dict(note) async for note in Note.objects.order_by("-pk")[:20]]


def as_dict(note):
    return {"id": note.pk, "text": note.text, "author": note.author}
