from aiohttp import web
from django.urls import include, path

from aiodjango import aget_user


async def whoami(request):
    user = await aget_user(request)
    return web.json_response({"user": user.get_username()})


urlpatterns = [path("accounts/", include("allauth.urls")), path("whoami/", whoami)]
