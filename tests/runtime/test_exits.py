"""Exits that site code raises end the request, never the process: SystemExit and the like."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from aiohttp import WSMsgType, web
from asgiref.sync import async_to_sync, sync_to_async
from django.core.wsgi import get_wsgi_application
from django.http import StreamingHttpResponse
from django.middleware.security import SecurityMiddleware
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path, register_converter

from aiodjango import django_view, get_aio_application, run_in_django
from aiodjango.orm import orm_calls_through
from tests.gateway.client import Client
from tests.support.lifted import lifted
from tests.support.waiting import DEADLINE

EXITS = [SystemExit, KeyboardInterrupt, asyncio.CancelledError]
AT_THREAD = [*EXITS, GeneratorExit]
raised: type[BaseException] = SystemExit


def leave(*args, **kwargs):
    raise raised("leaving")


async def in_view(request):
    leave()


class InMethod(web.View):
    async def get(self):
        leave()


async def in_django(request):
    await run_in_django(leave)


async def in_asgiref(request):
    await sync_to_async(leave)()


async def in_template(request):
    template = engines["django"].from_string("{{ leave }}")
    return TemplateResponse(None, template, {"leave": leave})


async def in_coroutine_of_thread(request):
    await run_in_django(async_to_sync(in_view), request)


async def in_thread_of_coroutine_of_thread(request):
    async def inner():
        await asyncio.gather(run_in_django(leave))

    await run_in_django(async_to_sync(inner))


async def in_task(request):
    """In the background, where nothing waits for it."""
    task = asyncio.create_task(run_in_django(leave))
    await asyncio.wait([task])
    raise task.exception()


async def in_awaited_task(request):
    async def cancelled():
        raise asyncio.CancelledError

    await asyncio.create_task(cancelled())


async def in_socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    leave()


async def in_stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"so far")
    leave()


async def fine(request):
    return web.Response(text="fine")


def sync(request):
    leave()


def sync_stream(request):
    def parts():
        yield b"so far"
        leave()

    return StreamingHttpResponse(parts())


def sync_over_loop(request):
    async_to_sync(in_view)(request)


@django_view
async def djangos(request):
    leave()


class Leaving:
    regex = "[a-z]+"
    to_python = staticmethod(leave)
    to_url = str


class LeavingSecurity(SecurityMiddleware):
    def process_response(self, request, response):
        if request.path == "/fine-or-not/":
            leave()
        return super().process_response(request, response)


register_converter(Leaving, "leaving")

urlpatterns = [
    path("in-view/", in_view),
    path("in-method/", InMethod),
    path("in-django/", in_django),
    path("in-asgiref/", in_asgiref),
    path("in-template/", in_template),
    path("in-coroutine/", in_coroutine_of_thread),
    path("in-thread/", in_thread_of_coroutine_of_thread),
    path("in-task/", in_task),
    path("in-awaited-task/", in_awaited_task),
    path("in-converter/<leaving:value>/", fine),
    path("fine-or-not/", fine),
    path("sync/", sync),
    path("sync-over-loop/", sync_over_loop),
    path("djangos/", djangos),
    path("in-socket/", in_socket),
    path("in-stream/", in_stream),
    path("sync-stream/", sync_stream),
    path("fine/", fine),
]


@pytest.fixture
async def server(aiohttp_server, settings):
    settings.ROOT_URLCONF = "tests.runtime.test_exits"
    settings.ALLOWED_HOSTS = ["*"]
    settings.MIDDLEWARE = ["tests.runtime.test_exits.LeavingSecurity"]
    return await aiohttp_server(get_aio_application(get_wsgi_application()))


@pytest.fixture(params=EXITS)
def kind(request, monkeypatch):
    monkeypatch.setitem(globals(), "raised", request.param)
    return request.param


async def get(server, url):
    async with Client(server.host, server.port) as client:
        return await client.request("GET", url)


@pytest.mark.parametrize(
    "url",
    [
        "/in-view/",
        "/in-method/",
        "/in-django/",
        "/in-asgiref/",
        "/in-template/",
        "/in-coroutine/",
        "/in-thread/",
        "/in-task/",
        "/in-awaited-task/",
        "/in-converter/x/",
        "/fine-or-not/",
        "/sync/",
        "/sync-over-loop/",
        "/djangos/",
    ],
)
async def test_it_is_a_500_of_the_request(server, kind, url, caplog):
    answer = await get(server, url)
    assert answer.status == 500
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors
    text = caplog.text
    assert "CancelledError" in text if "awaited" in url else f"{kind.__name__}: leaving" in text
    assert (await get(server, "/fine/")).text == "fine"


@pytest.mark.parametrize("url", ["/in-stream/", "/sync-stream/"])
async def test_it_cuts_off_a_response_that_has_begun(server, kind, url, caplog):
    assert not (await get(server, url)).complete
    assert kind.__name__ in caplog.text
    assert (await get(server, "/fine/")).text == "fine"


async def test_it_closes_a_websocket(aiohttp_client, server, kind, caplog):
    client = await aiohttp_client(server)
    async with client.ws_connect("/in-socket/") as ws:
        message = await ws.receive(timeout=DEADLINE)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
    assert kind.__name__ in caplog.text


@pytest.mark.parametrize("error", AT_THREAD)
@pytest.mark.parametrize("stand_in", [False, True])
async def test_out_of_run_in_django_it_is_an_error(error, stand_in, monkeypatch):
    monkeypatch.setitem(globals(), "raised", error)
    with (
        ThreadPoolExecutor(1) as executor,
        orm_calls_through(executor) if stand_in else nullcontext(),
        pytest.raises(RuntimeError, match=f"{error.__name__} was raised: leaving") as info,
    ):
        await run_in_django(leave)
    assert isinstance(info.value.__cause__, error)


async def test_a_cancelled_view_is_cancelled(aiohttp_server, settings):
    """A view's own task that is cancelled from outside, as by a middleware's timeout, ends so."""

    @web.middleware
    async def hurry(request, handler):
        try:
            async with asyncio.timeout(0):
                return await handler(request)
        except TimeoutError:
            return web.Response(text="too late", status=504)

    async def slow(request):
        await asyncio.Event().wait()

    main = web.Application(middlewares=[hurry])
    settings.ALLOWED_HOSTS = ["*"]
    main.add_subapp("/m/", lifted(path("slow/", slow)))
    server = await aiohttp_server(main)
    answer = await get(server, "/m/slow/")
    assert (answer.status, answer.text) == (504, "too late")
