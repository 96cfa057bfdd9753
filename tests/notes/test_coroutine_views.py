"""Mistakes in coroutine views: the debug page and the log say what to write instead."""

import html
import re
import sys

import pytest
from aiohttp import web
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import path

from aiodjango import aget_session, django_request, get_aio_application
from aiodjango.test import close_orm_threads
from tests.support.lifted import lifted
from tests.support.waiting import DEADLINE

from . import views
from .rows import seen

VALUE = re.compile(r'<pre class="exception_value">(.*?)</pre>', re.DOTALL)
ATTRIBUTE = seen("'Request' object has no attribute")
FOREIGN = seen("argument must be an HttpRequest object, not 'Request'")
TEMPLATE = seen("A template was given aiohttp's request")
SYNC = seen("You cannot call this from an async context")
ATOMIC = seen("does not support the asynchronous context manager protocol")
AWAITED = seen("QuerySet can't be used in 'await' expression")
if sys.version_info >= (3, 14):
    AWAITED = seen("'QuerySet' object can't be awaited")
COROUTINE = seen("'coroutine' object has no attribute")
ITEM = seen("'coroutine' object is not subscriptable")
PREPARE = seen("Call .prepare() first")
POSITIONAL = seen("Response.__init__() takes 1 positional argument")
JSON = seen("is not JSON serializable")
RESULT = seen("which is not a response")

IN_THREAD = "await run_in_django(function, …), with aiodjango.run_in_django"
MISTAKES = {
    views.message: (FOREIGN, "write success(django_request(request), …)"),
    views.sync_login: (ATTRIBUTE, "write await alogin(django_request(request), …)"),
    views.async_login: (ATTRIBUTE, "write await alogin(django_request(request), …)"),
    views.template: (TEMPLATE, "Write render(django_request(request), ...)"),
    views.object_or_404: (SYNC, "await aget_object_or_404(…)", IN_THREAD),
    views.get: (SYNC, "await ….aget(…)", IN_THREAD),
    views.save: (SYNC, "await ….asave(…)", IN_THREAD),
    views.iterate: (SYNC, "`async for`", IN_THREAD),
    views.count: (SYNC, "await queryset.acount()"),
    views.exists: (SYNC, "await queryset.aexists()"),
    views.transaction: (SYNC, "put `with atomic():` into a sync function", IN_THREAD),
    views.async_transaction: (ATOMIC, "put `with atomic():` into a sync function", IN_THREAD),
    views.session_item: (SYNC, "await aget_session(request)"),
    views.user_of_django: (SYNC, "await aget_user(request)"),
    views.await_queryset: (AWAITED, "`async for`"),
    views.missing_await: (COROUTINE, "write (await post(…)).get"),
    views.missing_await_item: (ITEM, "An `await` is missing"),
    views.missing_await_sum: ("'coroutine' and 'int'", "An `await` is missing"),
    views.missing_await_loop: ("got coroutine", "An `await` is missing"),
    views.form_of_model: (SYNC, "Write await run_in_django(form.is_valid)"),
    views.errors_of_form: (SYNC, "Write await run_in_django(lambda: form.errors)"),
    views.paginates: (SYNC, "Write await run_in_django(paginator.page"),
    views.template_with_queryset: (SYNC, "await run_in_django(render, django_request(request)"),
    views.websocket_not_prepared: (PREPARE, "`await ws.prepare(request)` is missing"),
    views.sync_subscription: ("context manager protocol", "`async with subscribe(…) as events:`"),
    views.awaits_request: ("DjangoRequest", "remove `await`"),
    views.positional_text: (POSITIONAL, "web.Response(text=…)"),
    views.djangos_argument: ("'status_code'", "write status=…"),
    views.json_unsafe: ("'safe'", "leave it out"),
    views.json_of_object: (JSON, "Django's JsonResponse(…)"),
    views.json_of_queryset: (JSON, "[each async for each in queryset]"),
    views.status_of_django: ("no attribute 'status_code'", "write response.status,"),
    views.list_of_django: ("no attribute 'getlist'", "write getall(name, [])"),
    views.AsksItself: ("no attribute 'query'", "its request is self.request"),
    views.ProtectedByDjango: ("no attribute", "self.request", "aio_login_required"),
    views.IsSync: ("IsSync.get() is no coroutine function", "write `async def get(self)`"),
    views.ReturnsDict: (RESULT, "return web.json_response(…)"),
    views.in_group: ("unhandled errors in a TaskGroup", "write request.query"),
    views.reraised: ("no session", "write (await aget_session(request))"),
    views.returns_none: (RESULT, "a `return` is missing", "web.WebSocketResponse"),
    views.returns_dict: (RESULT, "return web.json_response(…)"),
    views.returns_text: (RESULT, "return web.Response(text=…)"),
    views.returns_bytes: (RESULT, "return web.Response(body=…)"),
    views.returns_pair: (RESULT, "web.json_response(…), with status=…"),
    views.returns_class: (RESULT, "raise web.HTTPNotFound(…)"),
    views.returns_awaitable: (RESULT, "an `await` is missing"),
    views.returns_generator: (RESULT, "aiohttp.web.StreamResponse"),
}
UNEXPLAINED = {
    views.decorated: "its own",
    views.own_error: "'dict' object has no attribute 'name'",
    views.own_async_lookup: "Cannot resolve keyword 'name' into field",
}

