"""The site as an application: `gunicorn example.wsgi:app -k aiodjango.worker.GunicornWorker`."""

import os
from collections.abc import AsyncIterator

from aiohttp import web
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example.settings")

# Plain Django, as any WSGI server would run it.
application = get_wsgi_application()

# The same site with its coroutine views on the event loop. Without DEBUG Django serves no static
# files, so the loop does.
app = get_aio_application(application, include_static=not settings.DEBUG)


async def keep_in_touch(app: web.Application) -> AsyncIterator[None]:
    """What goes on beside the views: this process and the others tell each other what happens."""
    from example.chat.live import broadcast, presence

    async with broadcast.running(), presence.running():
        yield


async def close_streams(app: web.Application) -> None:
    """End the open WebSockets and feeds, so that a restart does not wait for them."""
    from example.chat.live import broadcast

    broadcast.close()


app.cleanup_ctx.append(keep_in_touch)
app.on_shutdown.append(close_streams)
