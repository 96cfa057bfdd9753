"""Django's own features through a real server: uploads, streams, files, caching, messages, async.

Every test runs at the root and under a prefix. The URLconf and its views are this module.
"""

import asyncio
import gzip
import hashlib
import io
import itertools
import threading
from typing import NamedTuple
from urllib.parse import urlencode

import aiohttp
import pytest
from aiohttp import web
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import post_save
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.test import Client as DjangoClient
from django.urls import path
from django.views.decorators.http import condition

from aiodjango import FALLBACK, get_aio_application
from tests.support.waiting import DEADLINE

TEXT = "A page worth compressing. " * 500


# --- The site ------------------------------------------------------------------------------


def token(request):
    return HttpResponse(get_token(request))


def upload(request):
    return JsonResponse(
        {
            "fields": {name: request.POST.getlist(name) for name in request.POST},
            "files": [
                {
                    "field": field,
                    "name": file.name,
                    "type": file.content_type,
                    "handler": type(file).__name__,
                    "size": file.size,
                    "digest": digest(b"".join(file.chunks())),
                }
                for field in request.FILES
                for file in request.FILES.getlist(field)
            ],
        }
    )


def stream(request):
    return StreamingHttpResponse((f"line {n}\n" for n in range(2000)), content_type="text/plain")


class Endless:
    """A stream without an end, and whether it was closed."""

    closed = threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        return b"more " * 1000

    def close(self):
        self.closed.set()


def endless(request):
    return StreamingHttpResponse(Endless())


def download(request):
    return FileResponse(open(request.GET["path"], "rb"), as_attachment=True, filename="größe.bin")


def part_of_file(request):
    """A view that knows ranges, of the form "bytes=<first>-<last>"."""
    unit, _, span = request.headers["Range"].partition("=")
    first, last = map(int, span.split("-"))
    with open(request.GET["path"], "rb") as file:
        file.seek(first)
        part = file.read(last + 1 - first)
        size = file.seek(0, 2)
    headers = {"Content-Range": f"{unit} {first}-{last}/{size}", "Accept-Ranges": unit}
    return HttpResponse(part, status=206, headers=headers)


def page(request):
    return HttpResponse(TEXT)


made = itertools.count()


@condition(etag_func=lambda request: '"v1"')
def conditional(request):
    return JsonResponse({"made": next(made)})


def leave_message(request):
    messages.success(request, request.POST["text"])
    return redirect("read-messages")


def read_messages(request):
    return JsonResponse([str(message) for message in messages.get_messages(request)], safe=False)


async def async_view(request: HttpRequest):
    await asyncio.sleep(0)
    return JsonResponse(
        {
            "loop": id(asyncio.get_running_loop()),
            "thread": threading.get_ident(),
            "worker": await sync_to_async(threading.current_thread)() == request.worker,
            "path": request.path,
            "users": await User.objects.acount(),
        }
    )


async def async_stream(request: HttpRequest):
    async def parts():
        for number in range(100):
            await asyncio.sleep(0)
            yield f"{number} {id(asyncio.get_running_loop())}\n"

    return StreamingHttpResponse(parts(), content_type="text/plain")


def create_user(request):
    user = User.objects.create(username=request.POST["name"])
    return JsonResponse({"pk": user.pk})


SOCKETS = web.AppKey("SOCKETS", set)


async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    sockets = request.app[SOCKETS]
    sockets.add(ws)
    await ws.send_str("open")
    async for _ in ws:
        pass
    sockets.discard(ws)
    return ws


urlpatterns = [
    path("token/", token),
    path("upload/", upload),
    path("stream/", stream),
    path("endless/", endless),
    path("download/", download),
    path("part/", part_of_file),
    path("page/", page),
    path("conditional/", conditional),
    path("messages/leave/", leave_message),
    path("messages/", read_messages, name="read-messages"),
    path("async/", async_view),
    path("async-stream/", async_stream),
    path("users/", create_user),
    path("socket/", socket),
]


def note_worker(get_response):
    """A sync middleware, as most are: it runs in the worker, around an async view too."""

    def middleware(request):
        request.worker = threading.current_thread()
        return get_response(request)

    return middleware


def digest(data):
    return hashlib.sha256(data).hexdigest()


# --- The server ----------------------------------------------------------------------------


class Site(NamedTuple):
    app: web.Application
    session: aiohttp.ClientSession
    url: str
    mount: str

    def get(self, path, **options):
        return self.session.get(self.url + path, **options)

    def ws_connect(self, path):
        return self.session.ws_connect(self.url + path)

    async def post(self, path, data, **options):
        """POST as a form of the site's own: with its CSRF token. Returns status and text."""
        async with self.get("/token/") as response:
            headers = {"X-CSRFToken": await response.text()}
        headers |= options.pop("headers", {})
        url = self.url + path
        async with self.session.post(url, data=data, headers=headers, **options) as response:
            return response.status, await response.text(), response

    async def upload(self, data, **options):
        status, text, response = await self.post("/upload/", data, **options)
        assert status == 200, text
        return await response.json()


