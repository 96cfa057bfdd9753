"""What the servers are given: factories of the project's applications."""

import os
from typing import Any
from wsgiref.types import WSGIApplication

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.project.settings")


def wsgi() -> WSGIApplication:
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()


def asgi() -> Any:
    """Django's own ASGI handler."""
    from django.core.asgi import get_asgi_application

    return get_asgi_application()


def a2wsgi() -> Any:
    """The WSGI application behind a2wsgi, for an ASGI server."""
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(wsgi(), workers=int(os.environ["BENCHMARK_THREADS"]))
