"""A site with a login: sync views by Django, and coroutine views."""

from aiohttp import web
from django.contrib.auth import aauthenticate, alogin, alogout, login, logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.http import Http404, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.template import engines
from django.urls import include, path

from aiodjango import (
    aget_session,
    aget_user,
    aio_login_required,
    aio_permission_required,
    django_request,
    watch_user,
)

BACKEND = "django.contrib.auth.backends.ModelBackend"


def sync_login(request):
    user = User.objects.get(username=request.GET["name"])
    login(request, user, BACKEND)
    return HttpResponse("logged in")


def sync_logout(request):
    logout(request)
    return HttpResponse("logged out")


def sync_who(request):
    return JsonResponse({"user": request.user.username, "session": dict(request.session)})


@login_not_required
async def who(request):
    user = await aget_user(request)
    again = await aget_user(request)
    return web.json_response(
        {"user": user.get_username(), "anonymous": user.is_anonymous, "same": again is user}
    )


async def untouched(request):
    return web.Response(text="untouched")


async def read(request):
    session = await aget_session(request)
    return web.Response(text=str(session.get("color")))


async def write(request, color):
    session = await aget_session(request)
    session["color"] = color
    status = int(request.query.get("status", 200))
    if "error" in request.query:
        raise {"404": Http404, "500": ValueError}[request.query["error"]]("asked for")
    if "redirect" in request.query:
        raise web.HTTPFound("/read/")
    return web.Response(text=color, status=status, headers={"Vary": "Accept"})


async def expiring(request):
    session = await aget_session(request)
    session["color"] = "red"
    session.set_expiry(int(request.query["seconds"]))
    return web.Response()


async def losing(request):
    """Somebody else logs out while this view is at work."""
    session = await aget_session(request)
    session["color"] = "red"
    await Session.objects.filter(session_key=session.session_key).adelete()
    if request.query.get("error"):
        raise web.HTTPNotFound
    return web.Response()


async def flush(request):
    session = await aget_session(request)
    await session.aflush()
    return web.Response()


async def aio_login(request):
    django = django_request(request)
    user = await aauthenticate(django, username=request.query["name"], password="secret")
    await alogin(django, user)
    return web.Response(text=(await aget_user(request)).get_username())


PAGE = engines["django"].from_string("user: {{ request.user.username }}.")


async def page(request):
    """A template shows the user, on the event loop."""
    if "unknown" not in request.query:
        await aget_user(request)
    if "name" in request.query:
        user = await User.objects.aget(username=request.query["name"])
        await alogin(django_request(request), user, BACKEND)
    elif "logout" in request.query:
        await alogout(django_request(request))
    return web.Response(text=PAGE.render({}, django_request(request)))


async def aio_logout(request):
    await alogout(django_request(request))
    return web.Response(text=str((await aget_user(request)).is_anonymous))


async def token(request):
    await aget_session(request)  # with CSRF_USE_SESSIONS the secret is in there
    return web.Response(text=get_token(django_request(request)))


async def stream(request):
    session = await aget_session(request)
    session["color"] = "streamed"
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"x")
    session["color"] = "too late"
    return response


async def socket(request):
    ws = web.WebSocketResponse()
    if "before" in request.query:
        await aget_user(request)
    await ws.prepare(request)
    user = await aget_user(request)
    await watch_user(request, ws)
    await ws.send_str(user.get_username())
    async for message in ws:
        await ws.send_str(message.data)
    return ws


@aio_login_required
async def private(request):
    return web.Response(text="private")


@aio_login_required(login_url="/other/", redirect_field_name="then")
async def private_item(request, pk):
    return web.Response(text=f"private {pk}")


@aio_login_required
class PrivateClass(web.View):
    async def get(self):
        return web.Response(text="private")


class PartlyPrivate(web.View):
    async def get(self):
        return web.Response(text="public")

    @aio_login_required
    async def post(self):
        return web.Response(text="private")


@aio_login_required
async def private_socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await ws.send_str("private")
    await ws.close()
    return ws


@aio_permission_required("auth.add_user")
async def editors(request):
    return await private_socket(request) if "Upgrade" in request.headers else web.Response()


@aio_permission_required(["auth.add_user", "auth.change_user"], raise_exception=True)
async def strict(request):
    return web.Response()


urlpatterns = [
    path("login/", sync_login, name="login"),
    path("logout/", sync_logout),
    path("sync-who/", sync_who),
    path("who/", who),
    path("page/", page),
    path("untouched/", untouched),
    path("read/", read),
    path("write/<str:color>/", write),
    path("expiring/", expiring),
    path("losing/", losing),
    path("flush/", flush),
    path("aio-login/", aio_login),
    path("aio-logout/", aio_logout),
    path("token/", token),
    path("stream/", stream),
    path("socket/", socket),
    path("private/", private),
    path("private/<int:pk>/", private_item),
    path("private-class/", PrivateClass),
    path("partly-private/", PartlyPrivate),
    path("private-socket/", private_socket),
    path("editors/", include([path("", editors), path("strict/", strict)])),
]
