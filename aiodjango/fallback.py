"""Requests that no route matches go to the Django WSGI application.

They get there by a catch-all resource after all other routes of an application, or by a middleware.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any
from wsgiref.types import WSGIApplication

from aiohttp import hdrs, web
from django.db import connections

from .gateway import Gateway, client_faults_filtered, handle_expect, is_last, refuse
from .orm import close_thread_caches, forget_caches
from .resources import NO_METHODS, IndexEntry, PlacedResource, Resolved, arrange
from .urlconf.mount import static_urls_under

logger = logging.getLogger("aiodjango")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# How monitoring tools name every path that Django answers: not as a path of the site, such as "/".
CANONICAL = "/{django}"


class Fallback(Gateway):
    """The gateway to Django in an aiohttp application.

    options: those of `Gateway`, where each is documented.
    """

    def __init__(self, wsgi: WSGIApplication, **options: Any) -> None:
        if not callable(wsgi):
            raise TypeError(
                f"The fallback has to be a WSGI application, as get_wsgi_application() returns, "
                f"not {wsgi!r}."
            )
        super().__init__(wsgi, at_thread_end=_close_connections, **options)

    # Monitoring tools show the name of a handler.
    async def hand_to_django(self, request: web.Request) -> web.StreamResponse:
        """Let the WSGI application answer."""
        return await self.handle(request)

    async def cleanup_ctx(self, app: web.Application) -> AsyncIterator[None]:
        """Start with an application, and end at its cleanup."""
        app.setdefault(FALLBACK, self)
        _warn_of_hiding_routes(app.router, self.mount)
        forget_caches()
        with static_urls_under(self.mount), client_faults_filtered():
            yield
        await self.close()


def _close_connections() -> None:
    """Close what Django has opened in the current thread."""
    connections.close_all()
    close_thread_caches()


FALLBACK: web.AppKey[Fallback] = web.AppKey("aiodjango.FALLBACK", Fallback)


class FallbackRoute(web.ResourceRoute):
    """The route of a catch-all; a middleware finds it where no other route matches.

    fallback: None where the fallback of an outer application answers.
    """

    def __init__(self, resource: web.AbstractResource, fallback: Fallback | None) -> None:
        self.fallback = fallback
        handler, expect_handler = hand_to_outer_django, _handle_expect_by_outer_django
        if fallback is not None:
            handler, expect_handler = fallback.hand_to_django, fallback.handle_expect
        super().__init__(hdrs.METH_ANY, handler, resource, expect_handler=expect_handler)


class CatchAll(PlacedResource):
    """Matches every path that no other resource of a router matches."""

    is_last = True

    def __init__(self, router: web.UrlDispatcher, fallback: Fallback | None) -> None:
        super().__init__(router, CANONICAL)
        self._fallback = fallback

    def add_prefix(self, prefix: str) -> None:
        super().add_prefix(prefix)
        if self._fallback is not None:
            self._fallback.mount = self.mount

    def entries(self) -> Sequence[IndexEntry]:
        return [CatchAllEntry(self.router, self.mount, self._fallback)]


class CatchAllEntry(IndexEntry):
    """The last resource in aiohttp's index, in the entry of a mount's root."""

    def __init__(self, router: web.UrlDispatcher, mount: str, fallback: Fallback | None) -> None:
        super().__init__(CANONICAL)
        self.mount = mount
        self._route = FallbackRoute(self, fallback)
        self._selective = _SelectiveResources(router)

    def __len__(self) -> int:
        return 1  # `if match.route.resource` is true, as with a resource of aiohttp's

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        yield self._route

    async def resolve(self, request: web.Request) -> Resolved:
        if self._selective and (methods := await self._selective.allowed_methods(request)):
            if not is_last(request):
                return None, methods
            handler = partial(refuse, web.HTTPMethodNotAllowed(request.method, methods))
            route = web.ResourceRoute(hdrs.METH_ANY, handler, self, expect_handler=handle_expect)
            return web.UrlMappingMatchInfo({}, route), NO_METHODS
        return web.UrlMappingMatchInfo({}, self._route), NO_METHODS


class _SelectiveResources:
    """The resources of a router that do not answer every method.

    aiohttp answers 405 where only such a resource matches the path. A catch-all matches every path,
    so it has to do the same.
    """

    def __init__(self, router: web.UrlDispatcher) -> None:
        self._index: dict[str, list[web.AbstractResource]] = {}
        for resource in router.resources():
            methods = {route.method for route in resource}
            if isinstance(resource, PlacedResource) or hdrs.METH_ANY in methods:
                continue
            if "app" in resource.get_info():
                continue  # a sub-application answers every path below its prefix
            self._index.setdefault(_index_key(resource.canonical), []).append(resource)

    def __bool__(self) -> bool:
        return bool(self._index)

    async def allowed_methods(self, request: web.Request) -> set[str]:
        allowed: set[str] = set()
        path = request.rel_url.path_safe
        while True:
            for resource in self._index.get(path, ()):
                allowed |= (await resource.resolve(request))[1]
            if path == "/":
                return allowed
            path = path.rpartition("/")[0] or "/"


def _index_key(canonical: str) -> str:
    # As UrlDispatcher._get_resource_index_key(), which is private.
    if "{" in canonical:
        canonical = canonical.partition("{")[0].rpartition("/")[0]
    return canonical.rstrip("/") or "/"


class FallbackMiddleware:
    """The fallback as an aiohttp middleware: see fallback_middleware()."""

    def __init__(self, fallback: Fallback) -> None:
        self._fallback = fallback
        self.cleanup_ctx = fallback.cleanup_ctx
        self.shutdown = fallback.shutdown
        web.middleware(self)

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        match = request.match_info
        route = match.route
        if isinstance(route, FallbackRoute):
            if route.fallback is self._fallback:
                return await self._fallback.hand_to_django(request)
            if route.fallback is None and self._is_nearest(match):
                return await self._fallback.hand_to_django(request)
        elif isinstance(match.http_exception, web.HTTPNotFound):
            app = match.apps[-1]
            if app is match.current_app:
                self._add_catch_all(match.apps)
                return await self._fallback.hand_to_django(request)
        return await handler(request)

    def _is_nearest(self, match: web.UrlMappingMatchInfo) -> bool:
        """Whether no application between this one and the one of the miss has a fallback."""
        own = match.apps.index(match.current_app)
        return not any(map(has_fallback, match.apps[own + 1 :]))

    def _add_catch_all(self, apps: Sequence[web.Application]) -> None:
        """Add a catch-all to a running application, because aiohttp's HTTPNotFound is slow."""
        router = apps[-1].router
        self._fallback.mount = mount_of(apps)
        arrange(router)
        router.index_resource(CatchAllEntry(router, self._fallback.mount, self._fallback))


