"""Views with the mistakes of somebody who knows one half only."""

import asyncio
import functools

from aiohttp import web
from django.contrib import messages
from django.contrib.auth import alogin, authenticate, login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.transaction import atomic
from django.http import HttpRequest, HttpResponse
from django.shortcuts import aget_object_or_404, get_object_or_404, redirect, render
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from aiodjango import aget_user, django_request, django_view
from aiodjango.broadcast import subscribe


async def good(request):
    return web.json_response({"q": request.query.get("q")})


async def message(request):
    messages.success(request, "Saved")
    return web.Response()


async def sync_login(request):
    login(request, User(pk=1))
    return web.Response()


async def async_login(request):
    await alogin(request, User(pk=1))
    return web.Response()


async def template(request):
    return render(request, "page.html")


async def object_or_404(request):
    get_object_or_404(User, pk=1)
    return web.Response()


async def get(request):
    return web.Response(text=User.objects.get(pk=1).username)


async def save(request):
    User(username="ann").save()
    return web.Response()


async def iterate(request):
    return web.json_response([user.username for user in User.objects.all()])


async def count(request):
    return web.json_response(len(User.objects.all()))


async def exists(request):
    return web.Response(text="some" if User.objects.all() else "none")


async def transaction(request):
    with atomic():
        return web.Response()


async def async_transaction(request):
    async with atomic():
        return web.Response()


async def session_item(request):
    return web.json_response(django_request(request).session["key"])


async def user_of_django(request):
    return web.Response(text=django_request(request).user.username)


async def await_queryset(request):
    return web.json_response(await User.objects.all())


async def await_response(request):
    return await redirect("/")


async def missing_await(request):
    form = request.post()
    try:
        return web.Response(text=form.get("name"))
    finally:
        form.close()  # without the warning that it was never awaited, after the test


async def in_group(request):
    async def fail():
        return request.GET

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())


async def reraised(request):
    try:
        return request.session["key"]
    except AttributeError as error:
        raise RuntimeError("no session") from error


@csrf_exempt
async def decorated(request):
    raise LookupError("its own")


async def own_error(request):
    return {}.name


async def own_async_lookup(request):
    return await aget_object_or_404(User, name="no such field")


async def returns_none(request):
    pass


async def returns_dict(request):
    return {"a": 1}


async def returns_text(request):
    return "text"


async def returns_bytes(request):
    return b"text"


async def returns_pair(request):
    return {"a": 1}, 201


async def returns_class(request):
    return web.HTTPNotFound


async def returns_awaitable(request):
    return asyncio.get_running_loop().create_future()


async def returns_generator(request):
    return (part for part in [b"x"])


async def closed(coroutine, use):
    """Use a coroutine that is not awaited, without Python's warning of it after the test."""
    try:
        return use(coroutine)
    finally:
        coroutine.close()


async def missing_await_item(request):
    return await closed(request.post(), lambda form: form["name"])


async def missing_await_sum(request):
    return await closed(User.objects.acount(), lambda count: count + 1)


async def missing_await_loop(request):
    count = User.objects.acount()
    try:
        async for _ in count:
            pass
    finally:
        count.close()


async def form_of_model(request):
    form = UserCreationForm({"username": "ann", "password1": "a-1-b-2-c", "password2": "a-1-b-2-c"})
    return web.json_response(form.is_valid())


async def errors_of_form(request):
    form = UserCreationForm({"username": "ann", "password1": "a-1-b-2-c", "password2": "a-1-b-2-c"})
    return web.json_response(form.errors)


async def paginates(request):
    return web.json_response(len(Paginator(User.objects.order_by("pk"), 9).page(1)))


async def template_with_queryset(request):
    return render(django_request(request), "users.html", {"users": User.objects.all()})


async def websocket_not_prepared(request):
    ws = web.WebSocketResponse()
    await ws.send_str("Hello")
    return ws


async def sync_subscription(request):
    with subscribe("news"):
        return web.Response()


async def awaits_request(request):
    return await django_request(request)


async def positional_text(request):
    return web.Response("Hello")


async def djangos_argument(request):
    return web.Response(text="Hello", status_code=201)


async def json_unsafe(request):
    return web.json_response([1], safe=False)


async def json_of_object(request):
    return web.json_response({"user": User()})


async def json_of_queryset(request):
    return web.json_response(User.objects.all())


async def status_of_django(request):
    return web.Response(status=web.Response().status_code)


async def list_of_django(request):
    return web.json_response(request.query.getlist("name"))


class AsksItself(web.View):
    async def get(self):
        return web.Response(text=self.query["q"])


class ProtectedByDjango(web.View):
    @login_required
    async def get(self):
        return web.Response()


class IsSync(web.View):
    def get(self):
        return web.Response()


class ReturnsDict(web.View):
    async def get(self):
        return {"a": 1}


async def returns_response(request):
    return web.Response()


# ---- What Django calls ----


async def websocket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    return ws


class AioView(web.View):
    async def get(self):
        return web.Response()


class ClassView(View):
    async def get(self, request):
        return web.json_response({})


class DictView(View):
    async def get(self, request):
        return {"a": 1}


class StreamView(View):
    async def get(self, request):
        await web.StreamResponse().prepare(request)


class UserView(View):
    async def get(self, request):
        return HttpResponse(await aget_user(request))


def sync_aiohttp(request):
    return web.Response(text="x")


def sync_query(request):
    return HttpResponse(request.query["q"])


async def annotated(request: HttpRequest):
    return web.Response(text="x")


async def left(request):
    return web.Response(text="x")


async def generates(request):
    yield b"x"


def sync_text(request):
    return "text"


def sync_coroutine(request):
    return aget_user(request)


def for_sync_views(view):
    @functools.wraps(view)
    def decorated(request):
        return view(request)

    return decorated


@for_sync_views
async def wrongly_decorated(request):
    return web.Response()


def sync_redirect(request):
    raise web.HTTPFound("/")


def sync_none(request):
    return None


def sync_own_error(request):
    return authenticate(request, username={}.name)


left_view = django_view(left)
