import asyncio

from aiohttp import WSMsgType, web

from aiodjango import aget_user, watch_user

from .models import Note

pages = {}  # the WebSocket of each open page, with the notes that it has yet to get


async def notes(request):
    return web.json_response(await latest_notes())


async def live(request):
    user = await aget_user(request)
    ws = web.WebSocketResponse(heartbeat=30)
    await ws.prepare(request)
    watch_user(request, ws)
    pages[ws] = asyncio.Queue()
    sending = asyncio.create_task(send_notes(ws))
    try:
        async for message in ws:  # until the page is left, or the user logs out
            if message.type is WSMsgType.TEXT and user.is_authenticated:
                note = await Note.objects.acreate(text=message.data[:200], author=user.username)
                publish(as_dict(note))
    finally:
        sending.cancel()
        del pages[ws]
    return ws


async def send_notes(ws):
    try:
        for note in reversed(await latest_notes()):
            await ws.send_json(note)
        while True:
            await ws.send_json(await pages[ws].get())
    except ConnectionResetError:
        pass  # the page was left while we sent


def publish(note):
    for waiting in pages.values():
        waiting.put_nowait(note)


async def latest_notes():
    return [as_dict(note) async for note in Note.objects.order_by("-pk")[:20]]


def as_dict(note):
    return {"id": note.pk, "text": note.text, "author": note.author}
