import asyncio

from aiohttp import WSMsgType, web
from channels.layers import get_channel_layer


async def chat(request, room):
    layer = get_channel_layer()
    name = await layer.new_channel()
    await layer.group_add(room, name)
    ws = web.WebSocketResponse(heartbeat=30)
    await ws.prepare(request)
    sending = asyncio.create_task(pass_on(layer, name, ws))
    try:
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                event = {"type": "chat.message", "text": message.json()["text"]}
                await layer.group_send(room, event)
    finally:
        sending.cancel()
        await layer.group_discard(room, name)
    return ws


async def pass_on(layer, name, ws):
    try:
        while True:
            event = await layer.receive(name)
            await ws.send_json({"text": event["text"]})
    except ConnectionResetError:
        pass  # the page was left while we sent
