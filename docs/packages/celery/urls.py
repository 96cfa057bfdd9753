from aiohttp import web
from django.http import JsonResponse
from django.urls import path
from tasks import add

from aiodjango import run_in_django


def start(request, a, b):
    return JsonResponse({"task": add.delay(a, b).id})


async def start_live(request, a, b):
    task = await run_in_django(add.delay, a, b)  # it sends over the network
    return web.json_response({"task": task.id})


async def result(request, task):
    value = await run_in_django(add.AsyncResult(task).get, timeout=30)
    return web.json_response({"value": value})


urlpatterns = [
    path("start/<int:a>/<int:b>/", start),
    path("start-live/<int:a>/<int:b>/", start_live),
    path("result/<task>/", result),
]
