# With aiodjango
from aiohttp import web
from django.core.wsgi import get_wsgi_application

from aiodjango import setup


async def status(request):
    return web.json_response({"ok": True})


def make_application():
    main = web.Application()
    main.router.add_get("/status/", status)
    setup(main, get_wsgi_application())
    return main
