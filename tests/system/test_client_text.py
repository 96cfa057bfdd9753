"""Text that clients choose: it neither fills the memory nor takes the server's time."""

import asyncio
import gc
import logging
import tracemalloc

import pytest
from aiohttp import web
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from aiodjango import get_aio_application
from tests.gateway.client import Client

# What aiohttp accepts by default: lines of 8,190 bytes, 128 of them. A site may accept longer ones.
LINE, LINES = 8000, 120
LONG_LINE = 200_000
REQUESTS = 8
# In bytes: more than one request, which may be held until the next; less than all of any text.
TOLERATED = 1_300_000


async def view(request):
    return web.Response(text="answered")


@csrf_exempt
def sync(request):
    return HttpResponse("answered")


urlpatterns = [path("aio/", view), path("sync/", sync)]


@pytest.fixture
async def server(aiohttp_server, settings, tmp_path):
    (tmp_path / "app.css").write_text("x" * 2000)
    (tmp_path / "app.css.gz").write_text("x")
    settings.STATIC_ROOT = tmp_path
    settings.ROOT_URLCONF = "tests.system.test_client_text"
    settings.ALLOWED_HOSTS = [".localhost"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.example.com"]
    settings.USE_I18N = True
    settings.MIDDLEWARE = ["django.middleware.locale.LocaleMiddleware", *settings.MIDDLEWARE]
    app = get_aio_application(get_wsgi_application(), include_static=True)
    return await aiohttp_server(app, max_field_size=2**21, max_line_size=2**21)


async def send(server, method, url, headers):
    host = [] if any(name == "Host" for name, _ in headers) else [("Host", "localhost")]
    head = "".join(f"{name}: {value}\r\n" for name, value in [*host, *headers])
    async with Client(server.host, server.port) as client:
        await client.send(f"{method} {url} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
        return await client.answer()


def many(name, text):
    """A header of many long lines, other ones for each number."""
    return lambda number: [(name, f"{number}{line}{text * LINE}"[:LINE]) for line in range(LINES)]


def single(name, text):
    return lambda number: [(name, text.replace("{}", f"{number}" + "1" * LONG_LINE))]


TEXTS = {
    "origins": many("Origin", "a"),
    "long origin": single("Origin", "https://a{}.example.com"),
    "ports": single("Host", "localhost:{}"),
    "subdomains": single("Host", "a{}.localhost"),
    "long names": lambda number: [(f"X-{number}-{'x' * LONG_LINE}", "")],
    "names": lambda number: [(f"X-{number}-{line}-{'x' * LINE}", "") for line in range(LINES)],
    "codings": many("Accept-Encoding", ","),
    "languages": many("Accept-Language", "en,"),
    "language": single("Cookie", "django_language=de-{}"),
    "cookies": many("Cookie", "a=1; "),
    "etags": many("If-None-Match", '"a",'),
    "schemes": many("X-Forwarded-Proto", "https"),
    "referers": single("Referer", "https://a{}.example.com/"),
    "upgrade": single("Upgrade", "{}"),
}


async def least_traced_memory():
    """What stays once the connections of the requests have ended."""
    size = 0
    for _ in range(100):
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        if size <= TOLERATED:
            break
        await asyncio.sleep(0.05)
    return size


@pytest.mark.parametrize(
    ("method", "url"),
    [("GET", "/aio/"), ("POST", "/aio/"), ("GET", "/static/app.css"), ("POST", "/sync/")],
)
async def test_it_is_not_remembered(server, method, url):
    remembered = {}
    logging.disable()  # or the test itself remembers each request
    try:
        for name, headers in TEXTS.items():
            await send(server, method, url, headers(0))
            tracemalloc.start()
            for number in range(REQUESTS):
                await send(server, method, url, headers(1000 + number))
            remembered[name] = await least_traced_memory()
            tracemalloc.stop()
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)
    assert {name: size for name, size in remembered.items() if size > TOLERATED} == {}
