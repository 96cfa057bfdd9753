"""The URLconf of the suite: one sync and one coroutine view of everything."""

from aiohttp import web
from django.http import JsonResponse
from django.template import engines
from django.urls import include, path, reverse

TEMPLATE = "{% load static %}{% url 'sync' %} {% url 'aio' %} {% static 'app.css' %}"


def links(**more):
    """What Django makes of its URLs here."""
    return {
        "sync": reverse("sync"),
        "aio": reverse("aio"),
        "item": reverse("shop:item", args=[7]),
        "template": engines["django"].from_string(TEMPLATE).render(),
        **more,
    }


def sync(request):
    return JsonResponse(
        links(
            server="django",
            script_name=request.META["SCRIPT_NAME"],
            path_info=request.META["PATH_INFO"],
            path=request.path,
        )
    )


async def aio(request):
    url = str(request.match_info.route.url_for())
    return web.json_response(links(server="aiohttp", url_for=url, path=request.path))


def echo(request, rest=""):
    """Whatever Django is asked for below here."""
    return JsonResponse(
        {
            "server": "django",
            "method": request.method,
            "path_info": request.META["PATH_INFO"],
            "path": request.path,
            "body": request.body.decode(),
        }
    )


async def item(request, pk):
    return web.json_response({"server": "aiohttp", "pk": pk})


urlpatterns = [
    path("", sync),
    path("sync/", sync, name="sync"),
    path("aio/", aio, name="aio"),
    path("shop/", include(([path("<int:pk>/", item, name="item")], "shop"))),
    path("echo/<path:rest>", echo),
]
