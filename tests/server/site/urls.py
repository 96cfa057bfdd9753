"""What a request is, as each half sees it."""

from aiohttp import web
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from aiodjango.request import django_request


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


urlpatterns = [path("sync/", sync), path("lifted/", lifted)]
