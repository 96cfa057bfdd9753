"""Applications for the AIO_APPLICATION setting, good ones and bad ones."""

from pathlib import Path

from aiohttp import web
from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application

from .views import ticks

DIARY = Path(__file__).with_name("diary.txt")


async def home(request):
    return web.Response(text="the host's own")


async def diary(app):
    with DIARY.open("a") as file:
        file.write("started\n")
    yield
    with DIARY.open("a") as file:
        file.write("ended\n")


def make_app():
    application = web.Application()
    application.router.add_get("/", home)
    application.router.add_get("/ticks/", ticks)
    application.cleanup_ctx.append(diary)
    application.add_subapp("/site/", get_aio_application(get_wsgi_application()))
    return application


app = make_app()

failing = web.Application()


async def fail(app):
    raise RuntimeError("the application cannot start")


failing.on_startup.append(fail)
