"""Views that Django calls with its own request, under Django's own servers and client."""

import html
import re

import django
import pytest
from django.test import Client
from django.urls import path

from aiodjango import get_aio_application
from tests.conftest import require
from tests.support.server import run, serve, until

from . import views
from .rows import seen

RETURNED = seen("returned <Response OK not prepared> to Django")
UNEXPLAINED = seen("'Response' object has no attribute 'status_code'")
WEBSOCKET = seen("'WSGIRequest' object has no attribute '_loop'")
QUERY = seen("'WSGIRequest' object has no attribute 'query'")
REDIRECT = seen("aiohttp.web_exceptions.HTTPFound: Found")
AS_VIEW = seen("has no attribute 'as_view'")
BANNER = seen("Starting WSGI development server at")

OF_DJANGO = {
    views.ClassView: (RETURNED, "derived from django.views.View", "aiohttp.web.View"),
    views.DictView: ("returned {'a': 1} to Django", "JsonResponse(", "aiohttp.web.View"),
    views.StreamView: ("no attribute '_", "StreamResponse.prepare() takes aiohttp's request"),
    views.UserView: ("no attribute '", "aget_user() takes aiohttp's request", "aiohttp.web.View"),
    views.sync_aiohttp: (RETURNED, "no coroutine function", "`async def`"),
    views.sync_query: (QUERY, "write request.GET"),
    views.annotated: (RETURNED, "the annotation HttpRequest"),
    views.left_view: (RETURNED, "django_view()"),
    views.generates: ("returned <async_generator object", "`yield`", "StreamingHttpResponse"),
    views.sync_coroutine: ("returned <coroutine object aget_user", "write `async def`"),
    views.wrongly_decorated: ("returned <coroutine object wrongly", "its decorators is for sync"),
    views.sync_text: ("returned 'text' to Django", "return HttpResponse(…)"),
}
OTHERS = {
    views.sync_none: "didn't return an HttpResponse object. It returned None instead.",
    views.sync_own_error: "'dict' object has no attribute 'name'",
}
FOR_AIOHTTP = {
    views.good: "no attribute 'query'",
    views.websocket: WEBSOCKET,
    views.returns_dict: "returned {'a': 1} to Django",
    views.AioView: "returned <tests.notes.views.AioView object at",
}


def mounted(view):
    is_class = isinstance(view, type) and hasattr(view, "as_view")
    return path("x/", view.as_view() if is_class else view)


def name_of(view):
    return view.__name__


@pytest.fixture(params=["default", "none"])
def middlewares(request, settings):
    """Whatever middlewares come first to look at what the view returned."""
    if request.param == "none":
        settings.MIDDLEWARE = []


@pytest.mark.parametrize("view", OF_DJANGO, ids=name_of)
async def test_what_aiohttp_has_in_djangos_views_is_explained(
    aiohttp_client, settings, middlewares, caplog, view
):
    settings.DEBUG, settings.ROOT_URLCONF = True, (mounted(view),)
    client = await aiohttp_client(get_aio_application())
    async with client.get("/x/") as response:
        assert response.status == 500
        text = html.unescape(await response.text())
    for part in OF_DJANGO[view]:
        assert part in text
        assert part in caplog.text


async def test_an_exception_of_aiohttp_in_djangos_view_is_explained(
    aiohttp_client, settings, caplog
):
    settings.ROOT_URLCONF = (path("x/", views.sync_redirect),)
    client = await aiohttp_client(get_aio_application())
    assert (await client.get("/x/")).status == 500
    assert REDIRECT in caplog.text
    assert "return redirect(…)" in caplog.text


def test_a_view_of_aiohttp_has_no_as_view():
    with pytest.raises(AttributeError, match=AS_VIEW):
        mounted(views.AioView.as_view())


@pytest.mark.parametrize("view", OTHERS, ids=name_of)
async def test_other_errors_of_djangos_views_are_left_alone(aiohttp_client, settings, view):
    settings.DEBUG, settings.ROOT_URLCONF = True, (mounted(view),)
    client = await aiohttp_client(get_aio_application())
    async with client.get("/x/") as response:
        page = html.unescape(await response.text())
    value = re.search(r'<pre class="exception_value">(.*?)</pre>', page, re.DOTALL)[1]
    assert value.endswith(OTHERS[view])


@pytest.mark.parametrize("view", FOR_AIOHTTP, ids=name_of)
def test_djangos_client_at_a_coroutine_view_names_ours(settings, middlewares, view):
    settings.ROOT_URLCONF = (mounted(view),)
    with pytest.raises((AttributeError, TypeError)) as raised:
        Client().get("/x/", {"q": "1"})
    assert FOR_AIOHTTP[view] in str(raised.value)
    (note,) = raised.value.__notes__
    assert f"tests.notes.views.{view.__name__} is a coroutine view for aiohttp" in note
    assert "Test it with aiodjango.test.AioClient or pytest's fixture aio_client" in note
    assert "write django_view(view) in the URLconf" in note


