"""A site for `gunicorn --preload` that uses its databases and caches while it is imported."""

import os
import threading

import django
from aiohttp import web
from django.core.cache import caches
from django.db import connection
from django.http import JsonResponse
from django.urls import path

django.setup()

from aiodjango import get_aio_application, run_in_django  # noqa: E402


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def cached(value: str) -> str:
    """Have the cache keep a value for the calling process, and give it back."""
    cache = caches["default"]
    key = f"{os.getpid()}-{threading.get_ident()}-{value}"
    cache.set(key, value)
    return cache.get(key)


BACKEND = backend()
cached("imported")
connection.close_if_unusable_or_obsolete()  # as at the end of a request
IS_KEPT = connection.connection is not None
IMPORTED = os.getpid()
in_worker: dict[str, object] = {}


def facts(value: str) -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "imported": IMPORTED,
        "before": BACKEND,
        "backend": backend(),
        "cached": cached(value),
        "in_worker": in_worker.get("backend"),
        "before_is_kept": IS_KEPT,
    }


def sync(request, value):
    return JsonResponse(facts(value))


async def coroutine(request, value):
    return web.json_response(await run_in_django(facts, value))


urlpatterns = [
    path("sync/1/", sync, {"value": "1"}),  # of which tests.support.server knows
    path("sync/<value>/", sync),
    path("aio/<value>/", coroutine),
]
app = get_aio_application()


def use_in_worker():
    """For gunicorn's hook: in the worker, in the thread that was forked."""
    in_worker["backend"] = backend()
