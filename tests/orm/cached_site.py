"""python -m tests.orm.cached_site FD SETTINGS OPTIONS: views in both halves use the cache.

Each reads back what it has written under a key of its own, so that answers that were mixed up are
noticed.
"""

import json
import os
import socket
import sys
from uuid import uuid4

import django
from aiohttp import web
from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.http import HttpResponse
from django.urls import path

from aiodjango import aget_session, get_aio_application, run_in_django


def check():
    key = uuid4().hex
    cache.set(key, key, 60)
    if cache.get(key) != key or cache.get_many([key, "none"]) != {key: key}:
        raise ValueError("another's answer")


def view(request):
    check()
    return HttpResponse()


def session_view(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse()


async def aio(request):
    key = uuid4().hex
    await cache.aset(key, key, 60)
    if await cache.aget(key) != key:
        raise ValueError("another's answer")
    return web.Response()


async def direct(request):
    check()
    return web.Response()


async def in_django(request):
    await run_in_django(check)
    return web.Response()


async def in_any_thread(request):
    await sync_to_async(check, thread_sensitive=False)()
    return web.Response()


async def aio_session(request):
    session = await aget_session(request)
    session["visits"] = session.get("visits", 0) + 1
    return web.Response()


urlpatterns = [
    path("view/", view),
    path("session_view/", session_view),
    path("aio/", aio),
    path("direct/", direct),
    path("in_django/", in_django),
    path("in_any_thread/", in_any_thread),
    path("aio_session/", aio_session),
]

if __name__ == "__main__":
    os.environ["TEST_SETTINGS"] = sys.argv[2]
    django.setup()
    cache.get("early")  # as code does that runs at import
    app = get_aio_application(**json.loads(sys.argv[3]))
    cache.get("early")
    web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])), access_log=None, print=None)
