"""Mistakes of a deployment: what the log says."""

import logging
import subprocess
import sys

import pytest
from aiohttp import web
from asgiref.compatibility import guarantee_single_callable
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.urls import path

from aiodjango import get_aio_application, get_aio_subapp
from aiodjango.conf import load_aio_application, load_aio_application_factory
from aiodjango.notes import deployment
from tests.conftest import require
from tests.support.environment import environment
from tests.support.server import PROJECT, serve

from .rows import PAGE, seen

CALLED = seen("A WSGI or ASGI server called this aiohttp application")
SCHEME = seen("The page was loaded by https")
COLON = seen("needs a dot in place of the colon")
HOSTS = seen("DEBUG is False and ALLOWED_HOSTS is empty")
STATIC = seen("but nothing serves it")
COMMAND = "gunicorn example.wsgi:app --worker-class aiodjango.worker.GunicornWorker"


# ---- Servers that are not aiohttp's ----


@pytest.mark.parametrize("worker", ["sync", "gthread"])
async def test_gunicorn_without_the_worker_class_names_it(tmp_path, worker):
    require(module="gunicorn")
    command = ["-m", "gunicorn", f"{PROJECT}.wsgi:app", f"--worker-class={worker}"]
    command += ["--bind=fd://{fd}", "--no-control-socket"]
    with serve(command, tmp_path / "log") as server:
        async with server.client() as client, client.get("/sync/1/") as response:
            assert response.status == 500
    assert CALLED in server.output()
    assert "--worker-class aiodjango.worker.GunicornWorker" in server.output()


@pytest.mark.parametrize("make", [get_aio_application, get_aio_subapp, web.Application])
async def test_an_asgi_server_is_told_the_command(make):
    app = make()
    with pytest.raises(TypeError, match=COMMAND):
        # As uvicorn and daphne do: a callable that is no coroutine function is of ASGI 2.
        await guarantee_single_callable(app)({"type": "http"}, None, None)
    with pytest.raises(TypeError, match=CALLED):
        app({}, lambda status, headers: None)


def test_the_command_names_the_project(settings):
    settings.WSGI_APPLICATION = "shop.conf.wsgi.application"
    with pytest.raises(TypeError, match=r"gunicorn shop\.conf\.wsgi:app --worker-class"):
        get_aio_application()({}, None)
    settings.AIO_APPLICATION = "shop.main.site"
    with pytest.raises(TypeError, match=r"gunicorn shop\.main:site --worker-class"):
        get_aio_application()({}, None)


def test_a_call_without_arguments_gives_the_application():
    """As aiohttp means it."""
    app = get_aio_application()
    assert app() is app


# ---- Behind a TLS proxy ----


async def socket_view(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    return ws


def form(request):
    return HttpResponse("done")


@pytest.fixture
async def site(aiohttp_client, settings):
    """A function that sends a POST or a handshake as a browser does behind a proxy."""
    settings.DEBUG = True
    settings.ROOT_URLCONF = (path("live/", socket_view), path("form/", form))
    client = await aiohttp_client(get_aio_application(forwarded_allow_ips="10.0.0.9"))

    async def send(target, origin, **headers):
        headers = {"Origin": origin, "Host": "testserver", **headers}
        if target == "/live/":
            headers |= {"Upgrade": "websocket", "Connection": "upgrade"}
        method = "GET" if target == "/live/" else "POST"
        async with client.request(method, target, headers=headers) as response:
            assert response.status == 403

    return send


@pytest.mark.parametrize("target", ["/live/", "/form/"])
async def test_a_tls_proxy_that_is_not_trusted_is_named(site, caplog, target):
    await site(target, "https://testserver", **{"X-Forwarded-Proto": "https"})
    assert f"{SCHEME}, and X-Forwarded-Proto: 'https' of 127.0.0.1 is ignored" in caplog.text
    assert "FORWARDED_ALLOW_IPS" in caplog.text
    assert "CSRF_TRUSTED_ORIGINS" not in caplog.text
    assert caplog.text.count(SCHEME) == 1


@pytest.mark.parametrize("target", ["/live/", "/form/"])
async def test_a_proxy_that_does_not_tell_the_scheme_is_named(site, caplog, target):
    await site(target, "https://testserver")
    assert f"{SCHEME}, and its request came by http: if there is a TLS proxy" in caplog.text
    assert "at 127.0.0.1, have it send X-Forwarded-Proto: https" in caplog.text


@pytest.mark.parametrize("target", ["/live/", "/form/"])
async def test_without_debug_the_log_of_the_server_names_the_proxy_once(
    site, settings, monkeypatch, caplog, target
):
    """Where Django's own warning is shown nowhere."""
    settings.DEBUG = False
    monkeypatch.setattr(deployment.Warned, "of_proxy", False)
    for _ in range(2):
        await site(target, "https://testserver", **{"X-Forwarded-Proto": "https"})
    (warning,) = [record for record in caplog.records if record.name == "aiodjango"]
    assert "FORWARDED_ALLOW_IPS" in warning.getMessage()


@pytest.mark.parametrize("origin", [None, "https://testserver"])
@pytest.mark.parametrize("logger", ["django.security.csrf", "django.request"])
def test_requests_that_were_made_by_hand_are_logged(caplog, logger, origin):
    """As Django's own tests make them: with next to nothing in META."""
    request = HttpRequest()
    if origin:
        request.META["HTTP_ORIGIN"] = origin
    deployment.complete_log()
    extra = {"status_code": 404, "request": request}
    logging.getLogger(logger).warning("Seen: %s", "it", extra=extra)
    assert "Seen: it" in caplog.text


@pytest.mark.parametrize("target", ["/live/", "/form/"])
@pytest.mark.parametrize("origin", ["https://other.example", "http://testserver:81", "null"])
async def test_other_origins_have_nothing_to_do_with_a_proxy(site, caplog, target, origin):
    await site(target, origin)
    assert SCHEME not in caplog.text
    assert "FORWARDED_ALLOW_IPS" not in caplog.text
    if target == "/live/":
        assert "CSRF_TRUSTED_ORIGINS" in caplog.text


@pytest.mark.parametrize("target", ["/live/", "/form/"])
async def test_a_page_that_was_loaded_without_tls_is_told(aiohttp_client, settings, caplog, target):
    settings.ROOT_URLCONF = (path("live/", socket_view), path("form/", form))
    client = await aiohttp_client(get_aio_application(forwarded_allow_ips="*"))
    headers = {
        "Origin": "http://testserver",
        "Host": "testserver",
        "X-Forwarded-Proto": "https",
    }
    async with client.post(target, headers=headers) as response:
        assert response.status == 403
    assert "The page was loaded by http, and its request came by https" in caplog.text


# ---- Settings ----


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("AIO_APPLICATION", load_aio_application),
        ("AIO_APPLICATION_FACTORY", load_aio_application_factory),
    ],
)
def test_a_colon_in_a_dotted_path(settings, name, load):
    setattr(settings, name, "example.wsgi:app")
    with pytest.raises(ImproperlyConfigured) as raised:
        load()
    assert str(raised.value) == f"{name} 'example.wsgi:app' {COLON}: 'example.wsgi.app'."