@pytest.fixture(params=["", "/mounted"], ids=["root", "mounted"])
async def site(request, settings):
    settings.ROOT_URLCONF = __name__
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.messages"]
    settings.MIDDLEWARE = [
        f"{__name__}.note_worker",
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        *settings.MIDDLEWARE,
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    app = main = get_aio_application(get_wsgi_application())
    app[SOCKETS] = set()
    if request.param:
        main = web.Application()
        main.add_subapp(request.param, app)
    runner = web.AppRunner(main, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{request.param}"
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=DEADLINE),
        ) as session:
            yield Site(app, session, url, request.param)
    finally:
        await runner.cleanup()


@pytest.fixture
def big_file(tmp_path):
    file = tmp_path / "big.bin"
    file.write_bytes(bytes(range(256)) * 8192)
    return file


# --- Requests with bodies ------------------------------------------------------------------


class TestUpload:
    @pytest.mark.parametrize(
        ("size", "handler"),
        [
            (0, "InMemoryUploadedFile"),
            (1000, "InMemoryUploadedFile"),
            (2_000_000, "InMemoryUploadedFile"),
            (3_000_000, "TemporaryUploadedFile"),
        ],
    )
    @pytest.mark.parametrize("chunked", [None, True], ids=["length", "chunked"])
    async def test_handlers(self, site, settings, tmp_path, size, handler, chunked):
        settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
        data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("title", "Grüße")
        form.add_field("file", io.BytesIO(data), filename="größe.bin", content_type="image/x-test")
        answer = await site.upload(form, chunked=chunked)
        assert answer["fields"] == {"title": ["Grüße"]}
        assert answer["files"] == [
            {
                "field": "file",
                "name": "größe.bin",
                "type": "image/x-test",
                "handler": handler,
                "size": size,
                "digest": digest(data),
            }
        ]
        async with asyncio.timeout(DEADLINE):  # the view's thread closes it after its answer
            while list(tmp_path.iterdir()):
                await asyncio.sleep(0.005)

    async def test_many_parts(self, site, settings):
        settings.DATA_UPLOAD_MAX_NUMBER_FILES = 400
        form = aiohttp.FormData()
        for number in range(300):
            form.add_field("tag", f"tag {number}")
            form.add_field("file", b"%d" % number, filename=f"{number}.txt")
        answer = await site.upload(form)
        assert answer["fields"] == {"tag": [f"tag {number}" for number in range(300)]}
        assert [(file["name"], file["digest"]) for file in answer["files"]] == [
            (f"{number}.txt", digest(b"%d" % number)) for number in range(300)
        ]

    async def test_more_files_than_django_takes(self, site):
        form = aiohttp.FormData()
        for number in range(101):
            form.add_field("file", b"x", filename=f"{number}.txt")
        status, _, _ = await site.post("/upload/", form)
        assert status == 400


def encoded(**fields):
    """A form as the arguments of a POST. (aiohttp's client warns of a large one in bytes.)"""
    return {
        "data": io.BytesIO(urlencode(fields).encode()),
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
    }


class TestForm:
    async def test_large(self, site):
        text = "long text, with ümlauts & more = " * 30_000
        answer = await site.upload(**encoded(text=text, other="1"))
        assert answer == {"fields": {"text": [text], "other": ["1"]}, "files": []}

    async def test_larger_than_django_takes(self, site):
        status, _, _ = await site.post("/upload/", **encoded(text="x" * 2_700_000))
        assert status == 400

    async def test_many_fields(self, site):
        data = [("choice", str(number)) for number in range(999)]
        answer = await site.upload(aiohttp.FormData(data))
        assert answer["fields"] == {"choice": [str(number) for number in range(999)]}

    async def test_without_a_token(self, site):
        async with site.session.post(site.url + "/upload/", data={"a": "b"}) as response:
            assert response.status == 403


# --- Responses -----------------------------------------------------------------------------


class TestStream:
    async def test_to_its_end(self, site):
        async with site.get("/stream/") as response:
            # How it is framed depends on whether its end is there before its beginning is sent.
            assert await response.text() == "".join(f"line {n}\n" for n in range(2000))

    async def test_closed_when_its_reader_leaves(self, site):
        Endless.closed.clear()
        async with site.get("/endless/") as response:
            assert (await response.content.readexactly(100_000))[:5] == b"more "
            response.close()
        assert await asyncio.to_thread(Endless.closed.wait, DEADLINE)


