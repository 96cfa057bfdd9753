"""What becomes of a coroutine view's exceptions and of Django's responses."""

import asyncio
import logging
import threading
import types
from uuid import uuid4

import django
import pytest
from aiohttp import ClientConnectionError, WSMsgType, web
from django.core import mail
from django.core.exceptions import (
    BadRequest,
    DisallowedRedirect,
    PermissionDenied,
    SuspiciousOperation,
)
from django.core.signals import got_request_exception
from django.http import (
    FileResponse,
    Http404,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path, reverse

from aiodjango import get_aio_subapp
from tests.support.lifted import lifted
from tests.support.waiting import DEADLINE, LONGER


def raising(error):
    async def view(request):
        raise error

    return view


@pytest.fixture
def page(aiohttp_client):
    """Returns status and text of the answer of a view that raises."""

    async def get(error, **options):
        client = await aiohttp_client(lifted(path("x/", raising(error))))
        async with client.get("/x/", **options) as response:
            return response.status, await response.text()

    return get


@pytest.fixture
def templates(settings, tmp_path):
    """Adds templates to the project: a name and a text each."""

    def add(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name.lstrip('_')}.html").write_text(text)
        settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]

    return add


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Http404("no such room"), 404),
        (PermissionDenied("not yours"), 403),
        (SuspiciousOperation("strange"), 400),
        (BadRequest("bad"), 400),
        (ZeroDivisionError("oops"), 500),
        (TimeoutError("late"), 500),
    ],
)
async def test_without_debug_the_projects_templates_answer(page, templates, error, status):
    templates(**{f"_{status}": f"<p>the project's {status} at {{{{ request_path }}}}</p>"})
    found, text = await page(error)
    assert found == status
    assert text.startswith(f"<p>the project's {status} at ")
    assert "no such room" not in text


def own_404(request, exception):
    return HttpResponse(f"{exception} at {request.path} of {request.headers['X-Y']}", status=404)


def own_500(request):
    return HttpResponse("our fault", status=500)


handler404 = "tests.views.test_errors.own_404"
handler500 = own_500
urlpatterns = [
    path("missing/", raising(Http404("nothing"))),
    path("broken/", raising(ValueError("broken"))),
]


async def test_the_handlers_of_the_urlconf_answer(aiohttp_client):
    main = web.Application()
    main.add_subapp("/site/", get_aio_subapp("tests.views.test_errors"))
    client = await aiohttp_client(main)
    async with client.get("/site/missing/", headers={"X-Y": "me"}) as response:
        assert (response.status, await response.text()) == (404, "nothing at /site/missing/ of me")
    async with client.get("/site/broken/") as response:
        assert (response.status, await response.text()) == (500, "our fault")


def broken_500(request):
    raise ValueError("even this")


async def test_an_error_page_that_fails_is_a_plain_500(aiohttp_client, monkeypatch, caplog):
    monkeypatch.setitem(globals(), "handler500", broken_500)
    client = await aiohttp_client(get_aio_subapp("tests.views.test_errors"))
    async with client.get("/broken/") as response:
        assert response.status == 500
    assert "even this" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "logger", "level", "message"),
    [
        (ZeroDivisionError(), 500, "django.request", "ERROR", "Internal Server Error: /x/"),
        (Http404(), 404, "django.request", "WARNING", "Not Found: /x/"),
        (PermissionDenied(), 403, "django.request", "WARNING", "Forbidden (Permission denied): /x"),
        (BadRequest("odd"), 400, "django.request", "WARNING", "odd: /x/"),
        (SuspiciousOperation("s"), 400, "django.security.SuspiciousOperation", "ERROR", "s"),
        (DisallowedRedirect("d"), 400, "django.security.DisallowedRedirect", "ERROR", "d"),
    ],
)
async def test_logged_once_as_django_does(page, caplog, error, status, logger, level, message):
    await page(error)
    (record,) = caplog.records
    assert (record.name, record.levelname) == (logger, level)
    assert record.getMessage().startswith(message)
    assert (record.status_code, record.request.path) == (status, "/x/")


