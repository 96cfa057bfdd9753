"""What surrounds the call of a coroutine view: Django's state and Django's exceptions."""

import asyncio
import functools
import types
from datetime import UTC, datetime
from io import BytesIO

import pytest
from aiohttp import TCPConnector, web
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpResponse
from django.template import Context, Template
from django.urls import get_script_prefix, get_urlconf, path, reverse, set_script_prefix
from django.utils import timezone, translation

from aiodjango import aio_login_required, get_aio_application, get_aio_subapp, setup


def raising(error):
    async def view(request):
        raise error

    return view


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Http404("no such room"), 404),
        (PermissionDenied("not yours"), 403),
        (SuspiciousOperation("strange"), 400),
        (BadRequest("bad"), 400),
        (web.HTTPConflict(), 409),
        (web.HTTPFound("/elsewhere/"), 302),
    ],
)
async def test_exceptions_become_responses(aiohttp_client, error, status):
    client = await aiohttp_client(get_aio_subapp([path("x/", raising(error))]))
    response = await client.get("/x/", allow_redirects=False)
    assert response.status == status


async def test_concurrent_requests_keep_their_own_state(aiohttp_client):
    barrier = asyncio.Barrier(2)

    async def view(request):
        await barrier.wait()  # both requests are inside a view now
        return web.Response(text=reverse("x"))

    main = web.Application()
    for prefix in ["/one/", "/two/"]:
        main.add_subapp(prefix, get_aio_subapp([path("x/", view, name="x")]))
    client = await aiohttp_client(main)

    async def get(url):
        return await (await client.get(url)).text()

    assert await asyncio.gather(get("/one/x/"), get("/two/x/")) == ["/one/x/", "/two/x/"]


async def test_the_hosts_own_state_is_put_back(aiohttp_client):
    seen = []

    @web.middleware
    async def host_state(request, handler):
        set_script_prefix("/hosts-own/")
        try:
            return await handler(request)
        finally:
            seen.append((get_script_prefix(), get_urlconf()))

    async def view(request):
        return web.Response(text=reverse("x"))

    main = web.Application(middlewares=[host_state])
    main.add_subapp("/m/", get_aio_subapp([path("x/", view, name="x")]))
    client = await aiohttp_client(main)
    assert await (await client.get("/m/x/")).text() == "/m/x/"
    assert seen == [("/hosts-own/", None)]


@pytest.mark.parametrize("language", ["it", "en-us", None])
async def test_the_hosts_own_language_is_put_back(aiohttp_client, settings, language):
    seen = []

    @web.middleware
    async def host_language(request, handler):
        if language is None:
            translation.deactivate_all()
        else:
            translation.activate(language)
        try:
            return await handler(request)
        finally:
            seen.append(translation.get_language())

    async def view(request):
        translation.activate("ja")
        return web.Response()

    settings.ROOT_URLCONF = types.ModuleType("root_urls")
    settings.ROOT_URLCONF.urlpatterns = [path("x/", view)]
    main = web.Application(middlewares=[host_language])
    main.add_subapp("/m/", get_aio_subapp())
    client = await aiohttp_client(main)
    assert (await client.get("/m/x/")).status == 200
    assert seen == [language]


async def test_the_state_is_put_back_after_an_error(aiohttp_client):
    async def host(request):
        return web.Response(text=get_script_prefix())

    main = web.Application()
    main.add_subapp("/m/", get_aio_subapp([path("x/", raising(Http404()))]))
    main.router.add_get("/host", host)
    client = await aiohttp_client(main)
    assert (await client.get("/m/x/")).status == 404
    assert await (await client.get("/host")).text() == "/"


async def test_a_task_that_outlives_its_view_keeps_the_state(aiohttp_client):
    finished = asyncio.get_running_loop().create_future()
    may_go_on = asyncio.Event()

    async def later():
        await may_go_on.wait()
        finished.set_result(reverse("x"))

    async def view(request):
        view.task = asyncio.create_task(later())
        return web.Response()

    main = web.Application()
    main.add_subapp("/m/", get_aio_subapp([path("x/", view, name="x")]))
    client = await aiohttp_client(main)
    assert (await client.get("/m/x/")).status == 200
    may_go_on.set()
    assert await finished == "/m/x/"


