import time

from aiohttp import web
from django.core.wsgi import get_wsgi_application
from prometheus_client import Gauge, Histogram

from aiodjango import FALLBACK, setup

SECONDS = Histogram("aiohttp_seconds", "Time that requests take", ["method", "path"])
PENDING = Gauge("aiodjango_pending", "Requests that wait for a thread of Django's")


@web.middleware
async def measure(request, handler):
    begun = time.perf_counter()
    try:
        return await handler(request)
    finally:
        resource = request.match_info.route.resource
        path = resource.canonical if resource else "none"  # "/{django}" for Django's views
        SECONDS.labels(request.method, path).observe(time.perf_counter() - begun)


app = web.Application(middlewares=[measure])
setup(app, get_wsgi_application())
PENDING.set_function(lambda: app[FALLBACK].pending)