# Django 6.1 would have the mailer configured in another way, which 5.2 doesn't know.
@pytest.mark.filterwarnings("ignore:.*default mailer")
async def test_an_error_is_mailed_to_the_admins(page, settings):
    settings.ADMINS = [
        "admin@example.com" if django.VERSION >= (6,) else ("A", "admin@example.com")
    ]
    logger = logging.getLogger("django")
    handlers = [h for h in logger.handlers if type(h).__name__ == "AdminEmailHandler"]
    assert handlers
    await page(ZeroDivisionError("what happened"), headers={"Cookie": "sessionid=secret1"})
    (message,) = mail.outbox
    assert "Internal Server Error: /x/" in message.subject
    assert "what happened" in message.body
    assert "tests/views/test_errors.py" in message.body
    assert "secret1" not in message.body


async def test_an_error_is_told_by_djangos_signal(page):
    told = []

    def receiver(request, **kwargs):
        told.append(request.path)

    got_request_exception.connect(receiver)
    try:
        await page(ZeroDivisionError())
        await page(Http404())
    finally:
        got_request_exception.disconnect(receiver)
    assert told == ["/x/"]


async def test_under_debug_djangos_technical_page_with_the_requests_data(aiohttp_client, settings):
    settings.DEBUG = True
    settings.API_KEY = secret = str(uuid4())

    async def view(request):
        form = await request.post()
        local_value = "a local value"
        raise ZeroDivisionError(form["a"] + local_value)

    client = await aiohttp_client(lifted(path("x/", view)))
    data = {"a": "the form's value"}
    headers = {
        "Accept": "text/html",
        "X-Mine": "my header",
        "Cookie": f"sessionid={secret}; tea=green",
    }
    async with client.post("/x/?q=query", data=data, headers=headers) as response:
        text = await response.text()
        assert response.status == 500
        assert response.content_type == "text/html"
    for shown in [
        "ZeroDivisionError",
        "local_value",
        "my header",
        "q=query",
        "green",
        "tests/views/test_errors.py",
    ]:
        assert shown in text, shown
    assert "the form&#x27;s value" in text
    assert "raise ZeroDivisionError(form" in text  # the line of the source
    assert secret not in text
    # The last frames are the view's: nothing of what made the page stands among them.
    assert "in _page" not in text


async def test_under_debug_a_404_is_technical_too(page, settings):
    settings.DEBUG = True
    status, text = await page(Http404("no such room"))
    assert status == 404
    assert "no such room" in text
    assert "DEBUG = True" in text


async def test_the_error_page_can_be_had_in_text(page, settings):
    settings.DEBUG = True
    status, text = await page(ZeroDivisionError("oops"), headers={"Accept": "application/json"})
    assert status == 500
    assert text.startswith("ZeroDivisionError at /x/")


async def test_propagated_exceptions_reach_aiohttp(page, settings, caplog):
    settings.DEBUG_PROPAGATE_EXCEPTIONS = True
    status, text = await page(ZeroDivisionError("oops"))
    assert (status, text.splitlines()[0]) == (500, "500 Internal Server Error")
    assert "aiohttp.server" in [record.name for record in caplog.records]


@pytest.mark.parametrize("error", [web.HTTPConflict(text="mine"), web.HTTPNotFound(text="mine")])
async def test_aiohttps_exceptions_pass(page, caplog, error):
    assert await page(error) == (error.status, "mine")
    assert caplog.records == []


async def test_a_host_sees_aiohttps_exceptions(aiohttp_client):
    seen = []

    @web.middleware
    async def watch(request, handler):
        try:
            return await handler(request)
        except web.HTTPException as error:
            seen.append(error.status)
            raise

    main = web.Application(middlewares=[watch])
    main.add_subapp("/m/", lifted(path("x/", raising(web.HTTPConflict()))))
    client = await aiohttp_client(main)
    assert (await client.get("/m/x/")).status == 409
    assert seen == [409]


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary*x",
        "text/plain; name*=no-charset''x",
    ],
)
async def test_a_content_type_that_cannot_be_read(page, content_type):
    status, _ = await page(Http404(), headers={"Content-Type": content_type})
    assert status == 404