async def test_djangos_asynchronous_client_does_so_too(settings):
    from django.test import AsyncClient

    settings.ROOT_URLCONF = (path("x/", views.returns_response),)
    with pytest.raises(TypeError, match=RETURNED) as raised:
        await AsyncClient().get("/x/")
    assert "aiodjango.test.AioClient" in raised.value.__notes__[0]


# ---- Servers ----

SETTINGS = """
DEBUG = True
SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "site_urls"
WSGI_APPLICATION = "site_wsgi.application"
INSTALLED_APPS = {apps}
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
TEMPLATES = [{{"BACKEND": "django.template.backends.django.DjangoTemplates"}}]
STATIC_URL = "static/"
USE_TZ = True
"""
URLS = """
from aiohttp import web
from django.urls import path
{imports}

async def live(request):
    return web.Response(text="aiohttp")

urlpatterns = [path("live/", live)]
"""
WSGI = """
from django.core.wsgi import get_wsgi_application
{imports}
application = get_wsgi_application()
{app}
"""
MANAGE = """
import sys
from django.core.servers.basehttp import WSGIServer
from django.core.management import execute_from_command_line

bind = WSGIServer.server_bind

def bind_and_tell(self):
    bind(self)
    print("port", self.server_port, flush=True)  # the banner has the one that was asked for

WSGIServer.server_bind = bind_and_tell
execute_from_command_line(sys.argv)
"""


@pytest.fixture
def project(tmp_path):
    def make(apps=("django.contrib.staticfiles",), imports="", app=""):
        (tmp_path / "site_settings.py").write_text(SETTINGS.format(apps=list(apps)))
        (tmp_path / "site_urls.py").write_text(URLS.format(imports=imports))
        (tmp_path / "site_wsgi.py").write_text(
            WSGI.format(
                imports="from aiodjango import get_aio_application" if app else "",
                app="app = get_aio_application(application)" if app else "",
            )
        )
        (tmp_path / "manage.py").write_text(MANAGE)
        return tmp_path

    return make


async def page_of(server):
    async with server.client() as client, client.get("/live/") as response:
        return html.unescape(await response.text())


IN_URLS = {"imports": "from aiodjango import aget_user"}


@pytest.mark.parametrize(
    "options", [IN_URLS, {"app": True}, {}], ids=["urls.py", "wsgi.py", "nowhere"]
)
async def test_runserver_without_the_app_says_where_it_belongs(project, tmp_path, options):
    command = ["manage.py", "runserver", "--noreload", "127.0.0.1:0"]
    log = tmp_path / "log"
    with run(command, 0, log, cwd=project(**options), settings="site_settings") as server:
        port = await until(lambda: re.search(r"^port (\d+)$", server.output(), re.M))
        server.address = int(port[1])
        page = await page_of(server)
    banner = BANNER if django.VERSION >= (6, 1) else BANNER.replace("WSGI ", "")
    assert banner in server.output()
    if not options:
        assert UNEXPLAINED in page
        return
    for text in (page, server.output()):
        assert RETURNED in text
        assert 'Put "aiodjango" into INSTALLED_APPS, before "django.contrib.staticf' in text


async def test_gunicorn_with_djangos_application_names_the_command(project, tmp_path):
    require(module="gunicorn")
    command = ["-m", "gunicorn", "site_wsgi:application", "--bind=fd://{fd}", "--no-control-socket"]
    folder = project(apps=["aiodjango"], app=True)
    with serve(command, tmp_path / "log", cwd=folder, settings="site_settings") as server:
        page = await page_of(server)
    expected = "`gunicorn site_wsgi:app --worker-class aiodjango.worker.GunicornWorker`"
    assert RETURNED in page
    assert expected in page
    assert expected in server.output()


def test_a_good_response_is_checked_as_by_django():
    """The check is replaced: it knows every response of Django, and leaves the rest to Django."""
    from django.core.handlers.base import BaseHandler
    from django.http import HttpResponse

    handler = BaseHandler()
    handler.check_response(HttpResponse(), views.sync_none)

    class Own:
        """No subclass of HttpResponse, which Django takes as well."""

    handler.check_response(Own(), views.sync_none)
    with pytest.raises(ValueError, match=r"Middleware\.process_template_response didn't return"):
        handler.check_response(None, views.sync_none, name="Middleware.process_template_response")
