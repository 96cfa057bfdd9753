"""The site in each form that a worker takes."""

from django.core.wsgi import get_wsgi_application

from aiodjango import AioRunner, get_aio_application

application = get_wsgi_application()
app = get_aio_application(application)


async def make_app():
    return app


async def make_runner():
    return AioRunner(app, max_line_size=50)