# Of Django's request: what the note names instead.
COUNTERPARTS = {
    "GET": "request.query",
    "POST": "await request.post()",
    "FILES": "await request.post()",
    "COOKIES": "request.cookies",
    "META": "request.headers",
    "body": "await request.read()",
    "user": "await aget_user(request)",
    "auser": "await aget_user(request)",
    "session": "await aget_session(request)",
    "path_info": "request.path",
    "resolver_match": "request.match_info",
    "get_full_path": "request.path_qs",
    "get_host": "request.host",
    "encoding": "request.charset",
    "build_absolute_uri": "django_request(request).build_absolute_uri",
    "is_secure": "django_request(request).is_secure",
    "get_port": "django_request(request).get_port",
    "accepts": "django_request(request).accepts",
    "get_signed_cookie": "django_request(request).get_signed_cookie",
    "upload_handlers": "django_request(request).upload_handlers",
    "of_a_middleware": "django_request(request).of_a_middleware",
    "LANGUAGE_CODE": "get_language()",
}


def name_of(view):
    return view.__name__


@pytest.fixture(autouse=True)
def for_developers(settings, tmp_path):
    settings.DEBUG = True
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    (tmp_path / "users.html").write_text("{% for each in users %}{{ each }}{% endfor %}")
    (tmp_path / "page.html").write_text("{% for each in messages %}{{ each }}{% endfor %}")
    processor = "django.contrib.messages.context_processors.messages"
    settings.TEMPLATES = [
        {
            **settings.TEMPLATES[0],
            "DIRS": [tmp_path],
            "OPTIONS": {"context_processors": [processor]},
        }
    ]


@pytest.fixture
def database(transactional_db):
    """A database, whose connections in threads end with the test."""
    yield
    assert close_orm_threads(DEADLINE)


@pytest.fixture
def ask(aiohttp_client):
    """A function that asks a view; returns the value of the exception that the page shows."""

    async def ask(view):
        client = await aiohttp_client(
            lifted(path("x/", view)), cookies={"sessionid": "of-somebody"}
        )
        async with client.get("/x/") as response:
            assert response.status == 500
            return html.unescape(VALUE.search(await response.text())[1])

    return ask


WITH_DATABASE = [view for view in MISTAKES if SYNC in MISTAKES[view]]
WITHOUT = [view for view in MISTAKES if view not in WITH_DATABASE]


@pytest.mark.parametrize("view", WITHOUT, ids=name_of)
async def test_a_mistake_is_explained(ask, caplog, view):
    value = await ask(view)
    for part in MISTAKES[view]:
        assert part in value
        assert part in caplog.text


@pytest.mark.parametrize("view", WITH_DATABASE, ids=name_of)
async def test_sync_database_code_is_explained(database, ask, caplog, view):
    await test_a_mistake_is_explained(ask, caplog, view)


@pytest.mark.parametrize("name", COUNTERPARTS)
async def test_an_attribute_of_djangos_request_has_a_counterpart(ask, caplog, name):
    async def view(request):
        return web.Response(text=str(getattr(request, name)))

    value = await ask(view)
    assert value.startswith(f"{ATTRIBUTE} '{name}'\n")
    assert COUNTERPARTS[name] in value
    assert COUNTERPARTS[name] in caplog.text


@pytest.mark.parametrize("view", UNEXPLAINED, ids=name_of)
async def test_other_errors_are_left_alone(ask, view):
    value = await ask(view)
    assert UNEXPLAINED[view] in value
    assert "aiodjango" not in value
    assert "aiohttp" not in value


async def test_the_log_of_production_has_the_note(aiohttp_client, settings, caplog):
    settings.DEBUG = False

    async def view(request):
        return request.GET

    client = await aiohttp_client(lifted(path("x/", view)))
    assert (await client.get("/x/")).status == 500
    assert "write request.query" in caplog.text


async def test_a_websocket_that_is_open_logs_the_note(aiohttp_client, caplog):
    async def view(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        return request.user

    client = await aiohttp_client(lifted(path("x/", view)))
    async with client.ws_connect("/x/") as ws:
        assert (await ws.receive()).data == 1011
    assert "await aget_user(request)" in caplog.text


# ---- What the notes name works ----


@pytest.mark.parametrize("storage", ["cookie.CookieStorage", "session.SessionStorage"])
async def test_messages_of_a_coroutine_view_are_on_the_next_page(
    database, aiohttp_client, settings, storage
):
    settings.MESSAGE_STORAGE = f"django.contrib.messages.storage.{storage}"

    async def save(request):
        messages.success(django_request(request), "Saved")
        return redirect("/page/")

    def page(request):
        return render(request, "page.html")

    async def shown(request):
        await aget_session(request)
        return HttpResponse([str(each) for each in messages.get_messages(django_request(request))])

    patterns = [path("save/", save), path("page/", page), path("shown/", shown)]
    settings.ROOT_URLCONF = tuple(patterns)
    client = await aiohttp_client(get_aio_application())
    for then in ("/page/", "/shown/"):
        async with client.get("/save/", allow_redirects=False) as response:
            assert response.status == 302
        async with client.get(then) as response:
            assert await response.text() == "Saved"
        async with client.get(then) as response:
            assert await response.text() == ""
