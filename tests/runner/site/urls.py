"""What a request is, as each half sees it."""

import asyncio
import sys

from aiohttp import web
from asgiref.sync import async_to_sync, sync_to_async
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from aiodjango import django_request


def facts(request, body):
    return {
        "body": body.hex(),
        "encoding": request.META.get("HTTP_CONTENT_ENCODING"),
        "length": request.META.get("CONTENT_LENGTH"),
        "scheme": request.scheme,
        "url": len(request.get_full_path()),
    }


@csrf_exempt
def sync(request):
    return JsonResponse(facts(request, request.body))


@csrf_exempt
async def lifted(request):
    return web.json_response(facts(django_request(request), await request.read()))


def leave():
    sys.exit("left")


async def leaving_task(request):
    async def task():
        leave()

    await asyncio.create_task(task())


async def leaving_thread(request):
    await asyncio.gather(asyncio.to_thread(leave))


async def leaving_body(request):
    async def parts():
        yield b"so far"
        leave()

    return web.Response(body=parts())


async def leaving_callback(request):
    asyncio.get_running_loop().call_soon(leave)
    await asyncio.sleep(0)
    return web.Response(text="answered")


def leaving_over_loop(request):
    """A sync view, whose coroutine runs on the server's loop."""

    async def work():
        await asyncio.gather(sync_to_async(leave)())

    async_to_sync(work)()


async def waiting(request):
    """Answers once another request has left."""
    waiting.begun.set()
    await waiting.is_over.wait()
    return web.Response(text="answered")


async def begin(request):
    waiting.begun, waiting.is_over = asyncio.Event(), asyncio.Event()
    return web.Response()


async def begun(request):
    await waiting.begun.wait()
    return web.Response()


async def end(request):
    waiting.is_over.set()
    return web.Response()


urlpatterns = [
    path("sync/", sync),
    path("lifted/", lifted),
    path("leaving-task/", leaving_task),
    path("leaving-thread/", leaving_thread),
    path("leaving-body/", leaving_body),
    path("leaving-callback/", leaving_callback),
    path("leaving-over-loop/", leaving_over_loop),
    *(path(f"{view.__name__}/", view) for view in (waiting, begin, begun, end)),
]
