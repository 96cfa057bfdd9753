"""The routes of a URLconf's coroutine views, as resources of an aiohttp router."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from yarl import URL

from .converters import Matched, Matcher, django_path
from .gateway import handle_expect
from .resources import NO_METHODS, IndexEntry, PlacedResource, Resolved
from .runtime.exits import exit_as_error
from .urlconf.index import ANYTHING, PathIndex, Shape, shapes
from .urlconf.patterns import UrlconfPattern, hashable
from .views.handler import make_handler
from .views.match import ViewMatch
from .views.site import Site

# A pattern that matches: its number in the table, its values, the language it was read in.
Found = tuple[int, Matched, str | None]


class Only(NamedTuple):
    """The only pattern that matches paths from a place on."""

    match: Matcher
    route: web.AbstractRoute


class RouteTable:
    """The patterns of a URLconf in order, and an index to find those of a path.

    patterns: those of coroutine views; sync ones among them keep their paths.
    urlconf: where the patterns come from, None for ROOT_URLCONF.
    """

    def __init__(self, patterns: Sequence[UrlconfPattern], urlconf: Any = None) -> None:
        self.patterns = patterns
        self.urlconf = hashable(urlconf)
        self.index = PathIndex()
        self.places: list[set[str]] = []
        for number, pattern in enumerate(patterns):
            found = shapes(pattern.chain)
            self.places.append({_place(shape) for shape in found})
            for shape in found:
                self.index.add(shape, number)
        self._registered: list[ViewRoutes] = []

    def route_defs(self) -> list["ViewRouteDef"]:
        return [
            ViewRouteDef(self, number)
            for number, pattern in enumerate(self.patterns)
            if pattern.is_coroutine_view
        ]

    def routes_on(self, router: web.UrlDispatcher) -> "ViewRoutes":
        """Return the routes of this table on a router, registered there at the first call."""
        for routes in self._registered:
            if routes.router is router:
                return routes
        routes = ViewRoutes(router, self)
        self._registered.append(routes)
        router.register_resource(routes)
        return routes


class ViewRouteDef(web.AbstractRouteDef):
    """The pattern of one coroutine view, to be registered with a router by `add_routes()`."""

    __slots__ = ("_number", "_table")

    def __init__(self, table: RouteTable, number: int) -> None:
        self._table = table
        self._number = number

    def __repr__(self) -> str:
        pattern = self._table.patterns[self._number]
        return f"<ViewRouteDef {pattern.chain.canonical()} -> {pattern.view_name}>"

    def register(self, router: web.UrlDispatcher) -> list[web.AbstractRoute]:
        return [self._table.routes_on(router).add(self._number)]


class ViewResource(PlacedResource):
    """The resource of one pattern: what an aiohttp router lists, names and reverses."""

    def __init__(
        self, routes: "ViewRoutes", pattern: UrlconfPattern, handler: Handler, name: str | None
    ) -> None:
        super().__init__(routes.router, pattern.chain.canonical(), name=name)
        self.pattern = pattern
        self.route = web.ResourceRoute(hdrs.METH_ANY, handler, self, expect_handler=handle_expect)

    def entries(self) -> Sequence[IndexEntry]:
        return ()  # ViewRoutes finds it

    def url_for(self, *args: Any, **kwargs: Any) -> URL:
        """Return the mounted path for these values: strings as in match_info, or converted ones.

        A translated path is given in the active language. Raises django.urls.NoReverseMatch
        where the pattern has no such path.
        """
        path = self.pattern.chain.reverse(*args, **kwargs)
        return URL.build(path=f"{self.mount}/{path}", encoded=True)

    def get_info(self) -> dict[str, str]:  # type: ignore[override]
        return {"formatter": self.canonical}

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        yield self.route


class ViewRoutes(PlacedResource):
    """All routes of one table on one router, looked up together in URLconf order."""

    def __init__(self, router: web.UrlDispatcher, table: RouteTable) -> None:
        super().__init__(router, "/")
        self._table = table
        self._site = Site(table.urlconf)
        self._routes: dict[int, web.AbstractRoute] = {}
        self.literal: dict[str, tuple[Matched, web.AbstractRoute]] = {}

    def add(self, number: int) -> web.AbstractRoute:
        """Register a pattern of the table, without its name where aiohttp refuses that."""
        pattern = self._table.patterns[number]
        handler = make_handler(pattern, self._site)
        resource = ViewResource(self, pattern, handler, pattern.name)
        try:
            self.router.register_resource(resource)
        except ValueError:  # a name that is in use, or that consists not only of identifiers
            resource = ViewResource(self, pattern, handler, None)
            self.router.register_resource(resource)
        self._routes[number] = resource.route
        return resource.route

    def entries(self) -> Sequence[IndexEntry]:
        self._site.mount_at(self.mount)
        self.literal = dict(self._literal_paths())
        places = {place for number in self._routes for place in self._table.places[number]}
        # aiohttp does not see a percent-encoded slash: it looks such paths up at the root.
        return [ViewEntry(self, place, self._only(place)) for place in sorted(places | {"/"})]

    def _only(self, place: str) -> Only | None:
        """Return the only pattern that matches paths from a place on, if there is one."""
        segments = place[1:].split("/") if place != "/" else []
        index = self._table.index
        found = index.overlapping((*segments, ANYTHING)) | index.overlapping(tuple(segments))
        if len(found) != 1:
            return None
        (number,) = found
        chain, route = self._table.patterns[number].chain, self._routes.get(number)
        return None if route is None or chain.is_localized else Only(chain.matcher(), route)

    def _literal_paths(self) -> Iterator[tuple[str, tuple[Matched, web.AbstractRoute]]]:
        """Yield the request paths that match a known pattern, whatever the request."""
        for number, route in self._routes.items():
            chain = self._table.patterns[number].chain
            path = chain.literal
            if path is None or "%" in path or not path.isascii():
                continue
            matched = chain.match(path)
            # An earlier pattern may match as well.
            if matched is not None and self._table.index.candidates(path)[0] == number:
                yield f"{self.mount}/{path}", (matched, route)

    def find(self, request: web.Request, place: str) -> ViewMatch | None:
        """Return the match of the first pattern in the URLconf, if any at this place matches.

        So aiohttp decides between these routes and others of the application, and the URLconf
        between these.
        """
        raw_path = request.rel_url.raw_path
        path = django_path(raw_path)
        is_encoded = path is not raw_path
        path = path[len(self.mount) :] or "/"
        if path[0] != "/":
            return None  # `OPTIONS *`
        first = None
        for number, matched, language in self._matches(path[1:], request):
            route = self._routes.get(number)
            if first is None:
                if route is None:
                    return None  # preserve_order: an earlier sync pattern matches
                first = ViewMatch(matched, route, language)
            is_here = place in self._table.places[number] or (is_encoded and place == "/")
            if route is not None and is_here:
                return first
        return None

    def _matches(self, path: str, request: web.Request) -> Iterator[Found]:
        """Yield the patterns that match, in URLconf order."""
        language: str | None = None
        missed = []  # translated patterns, which may yet match in another language
        is_found = False
        for number in self._table.index.candidates(path):
            pattern = self._table.patterns[number]
            if pattern.is_coroutine_view and number not in self._routes:
                continue
            chain = pattern.chain
            if chain.is_localized and language is None:
                language = self._site.choose_language(request)
            used = language if chain.is_localized else None
            matched = chain.match(path, used)
            if matched is not None:
                is_found = True
                yield number, matched, used
            elif chain.is_translated and not chain.has_language_prefix:
                missed.append(number)
        for number in [] if is_found else missed:
            chain = self._table.patterns[number].chain
            for language in chain.languages():
                matched = chain.match(path, language)
                if matched is not None:
                    yield number, matched, language
                    break


class ViewEntry(IndexEntry):
    """The entry in aiohttp's index for the routes whose paths start at a place."""

    def __init__(self, routes: ViewRoutes, place: str, only: Only | None) -> None:
        super().__init__(routes.mount + place)
        self._routes = routes
        self._place = place
        self._only = only
        self._start = f"{routes.mount}/"

    async def resolve(self, request: web.Request) -> Resolved:
        known = self._routes.literal.get(request.rel_url.raw_path)
        if known is not None:
            return ViewMatch(*known), NO_METHODS
        try:
            return self._resolve(request), NO_METHODS
        except BaseException as raised:  # from a converter
            if isinstance(raised, Exception):
                raise
            raise exit_as_error(raised) from raised

    def _resolve(self, request: web.Request) -> ViewMatch | None:
        raw_path = request.rel_url.raw_path
        only = self._only
        # django_path() does not change such a path.
        if only and raw_path.startswith(self._start) and "%" not in raw_path and raw_path.isascii():
            matched = only.match(raw_path[len(self._start) :])
            return None if matched is None else ViewMatch(matched, only.route)
        return self._routes.find(request, self._place)


def _place(shape: Shape) -> str:
    """Return the key of aiohttp's index for the paths of a shape."""
    literal = takewhile(lambda segment: isinstance(segment, str), shape)
    return "/".join(["", *map(str, literal)]).rstrip("/") or "/"
