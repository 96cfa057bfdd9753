from aiohttp import web

from aiodjango.broadcast import apublish, subscribe

from .models import Note


async def notes(request):
    return web.json_response(await latest_notes())


async def live(request):
    ws = web.WebSocketResponse(heartbeat=30)
    await ws.prepare(request)

    async def receive(text):
        note = await Note.objects.acreate(text=str(text)[:200])
        await apublish("wall", as_dict(note))

    async with subscribe("wall") as events:
        for note in reversed(await latest_notes()):
            await ws.send_json(note)
        await events.send_to(ws, receive)  # until the page is left
    return ws


async def latest_notes():
    return [as_dict(note) async for note in Note.objects.order_by("-pk")[:20]]


def as_dict(note):
    return {"id": note.pk, "text": note.text, "author": note.author}
