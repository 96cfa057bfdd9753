"""A site that does in both halves what a test client can ask for."""

import asyncio
import json
import tempfile
import threading

from aiohttp import web
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.core.signals import request_finished
from django.db import connections, transaction
from django.http import (
    FileResponse,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path

from aiodjango import aget_session, aget_user, django_view, run_in_django
from aiodjango.test import AioClient


def where():
    """Which connection is used here, in which thread."""
    return {"connection": id(connections["default"]), "thread": threading.current_thread().name}


# ---- The same in both halves ----


def groups(request):
    if request.method == "POST":
        Group.objects.create(name=request.POST["name"])
    names = list(Group.objects.order_by("name").values_list("name", flat=True))
    return JsonResponse({"groups": names, **where()})


async def aio_groups(request):
    if request.method == "POST":
        await Group.objects.acreate(name=(await request.post())["name"])
    names = [name async for name in Group.objects.order_by("name").values_list("name", flat=True)]
    return web.json_response({"groups": names, **await run_in_django(where)})


def request_seen(request):
    body, files = "", {}
    if request.content_type == "multipart/form-data":
        files = {name: file.read().decode() for name, file in request.FILES.items()}
    else:
        body = request.body.decode()
    return JsonResponse(
        {
            "method": request.method,
            "path": request.get_full_path(),
            "uri": request.build_absolute_uri(),
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": body,
            "files": files,
        }
    )


async def aio_request_seen(request):
    django = {"headers": {name.lower(): value for name, value in request.headers.items()}}
    body, files = "", {}
    if request.content_type == "multipart/form-data":
        files = {name: part.file.read().decode() for name, part in (await request.post()).items()}
    else:
        body = await request.text()
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path,
            "uri": f"{request.scheme}://{request.host}{request.raw_path}",
            "body": body,
            "files": files,
            **django,
        }
    )


def visits(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"], "user": request.user.username})


async def aio_visits(request):
    session = await aget_session(request)
    session["visits"] = session.get("visits", 0) + 1
    user = await aget_user(request)
    return web.json_response({"visits": session["visits"], "user": user.username})


def fail(request):
    raise KeyError("nobody has this key")


async def aio_fail(request):
    raise KeyError("nobody has this key")


def refuse(request):
    raise PermissionDenied


async def aio_refuse(request):
    raise PermissionDenied


def redirect(request, status):
    response = HttpResponseRedirect(request.GET["to"])
    response.status_code = status
    return response


async def aio_redirect(request, status):
    return web.Response(status=status, headers={"Location": request.query["to"]})


def circle(request):
    return HttpResponseRedirect("/circle/")


async def aio_circle(request):
    raise web.HTTPFound("/aio/circle/")


def page(request):
    return render(request, "testing/page.html", {"title": "A page"})


async def aio_page(request):
    text = await run_in_django(render_to_string, "testing/page.html", {"title": "A page"})
    return web.Response(text=text, content_type="text/html")


def headers(request):
    response = HttpResponse("text", headers={"X-One": "1", "Vary": "Cookie"})
    response.set_cookie("flavour", 'vanilla "double"', httponly=True)
    response.set_cookie("size", "2", max_age=60)
    return response


async def aio_headers(request):
    response = web.Response(text="text", headers={"X-One": "1", "Vary": "Cookie"})
    response.set_cookie("flavour", 'vanilla "double"', httponly=True)
    response.set_cookie("size", "2", max_age=60)
    return response


def stream(request):
    def parts():
        yield b"first "
        yield json.dumps(where()).encode()

    return StreamingHttpResponse(parts())


async def aio_stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"first ")
    await response.write(json.dumps(await run_in_django(where)).encode())
    return response


def commit(request):
    transaction.on_commit(lambda: Group.objects.create(name="committed"))
    return HttpResponse()


async def aio_commit(request):
    await run_in_django(commit, None)
    return web.Response()


# ---- Only Django's half ----


def file(request):
    """A response that the gateway sends as a file; says where it was closed."""
    threads = []
    request_finished.connect(
        note := lambda **_: threads.append(threading.current_thread().name), weak=False
    )
    FILE_CLOSERS.append((threads, note))
    content = tempfile.TemporaryFile()
    content.write(b"x" * 100_000)
    content.seek(0)
    return FileResponse(content)


