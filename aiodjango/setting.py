"""The setting AIO_APPLICATION."""

from aiohttp import web
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.utils.module_loading import import_string


def load_aio_application() -> web.Application | None:
    """Return the application that the setting AIO_APPLICATION names, None where it's unset.

    Raises ImproperlyConfigured where it names nothing that can be served.
    """
    path = getattr(settings, "AIO_APPLICATION", None)
    if path is None:
        return None
    if not isinstance(path, str):
        raise ImproperlyConfigured(
            f"AIO_APPLICATION must be a dotted path such as 'example.wsgi.app', not {path!r}."
        )
    try:
        app = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"AIO_APPLICATION {path!r} could not be loaded: {error}"
        ) from error
    if not isinstance(app, web.Application):
        hint = ""
        if isinstance(app, WSGIHandler):
            hint = " It is Django's; name the one that get_aio_application() gives."
        elif callable(app):
            hint = " Name the application itself, not a function."
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
