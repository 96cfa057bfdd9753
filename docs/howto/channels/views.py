# With aiodjango
import asyncio
from collections import defaultdict

from aiohttp import WSMsgType, web

from aiodjango import aio_login_required

rooms = defaultdict(dict)  # the WebSockets of each room, with what each has yet to get


@aio_login_required
async def chat(request, room):
    ws = web.WebSocketResponse(heartbeat=30)
    await ws.prepare(request)
    rooms[room][ws] = asyncio.Queue()
    sending = asyncio.create_task(send(ws, rooms[room][ws]))
    try:
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                publish(room, {"text": message.json()["text"]})
    finally:
        sending.cancel()
        del rooms[room][ws]
    return ws


async def send(ws, waiting):
    try:
        while True:
            await ws.send_json(await waiting.get())
    except ConnectionResetError:
        pass  # the page was left while we sent


def publish(room, event):
    for waiting in rooms[room].values():
        waiting.put_nowait(event)