@pytest.mark.parametrize("make", [get_aio_application, get_aio_subapp])
async def test_no_allowed_hosts(aiohttp_client, settings, caplog, make):
    settings.ALLOWED_HOSTS = []
    await aiohttp_client(make())
    assert HOSTS in caplog.text
    assert 'ALLOWED_HOSTS = ["www.example.com"]' in caplog.text


@pytest.mark.parametrize("options", [{"ALLOWED_HOSTS": ["*"]}, {"DEBUG": True}], ids=str)
async def test_hosts_that_are_allowed(aiohttp_client, settings, caplog, options):
    for name, value in {"ALLOWED_HOSTS": [], **options}.items():
        setattr(settings, name, value)
    await aiohttp_client(get_aio_application())
    assert HOSTS not in caplog.text


# ---- Static files ----


@pytest.fixture
def static(settings, tmp_path, monkeypatch):
    """A static file of the project; a function that collects it."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "page.css").write_text("body {}")
    settings.STATICFILES_DIRS = [tmp_path / "source"]
    settings.STATIC_ROOT = tmp_path / "root"
    for each in logging.getLogger("django.request").filters:
        if isinstance(each, deployment.StaticHints):
            monkeypatch.setattr(each, "has_warned", False)

    def collect():
        settings.STATIC_ROOT.mkdir()
        (settings.STATIC_ROOT / "page.css").write_text("body {}")

    return collect


async def warnings_of(client, caplog, *targets):
    for target in targets:
        async with client.get(target) as response:
            assert response.status == 404
    return [r.getMessage() for r in caplog.records if r.name == "aiodjango"]


async def test_a_static_file_that_nothing_serves(aiohttp_client, static, caplog):
    client = await aiohttp_client(get_aio_application())
    (warning,) = await warnings_of(client, caplog, *["/static/page.css"] * 2)
    assert f"/static/page.css is a static file of the project, {STATIC}" in warning
    assert "manage.py collectstatic" in warning
    assert "get_aio_application(application, include_static=True)" in warning


async def test_a_collected_file_that_nothing_serves(aiohttp_client, static, caplog):
    static()
    client = await aiohttp_client(get_aio_application())
    (warning,) = await warnings_of(client, caplog, "/static/page.css")
    assert "/static/page.css is a file in STATIC_ROOT, but nothing serves STATIC_ROOT" in warning
    assert "include_static=True" in warning


async def test_what_is_no_static_file_is_no_reason_to_warn(aiohttp_client, static, caplog):
    static()
    client = await aiohttp_client(get_aio_application())
    targets = [
        "/static/other.css",
        "/static/",
        "/static/%00",
        "/static/..%2fpage.css",
        "/static/" + "a" * 300,
        "/page.css",
    ]
    assert await warnings_of(client, caplog, *targets) == []


async def test_what_is_served_is_no_reason_to_warn(aiohttp_client, static, caplog):
    static()
    client = await aiohttp_client(get_aio_application(include_static=True))
    assert (await client.get("/static/page.css")).status == 200
    assert await warnings_of(client, caplog, "/static/other.css") == []


# ---- Errors of production ----

# Configures logging as the page says, or as Django does by itself.
LOGGING = r"""
import logging, re, sys, textwrap
import django
from django.conf import settings

page = open(sys.argv[1]).read()
code = re.search("   LOGGING = ([{].*?\n   [}])\n", page, re.DOTALL)[1]
settings.configure(LOGGING=eval(code) if sys.argv[2:] else {})
django.setup()
logging.getLogger("django.request").error("What has failed")
"""


@pytest.mark.parametrize("options", [[], ["as the page says"]])
def test_errors_are_printed_as_the_page_says(options):
    command = [sys.executable, "-c", LOGGING, PAGE, *options]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert ("What has failed" in done.stderr) == bool(options)