class TestFile:
    async def test_whole(self, site, big_file):
        async with site.get("/download/", params={"path": str(big_file)}) as response:
            assert response.status == 200
            assert response.headers["Content-Length"] == str(big_file.stat().st_size)
            disposition = response.headers["Content-Disposition"]
            assert disposition == "attachment; filename*=utf-8''gr%C3%B6%C3%9Fe.bin"
            assert await response.read() == big_file.read_bytes()

    async def test_with_a_range(self, site, big_file):
        """Django's FileResponse takes no notice of a range; neither do we."""
        query, headers = {"path": str(big_file)}, {"Range": "bytes=10-19"}
        # (The test client, on the loop, would make its thread one that runs Django.)
        expected = await asyncio.to_thread(
            lambda: DjangoClient().get("/download/", query, headers=headers)
        )
        assert expected.status_code == 200
        async with site.get("/download/", params=query, headers=headers) as response:
            assert response.status == expected.status_code
            for name, value in expected.headers.items():
                assert response.headers[name] == value
            for name in ["Accept-Ranges", "Content-Range"]:
                assert name not in response.headers
            assert await response.read() == big_file.read_bytes()
        await asyncio.to_thread(expected.close)

    async def test_from_a_view_that_knows_ranges(self, site, big_file):
        query, headers = {"path": str(big_file)}, {"Range": "bytes=10-19"}
        async with site.get("/part/", params=query, headers=headers) as response:
            assert (response.status, await response.read()) == (206, bytes(range(10, 20)))
            assert response.headers["Content-Range"] == f"bytes 10-19/{256 * 8192}"

    async def test_head(self, site, big_file):
        url = site.url + "/download/"
        async with site.session.head(url, params={"path": str(big_file)}) as response:
            assert response.status == 200
            assert response.headers["Content-Length"] == str(big_file.stat().st_size)
        async with site.get("/page/") as response:
            assert await response.text() == TEXT


class TestConditional:
    async def test_by_decorator(self, site):
        async with site.get("/conditional/") as response:
            assert (response.status, response.headers["ETag"]) == (200, '"v1"')
            first = (await response.json())["made"]
        for _ in range(3):
            async with site.get("/conditional/", headers={"If-None-Match": '"v1"'}) as response:
                assert (response.status, await response.read()) == (304, b"")
                assert response.headers["ETag"] == '"v1"'
        async with site.get("/conditional/", headers={"If-None-Match": '"v0"'}) as response:
            assert await response.json() == {"made": first + 1}

    async def test_by_middleware(self, site):
        async with site.get("/page/") as response:
            etag = response.headers["ETag"]
        async with site.get("/page/", headers={"If-None-Match": etag}) as response:
            assert (response.status, await response.read()) == (304, b"")
        async with site.get("/page/", headers={"If-None-Match": '"other"'}) as response:
            assert (response.status, await response.text()) == (200, TEXT)


class TestGZip:
    @pytest.mark.parametrize("path", ["/page/", "/stream/"])
    async def test_compressed_by_django_alone(self, site, path):
        async with site.get(path) as response:
            assert "Content-Encoding" not in response.headers
            plain = await response.read()
        async with site.get(path, headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.headers["Vary"] == "Accept-Encoding"
            body = await response.read()
        assert gzip.decompress(body) == plain


async def test_messages(site):
    for text in ["Saved.", "Gespeichert: größer"]:
        status, _, response = await site.post("/messages/leave/", {"text": text})
        assert (status, response.url.path) == (200, f"{site.mount}/messages/")
        assert await response.json() == [text]
        assert [each.status for each in response.history] == [302]
        async with site.get("/messages/") as again:
            assert await again.json() == []


# --- Async in Django -----------------------------------------------------------------------


@pytest.fixture
def database(transactional_db):
    """The test database; the workers' connections to it end with their requests.

    Django itself keeps a connection to a database in memory open: it would outlive its thread.
    To be asked for before `site`, as the server has to end first.
    """

    def close(**kwargs):
        BaseDatabaseWrapper.close(connections["default"])

    request_finished.connect(close)
    yield
    request_finished.disconnect(close)


class TestAsyncView:
    async def test_on_the_servers_loop(self, database, site):
        for _ in range(3):
            async with site.get("/async/") as response:
                assert await response.json() == {
                    "loop": id(asyncio.get_running_loop()),
                    "thread": threading.get_ident(),
                    "worker": True,
                    "path": f"{site.mount}/async/",
                    "users": 0,
                }

    @pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
    async def test_stream(self, site):
        """Django collects an async stream before a WSGI server sees any of it: finite ones work."""
        loop = id(asyncio.get_running_loop())
        async with site.get("/async-stream/") as response:
            assert await response.text() == "".join(f"{n} {loop}\n" for n in range(100))


async def test_a_signal_pushes_to_open_websockets(database, site):
    async def push(text):
        for ws in site.app[SOCKETS]:
            await ws.send_str(text)

    def announce(sender, instance, created, **kwargs):
        async_to_sync(push)(f"new: {instance.username}")

    post_save.connect(announce, sender=User)
    try:
        async with site.ws_connect("/socket/") as one, site.ws_connect("/socket/") as other:
            for ws in [one, other]:
                assert await ws.receive_str(timeout=DEADLINE) == "open"
            for name in ["anna", "bob"]:
                status, _, _ = await site.post("/users/", {"name": name})
                assert status == 200
                for ws in [one, other]:
                    assert await ws.receive_str(timeout=DEADLINE) == f"new: {name}"
    finally:
        post_save.disconnect(announce, sender=User)
    assert site.app[FALLBACK].pending == 0
