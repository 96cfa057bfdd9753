"""The settings that aiodjango reads, and the middlewares that are installed."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from inspect import iscoroutinefunction
from math import inf
from typing import Any

from aiohttp import web
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.utils.module_loading import import_string

SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"
SECURITY = "django.middleware.security.SecurityMiddleware"
FRAME_OPTIONS = "django.middleware.clickjacking.XFrameOptionsMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
MESSAGES = "django.contrib.messages.middleware.MessageMiddleware"
CSP = "django.middleware.csp.ContentSecurityPolicyMiddleware"
LOCALE = "django.middleware.locale.LocaleMiddleware"
CORS = "corsheaders.middleware.CorsMiddleware"

_DEFAULT_BROADCAST = {"BACKEND": "aiodjango.broadcast.memory.MemoryBackend"}


def orm_thread_count() -> int:
    """Return the setting AIO_ORM_THREADS. Raises ImproperlyConfigured if it is invalid."""
    count = getattr(settings, "AIO_ORM_THREADS", 8)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ImproperlyConfigured(
            f"AIO_ORM_THREADS must be a whole number of at least 1, not {count!r}: how many "
            "threads, with a database connection each, run the ORM for coroutine views."
        )
    return count


def transaction_timeout() -> float:
    """Return AIO_TRANSACTION_TIMEOUT, in seconds. Raises ImproperlyConfigured if it is invalid."""
    return _seconds(
        "AIO_TRANSACTION_TIMEOUT",
        getattr(settings, "AIO_TRANSACTION_TIMEOUT", 10),
        "how long a WebSocket or a background task may keep a transaction open, or a database "
        "session that it has changed, without a database call",
    )


def watch_interval() -> float:
    """Return AIO_WATCH_INTERVAL, in seconds. Raises ImproperlyConfigured if it is invalid."""
    return _seconds(
        "AIO_WATCH_INTERVAL",
        getattr(settings, "AIO_WATCH_INTERVAL", 30.0),
        "how often the logins of the WebSockets under watch_user() are checked",
    )


def _seconds(name: str, value: Any, meaning: str) -> float:
    """Return the value of a setting in seconds. Raises ImproperlyConfigured if it is invalid."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise ImproperlyConfigured(
            f"{name} must be a number of seconds greater than 0, not {value!r}: {meaning}."
        )
    return value


# The functions that read settings which are numbers.
NUMERIC_SETTINGS = (orm_thread_count, transaction_timeout, watch_interval)


def broadcast_setting() -> Mapping[str, Any]:
    """Return the setting AIO_BROADCAST. Raises ImproperlyConfigured if it is invalid."""
    value = getattr(settings, "AIO_BROADCAST", _DEFAULT_BROADCAST)
    if not isinstance(value, Mapping) or not isinstance(value.get("BACKEND"), str):
        raise ImproperlyConfigured(
            "AIO_BROADCAST must be a dictionary such as "
            "{'BACKEND': 'aiodjango.broadcast.redis.RedisBackend', 'LOCATION': "
            f"'redis://127.0.0.1'}}, not {value!r}."
        )
    for entry in value:
        if entry not in ("BACKEND", "LOCATION", "OPTIONS"):
            raise ImproperlyConfigured(
                f"AIO_BROADCAST has the unknown entry {entry!r}: its entries are BACKEND, "
                "LOCATION and OPTIONS. Options of the back end belong in OPTIONS."
            )
    if not isinstance(value.get("LOCATION", ""), str):
        raise ImproperlyConfigured(
            f"LOCATION in AIO_BROADCAST must be a string, not {value['LOCATION']!r}. Omit it "
            "where the back end needs none."
        )
    return value


def load_aio_application() -> web.Application | None:
    """Return the application that the setting AIO_APPLICATION names, None if it is unset.

    Raises ImproperlyConfigured for anything that cannot be served.
    """
    path = getattr(settings, "AIO_APPLICATION", None)
    if path is None:
        return None
    app = _load("AIO_APPLICATION", path, example="example.wsgi.app")
    if not isinstance(app, web.Application):
        hint = ""
        if isinstance(app, WSGIHandler):
            hint = " It is Django's; name the one that get_aio_application() gives."
        elif callable(app):
            hint = (
                " Name the application itself, not a function: that is for AIO_APPLICATION_FACTORY."
            )
        raise ImproperlyConfigured(
            f"AIO_APPLICATION {path!r} is a {type(app).__name__}, not an aiohttp.web.Application."
            + hint
        )
    if app.pre_frozen:
        raise ImproperlyConfigured(
            f"AIO_APPLICATION {path!r} has been started already, or is mounted in another "
            "application; name one that is new, the outermost."
        )
    return app


def load_aio_application_factory() -> Callable[[], web.Application] | None:
    """Return the function that the setting AIO_APPLICATION_FACTORY names, None if it is unset.

    Raises ImproperlyConfigured for anything but a function. So does the returned function, where
    the other one returns anything that cannot be served.
    """
    path = getattr(settings, "AIO_APPLICATION_FACTORY", None)
    if path is None:
        return None
    factory = _load("AIO_APPLICATION_FACTORY", path, example="example.wsgi.make_app")
    name = f"AIO_APPLICATION_FACTORY {path!r}"
    hint = " Name a function without arguments that returns a new aiohttp.web.Application."
    if isinstance(factory, web.Application):
        raise ImproperlyConfigured(
            f"{name} is an application, which can be started only once.{hint}"
        )
    if not callable(factory):
        raise ImproperlyConfigured(f"{name} is a {type(factory).__name__}, not a function.{hint}")
    if iscoroutinefunction(factory):
        raise ImproperlyConfigured(f"{name} is a coroutine function.{hint}")

    def make() -> web.Application:
        app = factory()
        if not isinstance(app, web.Application):
            raise ImproperlyConfigured(f"{name} returned {app!r}.{hint}")
        if app.pre_frozen:
            raise ImproperlyConfigured(
                f"{name} returned an application that has been started already.{hint}"
            )
        return app

    return make


def _load(name: str, path: object, *, example: str) -> Any:
    """Import what a setting names. Raises ImproperlyConfigured if it cannot be imported."""
    if not isinstance(path, str):
        raise ImproperlyConfigured(
            f"{name} must be a dotted path such as {example!r}, not {path!r}."
        )
    if ":" in path:
        raise ImproperlyConfigured(
            f"{name} {path!r} needs a dot in place of the colon: {path.replace(':', '.')!r}."
        )
    try:
        return import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"{name} {path!r} could not be loaded: {error}") from error


def installed(path: str) -> type[Any] | None:
    """Return the class in MIDDLEWARE that is the one at a dotted path, or derived from it."""
    return _find(path, tuple(settings.MIDDLEWARE))


@lru_cache(maxsize=64)
def _find(path: str, middleware: tuple[str, ...]) -> type[Any] | None:
    for name in middleware:
        if is_derived(found := import_string(name), path):
            return found  # type: ignore[no-any-return]
    return None


def is_derived(kind: Any, path: str) -> bool:
    """Whether something is the class at a dotted path, or derived from it.

    By name, because Django's module may need an app that is not installed.
    """
    classes = kind.__mro__ if isinstance(kind, type) else ()
    return path in (f"{c.__module__}.{c.__qualname__}" for c in classes)
