"""What a request says of itself, told by both halves of a site."""

from aiohttp import web
from django.http import JsonResponse
from django.urls import path, reverse

from aiodjango import django_request


def facts(request):
    return {
        "scheme": request.scheme,
        "is_secure": request.is_secure(),
        "host": request.get_host(),
        "port": request.get_port(),
        "here": request.build_absolute_uri(),
        "there": request.build_absolute_uri(reverse("sync") + "?a=b"),
        "remote": request.META["REMOTE_ADDR"],
        "forwarded": request.META.get("HTTP_X_FORWARDED_FOR"),
    }


def sync(request):
    return JsonResponse(facts(request))


async def lifted(request):
    return web.json_response(facts(django_request(request)))


def quiet_sync(request):
    return JsonResponse({})


async def quiet_lifted(request):
    return web.json_response({})


async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await ws.send_json(facts(django_request(request)))
    await ws.send_str(await ws.receive_str())
    return ws


urlpatterns = [
    path("sync/", sync, name="sync"),
    path("lifted/", lifted),
    path("quiet/sync/", quiet_sync),
    path("quiet/lifted/", quiet_lifted),
    path("socket/", socket),
]
