# With aiohttp-wsgi
from aiohttp import web
from aiohttp_wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application


async def status(request):
    return web.json_response({"ok": True})


def make_application():
    main = web.Application()
    main.router.add_get("/status/", status)
    wsgi_handler = WSGIHandler(get_wsgi_application())
    main.router.add_route("*", "/{path_info:.*}", wsgi_handler.handle_request)
    return main
