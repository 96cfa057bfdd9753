from aiohttp import web
from django.core.cache import cache
from django.http import HttpResponse
from django.urls import path


def write(request, value):
    cache.set("value", value)
    return HttpResponse()


async def read(request):
    return web.Response(text=await cache.aget("value"))


urlpatterns = [path("write/<value>/", write), path("read/", read)]
