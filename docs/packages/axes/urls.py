from aiohttp import web
from django.contrib.auth import alogin, authenticate
from django.urls import path

from aiodjango import django_request, run_in_django


async def log_in(request):
    form = await request.post()
    django = django_request(request)
    # axes has no async back end.
    user = await run_in_django(
        authenticate, django, username=form["username"], password=form["password"]
    )
    if getattr(django, "axes_locked_out", False):
        return web.json_response({"error": "Try again later"}, status=429)
    if user is None:
        return web.json_response({"error": "Wrong name or password"}, status=403)
    await alogin(django, user)
    return web.json_response({"user": user.get_username()})


urlpatterns = [path("log-in/", log_in)]
