"""The place of our resources in aiohttp's index.

aiohttp looks a path up in an index of literal prefixes, where each resource stands at the place
that its own path gives it, in order of registration. Three rules of ours need other places:
URLconf order among lifted routes, one lookup for thousands of them, and a catch-all behind every
route of the application. No place can be chosen at registration, because mounting an application
moves its resources and more routes may follow. So the index is put in order at the first request
that meets one of our resources, when nothing can change any more.
"""

import abc
from collections.abc import Iterator, Sequence

from aiohttp import web
from aiohttp.web_urldispatcher import MatchedSubAppResource
from yarl import URL

Resolved = tuple[web.UrlMappingMatchInfo | None, set[str]]

# No resource of ours adds to the methods that a 405 lists.
NO_METHODS: set[str] = set()


class IndexEntry(web.AbstractResource):
    """A resource at a fixed place in the index, not registered with the router itself."""

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
        return False  # routes that the application adds never join a resource of ours

    def url_for(self, *args: str, **kwargs: str) -> URL:
        raise RuntimeError(f"{self!r} has no URL of its own")

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter(())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.canonical}>"


class PlacedResource(IndexEntry):
    """A registered resource for which other entries stand in the index once that is in order."""

    is_last = False  # whether its entries belong behind those of all other resources
    is_placed = False  # whether the index is in order

    def __init__(self, router: web.UrlDispatcher, path: str, *, name: str | None = None) -> None:
        super().__init__(path, name=name)
        self.router = router

    @abc.abstractmethod
    def entries(self) -> Sequence[IndexEntry]:
        """What stands in the index for this resource, where it is mounted now."""

    def add_prefix(self, prefix: str) -> None:
        if URL.build(path=prefix).raw_path != prefix:
            raise ValueError(
                f"aiohttp can't match the prefix {prefix!r}: a sub-application's prefix may only "
                "have characters that a path has unencoded, and no '%'."
            )
        if any(isinstance(r, MatchedSubAppResource) for r in self.router.resources()):
            raise RuntimeError(
                f"aiohttp can't mount an application under {prefix!r} that has used "
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
    """Put a router's index in order, unless it is; return the resources that then stand in it."""
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
    """Undo arrange() on a router that was asked before its application was complete."""
    for entry in entries:
        router.unindex_resource(entry)
    for resource in _indexed(router):
        router.index_resource(resource)
        if isinstance(resource, PlacedResource):
            resource.is_placed = False


def _indexed(router: web.UrlDispatcher) -> list[web.AbstractResource]:
    # Domains are looked at before the index and don't stand in it.
    return [r for r in router.resources() if not isinstance(r, MatchedSubAppResource)]
