"""The site as an application: `gunicorn example.wsgi:app -k aiodjango.worker.GunicornWorker`."""

import os
from collections.abc import AsyncIterator

from aiohttp import web
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application
from example.chat.how import name_half

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example.settings")

# Plain Django, as any WSGI server would run it.
application = get_wsgi_application()

# The same site with its coroutine views on the event loop. Without DEBUG Django serves no static
# files, so the loop does.
app = get_aio_application(application, include_static=not settings.DEBUG)


async def keep_in_touch(app: web.Application) -> AsyncIterator[None]:
    """While the server runs, this process and the others tell each other who is in which room."""
    from example.chat.live import presence

    async with presence.running():
        yield


app.cleanup_ctx.append(keep_in_touch)
app.on_response_prepare.append(name_half)
