"""The servers that benchmarks.orm compares: python -m benchmarks.orm_servers NAME FOLDER FD.

FOLDER is where PostgreSQL has its socket. NAME "create" makes the table instead.
"""

import asyncio
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

import django
from aiohttp import web
from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

KEPT = {"CONN_MAX_AGE": None}
POOLED: dict[str, Any] = {"OPTIONS": {"pool": True}}  # as Django's documentation has it


def configure(folder: str, **database: Any) -> None:
    settings.configure(
        SECRET_KEY="benchmark",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="benchmarks.urls",
        USE_TZ=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": "test",
                "USER": "postgres",
                "HOST": folder,
                **database,
            }
        },
    )
    django.setup()


def queries() -> types.SimpleNamespace:
    """What the views ask the database for; made once Django is configured."""
    from django.db import models
    from django.db.models.expressions import RawSQL

    class Row(models.Model):
        text = models.CharField(max_length=100)

        class Meta:
            app_label = "benchmarks"

    slept = RawSQL("(SELECT 1 FROM pg_sleep(0.02))", [], output_field=models.IntegerField())
    return types.SimpleNamespace(row=Row.objects, slow=Row.objects.annotate(slept=slept), model=Row)


def create() -> None:
    from django.db import connection

    model = queries().model
    with connection.schema_editor() as editor:
        editor.create_model(model)
    for number in range(100):
        model.objects.create(text=f"row {number}")


def views() -> list[Any]:
    from aiodjango import run_in_django

    asked = queries()

    async def nothing(request: web.Request) -> web.Response:
        return web.Response(text="row 0")

    async def aget(request: web.Request) -> web.Response:
        row = await asked.row.aget(pk=1)
        return web.Response(text=row.text)

    async def slow(request: web.Request) -> web.Response:
        row = await asked.slow.aget(pk=1)
        return web.Response(text=row.text)

    async def in_django(request: web.Request) -> web.Response:
        row = await run_in_django(asked.row.get, pk=1)
        return web.Response(text=row.text)

    async def in_thread(request: web.Request) -> web.Response:
        row = await sync_to_async(asked.row.get)(pk=1)
        return web.Response(text=row.text)

    return [
        path("nothing/", nothing),
        path("aget/", aget),
        path("slow/", slow),
        path("in_django/", in_django),
        path("in_thread/", in_thread),
    ]


def plain() -> web.Application:
    """aiohttp's handlers with Django's async ORM: as it is without us."""
    app = web.Application()
    for pattern in views():
        app.router.add_get(f"/{pattern.pattern}", pattern.callback)
    return app


def lifted() -> web.Application:
    from aiodjango import get_aio_application

    use_urlconf(views())
    return get_aio_application()


def asgi() -> Any:
    """Django's own async view, for uvicorn."""
    from django.core.asgi import get_asgi_application

    asked = queries()

    async def aget(request: HttpRequest) -> HttpResponse:
        row = await asked.row.aget(pk=1)
        return HttpResponse(row.text)

    use_urlconf([path("aget/", aget)])
    return get_asgi_application()


def use_urlconf(patterns: list[Any]) -> None:
    """Make these the patterns of ROOT_URLCONF."""
    module = types.ModuleType(settings.ROOT_URLCONF)
    module.urlpatterns = patterns  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


def serve_aiohttp(make_app: Callable[[], web.Application], sock: socket.socket) -> None:
    web.run_app(make_app(), sock=sock, access_log=None, print=None)


def serve_uvicorn(sock: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(asgi(), access_log=False, log_level="warning", lifespan="off")
    asyncio.run(uvicorn.Server(config).serve([sock]))


def main(name: str, folder: str, listener: int | None) -> None:
    configure(folder, **(POOLED if name.endswith("pool") else KEPT))
    if listener is None:
        create()
        return
    sock = socket.socket(fileno=listener)
    if name == "uvicorn-pool":
        serve_uvicorn(sock)
    else:
        serve_aiohttp({"plain": plain, "lifted": lifted}[name], sock)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