@pytest.mark.parametrize("charset", ["utf-8", "no-charset"])
async def test_a_form_that_django_cannot_read_is_left_out(aiohttp_client, settings, charset):
    settings.DEBUG = True
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 1

    async def view(request):
        raise ZeroDivisionError(len(await request.read()))

    client = await aiohttp_client(lifted(path("x/", view)))
    body = "one=first" if charset == "no-charset" else "one=first&two=second"
    headers = {
        "Content-Type": f"application/x-www-form-urlencoded; charset={charset}",
        "Accept": "text/html",
    }
    async with client.post("/x/", data=body, headers=headers) as response:
        text = await response.text()
    assert response.status == 500
    assert "ZeroDivisionError" in text
    assert "No POST data" in text


async def test_an_error_page_that_streams_is_a_plain_500(aiohttp_client, caplog):
    def streaming_404(request, exception):
        return StreamingHttpResponse(["not ", "found"], status=404)

    urlconf = types.ModuleType("streaming_urls")
    urlconf.handler404 = streaming_404
    urlconf.urlpatterns = [path("missing/", raising(Http404()))]
    client = await aiohttp_client(get_aio_subapp(urlconf))
    assert (await client.get("/missing/")).status == 500
    assert "cannot be sent by aiohttp: it is not an HttpResponse" in caplog.text


async def test_the_state_holds_in_error_pages(aiohttp_client, templates):
    templates(_404="{% url 'x' %}")
    main = web.Application()
    main.add_subapp("/one/", lifted(path("x/", raising(Http404()), name="x")))
    client = await aiohttp_client(main)
    assert await (await client.get("/one/x/")).text() == "/one/x/"


async def test_an_error_page_does_not_block_the_loop(aiohttp_client):
    answered = threading.Event()

    def slow_404(request, exception):
        return HttpResponse(f"after the other: {answered.wait(LONGER)}", status=404)

    async def other(request):
        answered.set()
        return web.Response(text="other")

    urlconf = types.ModuleType("slow_urls")
    urlconf.handler404 = slow_404
    urlconf.urlpatterns = [path("missing/", raising(Http404())), path("other/", other)]
    client = await aiohttp_client(get_aio_subapp(urlconf))
    slow, quick = await asyncio.gather(client.get("/missing/"), client.get("/other/"))
    assert await slow.text() == "after the other: True"
    assert await quick.text() == "other"


# ---- After the response has begun ----