async def test_websocket(aiohttp_client):
    async def echo(request, room):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(f"{room}: {message.data} at {reverse('ws', args=[room])}")
        return ws

    main = web.Application()
    main.add_subapp("/m/", get_aio_subapp([path("ws/<slug:room>/", echo, name="ws")]))
    client = await aiohttp_client(main)
    async with client.ws_connect("/m/ws/lobby/") as ws:
        for text in ["one", "two"]:
            await ws.send_str(text)
            assert await ws.receive_str() == f"lobby: {text} at /m/ws/lobby/"


async def test_stream(aiohttp_client):
    async def count(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(3):
            await response.write(f"{number}\n".encode())
        return response

    client = await aiohttp_client(get_aio_subapp([path("count/", count)]))
    assert await (await client.get("/count/")).text() == "0\n1\n2\n"


@pytest.fixture
def site_in_two_minds(settings):
    settings.TIME_ZONE, settings.LANGUAGE_CODE = "Europe/Rome", "it"


def locale():
    return [timezone.get_current_timezone_name(), translation.get_language()]


async def activating(request):
    """A view that activates what its query names, and tells what it found and has now."""
    found = locale()
    timezone.activate(request.query["zone"])
    translation.activate(request.query["language"])
    await asyncio.sleep(0)
    return web.json_response(found + locale())


@pytest.mark.usefixtures("site_in_two_minds")
async def test_what_a_view_activates_ends_with_its_request(aiohttp_client):
    client = await aiohttp_client(
        get_aio_subapp([path("x/", activating)]), connector=TCPConnector(limit=1)
    )
    for zone, language in [("Asia/Tokyo", "ja"), ("America/Lima", "es"), ("Asia/Tokyo", "ja")]:
        response = await client.get("/x/", params={"zone": zone, "language": language})
        assert await response.json() == ["Europe/Rome", "it", zone, language]


@pytest.mark.usefixtures("site_in_two_minds")
async def test_concurrent_requests_have_their_own_time_zones(aiohttp_client):
    barrier = asyncio.Barrier(2)

    async def view(request):
        timezone.activate(request.query["zone"])
        await barrier.wait()  # both have activated theirs
        moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
        return web.Response(
            text=Template("{{ moment|time:'H:i' }}").render(Context({"moment": moment}))
        )

    client = await aiohttp_client(get_aio_subapp([path("x/", view)]))

    async def get(zone):
        return await (await client.get("/x/", params={"zone": zone})).text()

    assert await asyncio.gather(get("Asia/Tokyo"), get("America/Lima")) == ["21:00", "07:00"]


def test_a_handler_bears_the_name_of_its_view():
    async def view(request): ...

    class View(web.View): ...

    patterns = [path("a/", view), path("b/", View), path("c/", functools.partial(view))]
    handlers = [route.handler for route in get_aio_subapp(patterns).router.routes()]
    assert [handler.__wrapped__ for handler in handlers] == [p.callback for p in patterns]
    assert handlers[0].__name__ == "view"


async def test_a_web_view_answers_its_methods(aiohttp_client):
    class View(web.View):
        async def get(self):
            return web.Response(text="got")

    client = await aiohttp_client(get_aio_subapp([path("v/", View)]))
    assert await (await client.get("/v/")).text() == "got"
    assert (await client.post("/v/")).status == 405


async def test_a_web_view_returns_what_a_function_may(aiohttp_client):
    class View(web.View):
        async def get(self):
            return HttpResponse("Django's", headers={"X-Name": "1"})

        async def post(self):
            return await self.get()

    patterns = [path("v/", View), path("login/", aio_login_required(View))]
    client = await aiohttp_client(get_aio_subapp(patterns))
    for ask in (client.get, client.post):
        async with ask("/v/") as response:
            assert (await response.text(), response.headers["X-Name"]) == ("Django's", "1")
    async with client.get("/login/", allow_redirects=False) as response:
        assert response.status == 302


async def test_the_limit_of_bodies_for_coroutine_views_is_aiohttps(aiohttp_client):
    async def size(request):
        return web.Response(text=str(len(await request.read())))

    def wsgi(environ, start_response):
        raise AssertionError("not reached")

    small = get_aio_application(wsgi, urlconf=[path("size/", size)])
    large = web.Application(client_max_size=4 * 1024**2)
    setup(large, wsgi, urlconf=[path("size/", size)])
    body = b"x" * 2 * 1024**2
    client = await aiohttp_client(small)
    assert (await client.post("/size/", data=BytesIO(body))).status == 413
    client = await aiohttp_client(large)
    assert await (await client.post("/size/", data=BytesIO(body))).text() == str(len(body))
