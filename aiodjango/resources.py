"""Resources in an order of their own within aiohttp's index.

aiohttp finds a path in an index of literal prefixes, where each resource has the place of its own
path, in order of registration. Three things need other places: URLconf order among the routes of
coroutine views, one lookup for thousands of them, and a catch-all after all other routes of the
application. They cannot be chosen at registration, because mounting an application moves its
resources and more routes may follow. So the index is put in order at the first request for one of
these resources, when nothing can change any more.
"""

import abc
from collections.abc import Iterator, Sequence

from aiohttp import web
from aiohttp.web_urldispatcher import MatchedSubAppResource
from yarl import URL

Resolved = tuple[web.UrlMappingMatchInfo | None, set[str]]

# These resources answer every method, and add none to those that a 405 lists.
NO_METHODS: set[str] = set()


class IndexEntry(web.AbstractResource):
    """A resource at a fixed place in the index, not registered with the router."""

    def __init__(self, path: str, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._path = path
        self.mount = ""  # the prefixes of the applications it is mounted in

    @property
    def canonical(self) -> str:
        return self.mount + self._path

    def add_prefix(self, prefix: str) -> None:
        self.mount = prefix + self.mount

    def get_info(self) -> dict[str, str]:  # type: ignore[override]
        return {"path": self.canonical}

    def raw_match(self, path: str) -> bool:
        return False  # no route that the application adds belongs to this resource

    def url_for(self, *args: str, **kwargs: str) -> URL:
        raise RuntimeError(f"{self!r} has no URL of its own")

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter(())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.canonical}>"


class PlacedResource(IndexEntry):
    """A registered resource that other entries replace in the index."""

    is_last = False  # whether its entries come after those of all other resources
    is_placed = False  # whether its entries are in the index

    def __init__(self, router: web.UrlDispatcher, path: str, *, name: str | None = None) -> None:
        super().__init__(path, name=name)
        self.router = router

    @abc.abstractmethod
    def entries(self) -> Sequence[IndexEntry]:
        """Return the entries for this resource, where it is mounted now."""

    def add_prefix(self, prefix: str) -> None:
        if URL.build(path=prefix).raw_path != prefix:
            raise ValueError(
                f"aiohttp cannot match the prefix {prefix!r}: the prefix of a sub-application may "
                "only contain characters that a path has unencoded, and no '%'."
            )
        if any(isinstance(r, MatchedSubAppResource) for r in self.router.resources()):
            raise RuntimeError(
                f"aiohttp cannot mount an application under {prefix!r} that has used "
                "add_domain(): add the domain to the outermost application."
            )
        super().add_prefix(prefix)

    async def resolve(self, request: web.Request) -> Resolved:
        entries = arrange(self.router)
        try:
            return await self.router.resolve(request), NO_METHODS
        finally:
            if not self.router.frozen:
                _undo(self.router, entries)


def arrange(router: web.UrlDispatcher) -> list[web.AbstractResource]:
    """Put the index of a router in order. Returns the resources in it."""
    resources = _indexed(router)
    placed = [resource for resource in resources if isinstance(resource, PlacedResource)]
    if all(resource.is_placed for resource in placed):
        return resources
    first: list[web.AbstractResource] = []
    last: list[web.AbstractResource] = []
    for resource in resources:
        router.unindex_resource(resource)
        if not isinstance(resource, PlacedResource):
            first.append(resource)
            continue
        resource.is_placed = True
        (last if resource.is_last else first).extend(resource.entries())
    for entry in first + last:
        router.index_resource(entry)
    return first + last


def _undo(router: web.UrlDispatcher, entries: list[web.AbstractResource]) -> None:
    """Undo arrange() on a router that was used before its application was complete."""
    for entry in entries:
        router.unindex_resource(entry)
    for resource in _indexed(router):
        router.index_resource(resource)
        if isinstance(resource, PlacedResource):
            resource.is_placed = False


def _indexed(router: web.UrlDispatcher) -> list[web.AbstractResource]:
    # Domains are not in the index.
    return [r for r in router.resources() if not isinstance(r, MatchedSubAppResource)]