async def test_a_websocket_is_closed_with_1011_and_logged_once(aiohttp_client, caplog):
    async def view(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        raise ValueError(await ws.receive_str())

    client = await aiohttp_client(lifted(path("ws/", view)))
    async with client.ws_connect("/ws/") as ws:
        await ws.send_str("the reason")
        message = await ws.receive(timeout=DEADLINE)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("django.request", "ERROR")
    assert record.getMessage() == "Internal Server Error after the response had begun: /ws/"
    assert "the reason" in caplog.text
    assert record.request.path == "/ws/"


@pytest.mark.parametrize("error", [ValueError("x"), Http404("x"), web.HTTPFound("/x/")])
async def test_a_stream_is_cut_off_and_logged_once(aiohttp_client, caplog, error):
    async def view(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"so far")
        raise error

    client = await aiohttp_client(lifted(path("s/", view)))
    response = await client.get("/s/")
    assert response.status == 200
    with pytest.raises(Exception, match=r"not enough data|Transfer|payload|Connection|disconnect"):
        await response.read()
    assert [record.name for record in caplog.records] == ["django.request"]


@pytest.mark.parametrize(
    ("hangs_up", "logged"), [(False, ["django.request"]), (True, [])], ids=["fails", "hangs up"]
)
async def test_after_early_hints_only_the_connection_can_end(
    aiohttp_client, caplog, hangs_up, logged
):
    async def view(request):
        await request.writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        if hangs_up:
            request.transport.close()
            await request.writer.write(b"more")
        raise ValueError("x")

    client = await aiohttp_client(lifted(path("x/", view)))
    with pytest.raises(ClientConnectionError, match=r"disconnect|reset|closed"):
        await client.get("/x/")
    # aiohttp, too, has something to say of a response that it can't see.
    names = [record.name for record in caplog.records]
    assert [name for name in names if name != "aiohttp.server"] == logged


async def test_writing_to_a_websocket_that_its_client_has_closed_is_no_error(
    aiohttp_client, caplog
):
    refused = asyncio.get_running_loop().create_future()

    async def view(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        assert (await ws.receive()).type is WSMsgType.CLOSE
        try:
            await ws.send_str("too late")
        except ConnectionError as error:
            refused.set_result(str(error))
            raise

    client = await aiohttp_client(lifted(path("ws/", view)))
    async with client.ws_connect("/ws/") as ws:
        await ws.close()
        assert ws.close_code == 1000
    assert "closing" in await asyncio.wait_for(refused, DEADLINE)
    await client.close()
    assert caplog.records == []


async def test_a_client_that_left_is_no_error(aiohttp_client, caplog):
    left, ended = asyncio.Event(), asyncio.Event()

    async def view(request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            await response.write(b"so far")
            await left.wait()
            while True:
                await response.write(b"x" * 65536)
                await asyncio.sleep(0)
        finally:
            ended.set()

    client = await aiohttp_client(lifted(path("s/", view)))
    response = await client.get("/s/")
    await response.content.readany()
    response.close()
    left.set()
    await asyncio.wait_for(ended.wait(), DEADLINE)
    assert (await client.get("/nowhere/")).status == 404
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# ---- What a view returns ----


async def test_a_response_of_djangos_is_converted(aiohttp_client):
    async def view(request):
        response = JsonResponse({"a": 1}, status=201, reason="Made", headers={"X-Mine": "yes"})
        response.set_cookie("one", "1", httponly=True, samesite="Lax")
        response.delete_cookie("two")
        return response

    client = await aiohttp_client(lifted(path("x/", view)))
    async with client.get("/x/") as response:
        assert (response.status, response.reason) == (201, "Made")
        assert await response.json() == {"a": 1}
        assert response.headers["X-Mine"] == "yes"
        cookies = response.headers.getall("Set-Cookie")
    assert cookies[0] == "one=1; HttpOnly; Path=/; SameSite=Lax"
    assert cookies[1].startswith('two=""; expires=Thu, 01 Jan 1970')
    async with client.head("/x/") as response:
        assert (response.status, await response.read()) == (201, b"")
        assert response.headers["Content-Length"] == "8"


async def test_a_redirect_and_a_template_of_djangos(aiohttp_client):
    async def away(request):
        return HttpResponseRedirect(reverse("page"))

    async def page(request):
        template = engines["django"].from_string("Hello {{ name }}")
        return TemplateResponse(None, template, {"name": "you"})

    main = web.Application()
    main.add_subapp("/m/", lifted(path("x/", away), path("page/", page, name="page")))
    client = await aiohttp_client(main)
    async with client.get("/m/x/") as response:
        assert (str(response.url.path), await response.text()) == ("/m/page/", "Hello you")


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, "returned None, which is not a response"),
        ("text", "returned 'text', which is not a response"),
        (StreamingHttpResponse(["a"]), "prepare() an aiohttp.web.StreamResponse"),
        (FileResponse([b"a"]), "for a file, return an aiohttp.web.FileResponse"),
    ],
)
async def test_anything_else_is_an_error_that_names_the_view(aiohttp_client, caplog, result, text):
    async def view(request):
        return result

    client = await aiohttp_client(lifted(path("x/", view)))
    assert (await client.get("/x/")).status == 500
    assert f"TypeError: The view {view.__module__}.{view.__qualname__} returned" in caplog.text
    assert text in caplog.text


@pytest.mark.parametrize(
    ("fails", "logged"), [(False, []), (True, ["django.request"])], ids=["writes on", "fails"]
)
async def test_without_cancellation_a_view_goes_on_when_its_client_has_left(caplog, fails, logged):
    ended = asyncio.Event()

    async def view(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"so far")
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    await response.write(b"x" * 65536)
                    await asyncio.sleep(0)
        except ConnectionError as error:
            if fails:
                raise ValueError("x") from error
            raise
        finally:
            ended.set()

    runner = web.AppRunner(lifted(path("s/", view)), access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(b"GET /s/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"so far" in await reader.readuntil(b"so far")
        writer.close()
        await asyncio.wait_for(ended.wait(), DEADLINE)
    finally:
        await runner.cleanup()  # waits for the handler
    assert [record.name for record in caplog.records] == logged
