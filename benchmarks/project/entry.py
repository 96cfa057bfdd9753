"""What the servers are given: factories of the project's applications."""

import os
from typing import Any
from wsgiref.types import WSGIApplication

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.project.settings")


def wsgi() -> WSGIApplication:
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def aio() -> Any:
    """The aiohttp application, for a server with workers."""
    from aiodjango import get_aio_application

    return get_aio_application(wsgi(), threads=int(os.environ["BENCHMARK_THREADS"]))


# daphne takes no factory.
def __getattr__(name: str) -> Any:
    if name == "asgi_application":
        return asgi()
    raise AttributeError(name)


def asgi() -> Any:
    """Django's own ASGI handler."""
    from django.core.asgi import get_asgi_application

    return get_asgi_application()


def a2wsgi() -> Any:
    """The WSGI application behind a2wsgi, for an ASGI server."""
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(wsgi(), workers=int(os.environ["BENCHMARK_THREADS"]))
