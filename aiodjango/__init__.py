"""WebSockets and streaming for Django sites: coroutine views on aiohttp, alongside Django's own."""

from .fallback import FALLBACK
from .notes import explain_errors
from .orm import django_context, run_in_django
from .runner import AioRunner
from .subapp import (
    fallback_middleware,
    get_aio_application,
    get_aio_routes,
    get_aio_subapp,
    setup,
)
from .urlconf.patterns import django_view
from .views.auth import aget_session, aget_user, aio_login_required, aio_permission_required
from .views.request import django_request
from .views.watch import watch_user

# At once: a project that has forgotten "aiodjango" in INSTALLED_APPS may do no more than import it.
explain_errors()

__version__ = "0.1.0"

__all__ = [
    "FALLBACK",
    "AioRunner",
    "aget_session",
    "aget_user",
    "aio_login_required",
    "aio_permission_required",
    "django_context",
    "django_request",
    "django_view",
    "fallback_middleware",
    "get_aio_application",
    "get_aio_routes",
    "get_aio_subapp",
    "run_in_django",
    "setup",
    "watch_user",
]
