"""An aiohttp application that is called as a WSGI or ASGI application names the right server."""

from typing import Any

from aiohttp import web
from django.conf import settings


def refuse_other_servers() -> None:
    """Have aiohttp's applications explain a call by a server that is not aiohttp's.

    aiohttp has no hook for it, and deprecates subclasses of its application. The method that is
    replaced returns the application itself, as one version of gunicorn needed it.
    """
    web.Application.__call__ = _called  # type: ignore[method-assign]


def _called(self: web.Application, *args: Any, **kwargs: Any) -> web.Application:
    if not args and not kwargs:
        return self
    raise TypeError(
        "A WSGI or ASGI server called this aiohttp application, which only aiohttp can serve. "
        f"Start it by `{gunicorn_command()}` or, without gunicorn, by aiohttp.web.run_app(app). "
        "uvicorn, daphne, uWSGI and gunicorn's other workers cannot serve it."
    )


def gunicorn_command() -> str:
    """Return the command that serves the project, as far as its settings name it."""
    app = _setting("AIO_APPLICATION")
    wsgi = _setting("WSGI_APPLICATION") or "example.wsgi.application"
    module, _, name = (app or f"{wsgi.rpartition('.')[0]}.app").rpartition(".")
    return f"gunicorn {module}:{name} --worker-class aiodjango.worker.GunicornWorker"


def _setting(name: str) -> str:
    return str(getattr(settings, name, None) or "") if settings.configured else ""
