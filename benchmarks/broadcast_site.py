"""The site that benchmarks.broadcast measures: python -m benchmarks.broadcast_site PORT LOOP

BROADCAST_KIND is "aiodjango" or "aiohttp"; "channels" and "eventstream" are served by others, from
benchmarks.broadcast_asgi. BROADCAST_BACKEND is "redis" or "postgres", with Channels the layer,
"core" or "pubsub". BROADCAST_REDIS is Redis's unix socket, BROADCAST_POSTGRES the folder of
PostgreSQL's. BROADCAST_CHANNEL is the channel that everybody hears.

/ws/NUMBER/         a WebSocket that hears the channel
/bell/NUMBER/       one that also hears a channel of its own
/bare/NUMBER/       one that hears nothing
/events/            an event stream of the channel
/publish/           publishes an event
/paced/RATE/NUMBER/ publishes so many in a coroutine, at a rate; answers how many seconds it took
/burst/NUMBER/      publishes so many in a sync view, as fast as it can; likewise
"""

import asyncio
import os
import sys
import time
import types
from collections.abc import Awaitable, Callable
from typing import Any

import django
from aiohttp import web
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

KIND = os.environ.get("BROADCAST_KIND", "aiodjango")
BACKEND = os.environ.get("BROADCAST_BACKEND", "redis")
REDIS = os.environ.get("BROADCAST_REDIS", "")
# Each peer has its own, or it would hear what others publish.
CHANNEL = os.environ.get("BROADCAST_CHANNEL", "news")
# Never part of a frame's or of a chunk's header: the clients count messages by it.
MARK = "~"
LAYERS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}


def event() -> dict[str, Any]:
    """An event that tells when it was published: the clock is one for all processes."""
    return {"sent": time.monotonic_ns(), "text": f"as long as a short message is{MARK}"}


def configure() -> None:
    values: dict[str, Any] = {}
    if KIND == "channels":
        # Waiting for a message for longer than redis-py 8's five seconds is no error.
        host = {"address": f"unix://{REDIS}", "socket_timeout": None}
        layer = {"BACKEND": LAYERS[BACKEND], "CONFIG": {"hosts": [host]}}
        values["CHANNEL_LAYERS"] = {"default": layer}
    elif KIND == "eventstream":
        values["INSTALLED_APPS"] = ["django_eventstream"]
        values["EVENTSTREAM_REDIS"] = {"unix_socket_path": REDIS}
    elif BACKEND == "postgres":
        backend = {"BACKEND": "aiodjango.broadcast.postgres.PostgresBackend"}
        values["AIO_BROADCAST"] = backend
        values["DATABASES"] = {
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": "test",
                "USER": "postgres",
                "HOST": os.environ["BROADCAST_POSTGRES"],
                "CONN_MAX_AGE": None,
            }
        }
    else:
        backend = {"BACKEND": "aiodjango.broadcast.redis.RedisBackend"}
        values["AIO_BROADCAST"] = {**backend, "LOCATION": f"unix://{REDIS}"}
    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="benchmarks.urls",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        LOGGING_CONFIG=None,
        **values,
    )
    django.setup()


def use_urlconf(patterns: list[Any]) -> None:
    """Make these the patterns of ROOT_URLCONF."""
    module = types.ModuleType(settings.ROOT_URLCONF)
    module.urlpatterns = patterns  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


async def paced(publish: Callable[[], Awaitable[object]], rate: int, number: int) -> str:
    """Publish at a rate; what is late is caught up with."""
    begun = time.perf_counter()
    for index in range(number):
        ahead = begun + index / rate - time.perf_counter()
        # Otherwise those that are late would be published without a pause.
        await asyncio.sleep(max(0.0, ahead))
        await publish()
    return str(time.perf_counter() - begun)


def burst(publish: Callable[[], object], number: int) -> HttpResponse:
    begun = time.perf_counter()
    for _ in range(number):
        publish()
    return HttpResponse(str(time.perf_counter() - begun))


# --- aiodjango ---------------------------------------------------------------------------------


