import asyncio
import json

from aiohttp import web
from django.http import JsonResponse

from .steps import Steps, here

tasks = {}


async def perform(steps):
    doing = Steps()
    return [await doing.perform(*step) for step in steps]


async def steps(request):
    return web.json_response(await perform(await request.json()))


async def stream(request):
    """Answer each step as it's done."""
    doing = Steps()
    steps = await request.json()
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"[]\n")
    for step in steps:
        await response.write(json.dumps(await doing.perform(*step)).encode() + b"\n")
    return response


async def socket(request):
    doing = Steps()
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_json(await doing.perform(*message.json()))
    return ws


async def background(request, name):
    """Answer at once, and do the steps afterwards."""
    tasks[name] = asyncio.create_task(perform(await request.json()))
    return web.Response()


async def results(request, name):
    return web.json_response(await tasks[name])


def sync(request):
    return JsonResponse(here())
