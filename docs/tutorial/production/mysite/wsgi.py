import os

from aiohttp import WSCloseCode
from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

application = get_wsgi_application()
app = get_aio_application(application, include_static=True)


async def close_pages(app):
    from wall.live import pages

    for ws in list(pages):
        await ws.close(code=WSCloseCode.GOING_AWAY)


app.on_shutdown.append(close_pages)
