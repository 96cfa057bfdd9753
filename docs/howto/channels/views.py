# With aiodjango
from aiohttp import web

from aiodjango import aio_login_required
from aiodjango.broadcast import apublish, subscribe


@aio_login_required
async def chat(request, room):
    ws = web.WebSocketResponse(heartbeat=30)
    await ws.prepare(request)

    async def receive(content):
        await apublish(room, {"type": "chat.message", "text": content["text"]})

    async with subscribe(room) as events:
        await events.send_to(ws, receive)
    return ws
