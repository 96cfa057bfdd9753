"""The coroutine views of a URLconf as aiohttp routes and applications."""

from collections.abc import Iterator
from typing import Any
from wsgiref.types import WSGIApplication

import django
from aiohttp import web
from django.apps import apps
from django.core.handlers.wsgi import WSGIHandler

from .broadcast import process as broadcasts
from .conf import NUMERIC_SETTINGS
from .fallback import FALLBACK, CatchAll, Fallback, FallbackMiddleware
from .files.handler import add_files
from .notes import guard_templates, refuse_other_servers, warn_of_settings, watch_loop
from .orm import prepare_process
from .routes import RouteTable, ViewResource
from .runtime.open_connections import close_open_connections
from .urlconf.patterns import read_urlconf
from .views.decorators import check_decorated_class
from .views.watch import connect_signals


def get_aio_application(
    wsgi: WSGIApplication | None = None,
    include_static: bool = False,
    *,
    urlconf: Any = None,
    preserve_order: bool = False,
    include_media: bool = False,
    **fallback_options: Any,
) -> web.Application:
    """Return an aiohttp application with a URLconf's coroutine views, and Django for the rest.

    The same as :func:`setup` on an empty application; the parameters are described there.
    """
    app = web.Application()
    setup(
        app,
        wsgi,
        include_static,
        urlconf=urlconf,
        preserve_order=preserve_order,
        include_media=include_media,
        **fallback_options,
    )
    return app


def setup(
    app: web.Application,
    wsgi: WSGIApplication | None = None,
    include_static: bool = False,
    *,
    urlconf: Any = None,
    preserve_order: bool = False,
    include_media: bool = False,
    **fallback_options: Any,
) -> None:
    """Add a URLconf's coroutine views to an application, and Django for all other paths.

    :param app: may have other routes, now or later.
    :param wsgi: the WSGI application that answers requests that match no route; None for Django's
        own, as ``get_wsgi_application()`` returns it.
    :param include_static: serve STATIC_ROOT at STATIC_URL from the event loop; see the page on
        static and media files.
    :param urlconf: the URLconf of the coroutine views, and of ``reverse()`` in them: dotted path,
        module or list of patterns; None for ROOT_URLCONF.
    :param preserve_order: leave to Django each path that matches a sync pattern before the
        coroutine view's pattern in the URLconf. Without it coroutine views come first.
    :param include_media: serve MEDIA_ROOT at MEDIA_URL from the event loop.
    :param fallback_options: the options of the fallback, as ``threads=16``.
    :raises RuntimeError: for an application that has been started or has a fallback already.
    :raises django.core.exceptions.ImproperlyConfigured: if a coroutine view does not match its URL
        pattern, or a setting is missing or invalid.
    """
    if app.pre_frozen:
        raise RuntimeError("setup() must be called before the application is started or mounted.")
    if FALLBACK in app:
        raise RuntimeError("This application has a fallback to Django already.")
    _set_up_django()
    # Not get_wsgi_application(), which would set up Django and its logging again.
    fallback = Fallback(WSGIHandler() if wsgi is None else wsgi, **fallback_options)
    app.add_routes(_route_table(urlconf, preserve_order=preserve_order).route_defs())
    add_files(app, static=include_static, media=include_media)
    app.router.register_resource(CatchAll(app.router, fallback))
    app[FALLBACK] = fallback
    _add_lifecycle(app)
    app.cleanup_ctx.append(fallback.cleanup_ctx)
    app.on_shutdown.append(fallback.shutdown)


def get_aio_subapp(urlconf: Any = None) -> web.Application:
    """Return an application with a URLconf's coroutine views alone, to be mounted.

    Requests that match none of its routes go to the Django of the enclosing application, if any.

    :param urlconf: as in :func:`setup`.
    """
    app = web.Application()
    app.add_routes(get_aio_routes(urlconf))
    app.router.register_resource(CatchAll(app.router, None))
    _add_lifecycle(app)
    return app


def get_aio_routes(urlconf: Any = None) -> list[web.AbstractRouteDef]:
    """Return a URLconf's coroutine views as route definitions, for ``Application.add_routes()``.

    :param urlconf: as in :func:`setup`.
    """
    _set_up_django()
    return [*_route_table(urlconf).route_defs()]


def fallback_middleware(wsgi: WSGIApplication, **fallback_options: Any) -> FallbackMiddleware:
    """Return an aiohttp middleware that passes requests that match no route to Django.

    Append its ``cleanup_ctx`` to the application's, so that its threads end with the application,
    and its ``shutdown`` to the application's ``on_shutdown``, so that streams end at that time.

    :param wsgi: the WSGI application.
    :param fallback_options: the options of the fallback, as ``threads=16``.
    """
    prepare_process()
    return FallbackMiddleware(Fallback(wsgi, **fallback_options))


def applications(app: web.Application) -> Iterator[web.Application]:
    """Iterate over an application and those mounted in it."""
    yield app
    for resource in app.router.resources():
        mounted = resource.get_info().get("app")
        if mounted is not None:
            yield from applications(mounted)


def fallbacks(app: web.Application) -> Iterator[Fallback]:
    """Iterate over the fallbacks of an application and of those mounted in it."""
    for part in applications(app):
        if FALLBACK in part:
            yield part[FALLBACK]


def view_resources(app: web.Application) -> list[ViewResource]:
    """Return the resources of all coroutine views in an application and those mounted in it."""
    return [
        resource
        for part in applications(app)
        for resource in part.router.resources()
        if isinstance(resource, ViewResource)
    ]


def _add_lifecycle(app: web.Application) -> None:
    """Start and end the services of coroutine views with an application."""
    app.cleanup_ctx.append(broadcasts.running)
    app.cleanup_ctx.append(watch_loop)
    app.on_startup.append(warn_of_settings)
    app.on_shutdown.append(broadcasts.shutdown)
    close_open_connections(app)


def _route_table(urlconf: Any, *, preserve_order: bool = False) -> RouteTable:
    patterns = read_urlconf(urlconf)
    for pattern in patterns:
        check_decorated_class(pattern)
    if not preserve_order:
        patterns = [pattern for pattern in patterns if pattern.is_coroutine_view]
    return RouteTable(patterns, urlconf)


def _set_up_django() -> None:
    if not apps.ready:
        django.setup()
    for read_setting in NUMERIC_SETTINGS:
        read_setting()  # raises ImproperlyConfigured if it is invalid
    guard_templates()
    refuse_other_servers()
    prepare_process()
    connect_signals()
