"""Templates with a request: that of Django knows the user, aiohttp's is refused."""

import subprocess
import sys
import textwrap

import pytest
from aiohttp import web
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.shortcuts import render
from django.template import RequestContext, Template, engines, loader
from django.template.response import TemplateResponse
from django.urls import path

from aiodjango import django_request, run_in_django
from tests.support.lifted import lifted

PAGE = "user.html"


def by_render(request):
    return render(request, PAGE)


def by_string(request):
    return HttpResponse(loader.render_to_string(PAGE, request=request))


def by_template(request):
    return HttpResponse(loader.get_template(PAGE).render({}, request))


def by_selected_template(request):
    return HttpResponse(loader.select_template([PAGE]).render(request=request))


def by_response(request):
    return TemplateResponse(request, PAGE)


def by_context(request):
    return HttpResponse(Template("{{ user.username }}").render(RequestContext(request)))


def by_engine(request):
    return HttpResponse(engines["django"].from_string("{{ user.username }}").render({}, request))


WAYS = [
    by_render,
    by_string,
    by_template,
    by_selected_template,
    by_response,
    by_context,
    by_engine,
]


@pytest.fixture
def page(settings, tmp_path):
    (tmp_path / PAGE).write_text("{{ user.username }}")
    settings.TEMPLATES = [
        {
            **settings.TEMPLATES[0],
            "DIRS": [tmp_path],
            "OPTIONS": {"context_processors": ["django.contrib.auth.context_processors.auth"]},
        }
    ]


class Ann(AnonymousUser):
    username = "ann"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_aiohttps_request_is_refused_and_djangos_is_right(
    aiohttp_client, page, way, where, caplog
):
    call = run_in_django if where == "thread" else _here

    async def wrong(request):
        return await call(way, request)

    async def right(request):
        django = django_request(request)
        django.user = Ann()
        return await call(way, django)

    client = await aiohttp_client(lifted(path("wrong/", wrong), path("right/", right)))
    assert (await client.get("/wrong/")).status == 500
    assert "Write render(django_request(request), ...)" in caplog.text
    async with client.get("/right/") as response:
        assert (response.status, await response.text()) == (200, "ann")


async def _here(function, request):
    return function(request)


async def test_a_host_with_coroutine_views_has_the_error_too(aiohttp_client, page, caplog):
    async def host(request):
        return web.Response(text=loader.render_to_string(PAGE, request=request))

    app = web.Application()
    app.router.add_get("/host/", host)
    app.add_subapp("/m/", lifted())
    client = await aiohttp_client(app)
    assert (await client.get("/host/")).status == 500
    assert "Write render(django_request(request), ...)" in caplog.text


async def test_templates_without_a_request_are_left_alone(aiohttp_client, page):
    async def view(request):
        return web.Response(text=loader.render_to_string(PAGE, {"user": Ann()}))

    client = await aiohttp_client(lifted(path("x/", view)))
    assert await (await client.get("/x/")).text() == "ann"


@pytest.mark.parametrize(
    ("engine", "text"),
    [("dummy.TemplateStrings", "GET"), ("jinja2.Jinja2", "{{ request.method }}")],
)
def test_other_engines_refuse_it_too(engine, text):
    """In a process of its own, because an engine stays guarded."""
    if engine.startswith("jinja2"):
        pytest.importorskip("jinja2")
    code = f"""
        import django
        from django.conf import settings
        settings.configure(
            SECRET_KEY="x", TEMPLATES=[{{"BACKEND": "django.template.backends.{engine}"}}]
        )
        django.setup()
        from aiohttp.test_utils import make_mocked_request
        from django.template import engines
        from django.test import RequestFactory
        from aiodjango import get_aio_subapp

        get_aio_subapp([])
        template = next(iter(engines.all())).from_string({text!r})
        assert "GET" in template.render({{}}, RequestFactory().get("/"))
        try:
            template.render({{}}, make_mocked_request("GET", "/"))
        except TypeError as error:
            assert "django_request(request)" in str(error)
        else:
            raise AssertionError("not refused")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