def aiodjango() -> web.Application:
    from aiohttp_sse import sse_response

    from aiodjango import get_aio_application
    from aiodjango.broadcast import apublish, publish, subscribe

    async def ws(request: web.Request, number: int) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async with subscribe(CHANNEL) as events:
            await events.send_to(response)
        return response

    async def bell(request: web.Request, number: int) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async with subscribe(CHANNEL, f"user-{number}") as events:
            await events.send_to(response)
        return response

    async def bare(request: web.Request, number: int) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for _ in response:
            pass
        return response

    async def events_view(request: web.Request) -> web.StreamResponse:
        import json

        async with subscribe(CHANNEL) as events, sse_response(request) as response:
            async for heard in events:
                await response.send(json.dumps(heard))
        return response

    async def publish_one(request: web.Request) -> web.Response:
        await apublish(CHANNEL, event())
        return web.Response()

    async def publish_paced(request: web.Request, rate: int, number: int) -> web.Response:
        return web.Response(text=await paced(lambda: apublish(CHANNEL, event()), rate, number))

    def publish_burst(request: HttpRequest, number: int) -> HttpResponse:
        return burst(lambda: publish(CHANNEL, event()), number)

    use_urlconf(
        [
            path("ws/<int:number>/", ws),
            path("bell/<int:number>/", bell),
            path("bare/<int:number>/", bare),
            path("events/", events_view),
            path("publish/", publish_one),
            path("paced/<int:rate>/<int:number>/", publish_paced),
            path("burst/<int:number>/", publish_burst),
        ]
    )
    return get_aio_application()


# --- aiohttp: the limit ------------------------------------------------------------------------


def aiohttp() -> web.Application:
    import json

    sockets: set[web.WebSocketResponse] = set()

    async def ws(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        sockets.add(response)
        try:
            async for _ in response:
                pass
        finally:
            sockets.discard(response)
        return response

    async def publish(request: web.Request) -> web.Response:
        text = json.dumps(event())
        for response in tuple(sockets):
            await response.send_str(text)
        return web.Response()

    app = web.Application()
    app.router.add_get("/ws/{number}/", ws)
    app.router.add_get("/publish/", publish)
    return app


# --- Channels, django-eventstream --------------------------------------------------------------


def channels() -> Any:
    import json

    from asgiref.sync import async_to_sync
    from channels.generic.websocket import AsyncWebsocketConsumer
    from channels.layers import get_channel_layer
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.core.asgi import get_asgi_application

    class Bare(AsyncWebsocketConsumer):  # type: ignore[misc]
        pass

    class News(Bare):
        groups = [CHANNEL]

        async def event(self, message: dict[str, Any]) -> None:
            await self.send(text_data=message["text"])

    class Bell(News):
        async def connect(self) -> None:
            number = self.scope["url_route"]["kwargs"]["number"]
            await self.channel_layer.group_add(f"user-{number}", self.channel_name)
            await self.accept()

    async def send() -> None:
        message = {"type": "event", "text": json.dumps(event())}
        await get_channel_layer().group_send(CHANNEL, message)

    async def publish_one(request: HttpRequest) -> HttpResponse:
        await send()
        return HttpResponse()

    async def publish_paced(request: HttpRequest, rate: int, number: int) -> HttpResponse:
        return HttpResponse(await paced(send, rate, number))

    def publish_burst(request: HttpRequest, number: int) -> HttpResponse:
        return burst(async_to_sync(send), number)

    use_urlconf(
        [
            path("publish/", publish_one),
            path("paced/<int:rate>/<int:number>/", publish_paced),
            path("burst/<int:number>/", publish_burst),
        ]
    )
    pages = [
        path("ws/<int:number>/", News.as_asgi()),
        path("bell/<int:number>/", Bell.as_asgi()),
        path("bare/<int:number>/", Bare.as_asgi()),
    ]
    return ProtocolTypeRouter({"http": get_asgi_application(), "websocket": URLRouter(pages)})


def eventstream() -> Any:
    from django.core.asgi import get_asgi_application
    from django_eventstream import send_event

    def send() -> None:
        send_event(CHANNEL, "message", event())

    async def send_soon() -> None:
        send()  # It has no other way; a thread for each would be slower.

    def publish_one(request: HttpRequest) -> HttpResponse:
        send()
        return HttpResponse()

    async def publish_paced(request: HttpRequest, rate: int, number: int) -> HttpResponse:
        return HttpResponse(await paced(send_soon, rate, number))

    def publish_burst(request: HttpRequest, number: int) -> HttpResponse:
        return burst(send, number)

    channels = {"channels": [CHANNEL]}
    use_urlconf(
        [
            path("events/", include("django_eventstream.urls"), channels),
            path("publish/", publish_one),
            path("paced/<int:rate>/<int:number>/", publish_paced),
            path("burst/<int:number>/", publish_burst),
        ]
    )
    return get_asgi_application()


def asgi() -> Any:
    """The ASGI application of BROADCAST_KIND."""
    configure()
    return {"channels": channels, "eventstream": eventstream}[KIND]()


def main(port: str, loop: str) -> None:
    configure()
    new_loop = None
    if loop == "uvloop":
        import uvloop

        new_loop = uvloop.new_event_loop()
    app = {"aiodjango": aiodjango, "aiohttp": aiohttp}[KIND]()
    web.run_app(app, host="127.0.0.1", port=int(port), access_log=None, print=None, loop=new_loop)


if __name__ == "__main__":
    main(*sys.argv[1:])
