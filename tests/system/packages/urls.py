"""Pages that every project has, with those of the chapter."""

import importlib
import importlib.util

from aiohttp import web
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path


def home(request):
    return HttpResponse("<html><body>home</body></html>")


def page(request, pk):
    return HttpResponse(f"<html><body>{User.objects.count()}</body></html>")


def broken(request):
    raise KeyError("in Django")


async def live(request, pk):
    return web.json_response({"users": await User.objects.acount()})


async def live_broken(request):
    raise ValueError("in a coroutine view")


async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data)
    return ws


urlpatterns = [
    path("", home),
    path("admin/", admin.site.urls),
    path("page/<int:pk>/", page),
    path("broken/", broken),
    path("live/<int:pk>/", live),
    path("live/broken/", live_broken),
    path("socket/", socket),
]
if importlib.util.find_spec("urls"):  # the chapter's
    urlpatterns += importlib.import_module("urls").urlpatterns