def has_fallback(app: web.Application) -> bool:
    return FALLBACK in app or any(isinstance(m, FallbackMiddleware) for m in app.middlewares)


def mount_of(apps: Sequence[web.Application]) -> str:
    """Return the mount of the last of these applications, each mounted in the one before."""
    mount = ""
    for outer, inner in pairwise(apps):
        for resource in outer.router.resources():
            info = resource.get_info()
            if info.get("app") is inner and "prefix" in info:
                mount = resource.canonical
    return mount


def _enclosing_fallback(request: web.Request) -> Fallback | None:
    for app in reversed(request.match_info.apps):
        if (fallback := app.get(FALLBACK)) is not None:
            return fallback
    return None


async def hand_to_outer_django(request: web.Request) -> web.StreamResponse:
    fallback = _enclosing_fallback(request)
    if fallback is None:
        return await refuse(web.HTTPNotFound(), request)
    return await fallback.hand_to_django(request)


async def _handle_expect_by_outer_django(request: web.Request) -> web.StreamResponse | None:
    fallback = _enclosing_fallback(request)
    if fallback is None:
        return await refuse(web.HTTPNotFound(), request)
    return await fallback.handle_expect(request)


def _warn_of_hiding_routes(router: web.UrlDispatcher, mount: str) -> None:
    """Warn of routes that match every path before the fallback does."""
    probes = [f"{mount}/aiodjango", f"{mount}/aiodjango/", f"{mount}/aiodjango/probe.of/paths"]
    for resource in router.resources():
        pattern = resource.get_info().get("pattern")
        if pattern is not None and all(map(pattern.fullmatch, probes)):
            logger.warning(
                "The route %r matches every path, so no request will reach Django: remove it, "
                "or give it a prefix.",
                resource.canonical,
            )
