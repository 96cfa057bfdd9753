from threading import current_thread

from aiohttp import web
from django.http import HttpResponse
from django.urls import path


def page(request):  # Django's, as ever: in a thread
    return HttpResponse(f"Django, in {current_thread().name}\n")


async def live(request):  # aiohttp's: on the event loop
    return web.Response(text=f"aiohttp, in {current_thread().name}\n")


urlpatterns = [path("page/", page), path("live/", live)]