FILE_CLOSERS = []


def with_coroutine(request):
    """A sync view that runs a coroutine, which uses the database."""

    async def count():
        return id(asyncio.get_running_loop()), await Group.objects.acount()

    loop, number = async_to_sync(count)()
    return JsonResponse({"loop": loop, "groups": number})


def nested(request):
    """A view that makes requests by clients of its own."""
    answers = [async_to_sync(AioClient().get)(f"{half}/groups/").json() for half in ("", "/aio")]
    return JsonResponse({"answers": answers})


def template_response(request):
    return TemplateResponse(request, "testing/page.html", {"title": "A page"})


@django_view
async def native_stream(request):
    async def parts():
        yield b"one "
        yield b"two"

    return StreamingHttpResponse(parts())


def other_urlconf(request):
    return HttpResponse("outer")


class OtherUrlconf:
    """Takes the place of this URLconf in some requests."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path == "/other-urlconf/":
            request.urlconf = InnerUrls
        return self.get_response(request)


class InnerUrls:
    urlpatterns = [path("other-urlconf/", lambda request: HttpResponse("inner"), name="inner")]


@django_view
async def native(request):
    number = await Group.objects.acount()
    return JsonResponse({"loop": id(asyncio.get_running_loop()), "groups": number})


def form(request):
    return HttpResponse(request.method)


OVERLAP = {"now": 0, "most": 0}


def slow(request):
    OVERLAP["now"] += 1
    OVERLAP["most"] = max(OVERLAP.values())
    threading.Event().wait(0.02)
    Group.objects.count()
    OVERLAP["now"] -= 1
    return HttpResponse()


async def aio_slow(request):
    await run_in_django(slow, None)
    return web.Response()


# ---- Only aiohttp's half ----


async def loop(request):
    return web.json_response({"loop": id(asyncio.get_running_loop())})


async def socket(request):
    ws = web.WebSocketResponse(protocols=["groups"])
    session = await aget_session(request)
    session["met"] = True
    await ws.prepare(request)
    await ws.send_json([(await aget_user(request)).username, request.host])
    async for message in ws:
        if message.data == "fail":
            raise KeyError("nobody has this key")
        await Group.objects.acreate(name=message.data)
        await ws.send_json([await Group.objects.acount(), await run_in_django(where)])
    return ws


async def broken_stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"first ")
    raise KeyError("nobody has this key")


async def chat(request):
    """A stream that goes on when somebody posts."""
    if request.method == "POST":
        await CHATS.pop(0).put(await request.read())
        return web.Response()
    CHATS.append(queue := asyncio.Queue())
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"ready\n")
        await response.write(await queue.get() + b"\n")


CHATS = []

urlpatterns = [
    path("groups/", groups),
    path("aio/groups/", aio_groups),
    path("seen/<path:rest>", lambda request, rest: request_seen(request)),
    path("aio/seen/<path:rest>", aio_request_seen),
    path("visits/", visits),
    path("aio/visits/", aio_visits),
    path("fail/", fail),
    path("aio/fail/", aio_fail),
    path("refuse/", refuse),
    path("aio/refuse/", aio_refuse),
    path("redirect/<int:status>/", redirect),
    path("aio/redirect/<int:status>/", aio_redirect),
    path("circle/", circle),
    path("aio/circle/", aio_circle),
    path("page/", page),
    path("aio/page/", aio_page),
    path("headers/", headers),
    path("aio/headers/", aio_headers),
    path("stream/", stream),
    path("aio/stream/", aio_stream),
    path("commit/", commit),
    path("aio/commit/", aio_commit),
    path("slow/", slow),
    path("aio/slow/", aio_slow),
    path("file/", file),
    path("with-coroutine/", with_coroutine),
    path("native/", native),
    path("native-stream/", native_stream),
    path("nested/", nested),
    path("template-response/", template_response),
    path("other-urlconf/", other_urlconf),
    path("form/", form),
    path("loop/", loop),
    path("socket/", socket),
    path("broken-stream/", broken_stream),
    path("chat/", chat),
]
