"""WebSockets and streaming for Django sites: coroutine views on aiohttp, beside the others."""

from .discovery import django_view
from .fallback import FALLBACK
from .subapp import (
    fallback_middleware,
    get_aio_application,
    get_aio_routes,
    get_aio_subapp,
    setup,
)

__version__ = "0.1.0"

__all__ = [
    "FALLBACK",
    "django_view",
    "fallback_middleware",
    "get_aio_application",
    "get_aio_routes",
    "get_aio_subapp",
    "setup",
]
