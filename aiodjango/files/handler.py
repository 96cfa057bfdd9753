"""Static and media files, served from the event loop."""

import asyncio
import logging
import os
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import hdrs, web
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from aiodjango.gateway import attend, close_if_last, discard_rest, handle_expect, refuse
from aiodjango.resources import NO_METHODS, IndexEntry, Resolved
from aiodjango.runtime.exits import without_exit

from .folder import SIBLINGS, Folder
from .mediatypes import is_passive, is_script, media_type, with_charset
from .response import Headers, accepted_codings, respond

logger = logging.getLogger("aiodjango")

# For a file with the hash of its content in its name: a year, without revalidation.
IMMUTABLE = "public, max-age=31536000, immutable"
# For any other file, in seconds: long enough for a few pages, short enough for changes.
MAX_AGE = 60
CODINGS = tuple(SIBLINGS)
# If a browser shows it anyway: no scripts, no forms, no access to the site's cookies.
INERT = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


def add_files(app: web.Application, *, static: bool, media: bool) -> None:
    """Serve the files of STATIC_ROOT, and of MEDIA_ROOT, at their URLs.

    Raises ImproperlyConfigured where a setting is missing.
    """
    if static:
        static_root = _root("STATIC_ROOT", "include_static")
        app.router.register_resource(StaticFiles(_path("STATIC_URL"), static_root))
        app.on_startup.append(_check_static_root)
    if media:
        media_root = _root("MEDIA_ROOT", "include_media")
        app.router.register_resource(MediaFiles(_path("MEDIA_URL"), media_root))


async def _check_static_root(app: web.Application) -> None:
    if not os.path.isdir(settings.STATIC_ROOT):  # noqa: ASYNC240 - nothing is served yet
        logger.warning(
            "No static files are served, because STATIC_ROOT = %r is not a folder: "
            "run `manage.py collectstatic`.",
            str(settings.STATIC_ROOT),
        )


def _root(name: str, option: str) -> str | os.PathLike[str]:
    root: str | os.PathLike[str] | None = getattr(settings, name)
    if not root:
        raise ImproperlyConfigured(f"{option} requires {name} to name a folder, not {root!r}.")
    return root


def _path(name: str) -> str:
    """Return the path of a URL setting, as in a request to a site at the root."""
    url = getattr(settings, name)
    # Its host may be a CDN, which fetches the files here.
    path = unquote(urlsplit(url or "").path)
    # A proxy or a mount removes this before Django receives a request.
    script_name = (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
    if script_name and path.startswith(f"{script_name}/"):
        path = path.removeprefix(script_name)
    if not path.strip("/"):
        raise ImproperlyConfigured(
            f"{name} = {url!r} is invalid for serving files: it must contain a path."
        )
    return "/" + path.strip("/")


class Files(IndexEntry):
    """The files of a folder, at the path of a URL setting.

    Under a mount they move with the site, unless the setting contains the mount already.
    """

    def __init__(self, path: str, folder: Folder) -> None:
        super().__init__(path)
        self._folder = folder
        self._max_age = f"public, max-age={0 if settings.DEBUG else MAX_AGE}"
        self._prefix = f"{path}/"
        self._routes = {
            method: web.ResourceRoute(method, self._handle, self, expect_handler=handle_expect)
            for method in (hdrs.METH_GET, hdrs.METH_HEAD)
        }

    @property
    def canonical(self) -> str:
        return self._prefix.rstrip("/")

    def add_prefix(self, prefix: str) -> None:
        super().add_prefix(prefix)
        is_below = f"{self._path}/".startswith(f"{self.mount}/")
        self._prefix = f"{self._path}/" if is_below else f"{self.mount}{self._path}/"

    def __len__(self) -> int:
        return len(self._routes)

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter(self._routes.values())

    async def resolve(self, request: web.Request) -> Resolved:
        path = request.rel_url.path_safe
        if not path.startswith(self._prefix):
            return None, NO_METHODS
        route = self._routes.get(request.method)
        if route is None:
            return None, set(self._routes)
        name = path.removeprefix(self._prefix)
        return web.UrlMappingMatchInfo({"filename": name}, route), NO_METHODS

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        attend(request)
        loop = asyncio.get_running_loop()
        try:
            response = await loop.run_in_executor(None, without_exit, self._respond, request)
            if response is None:
                return await refuse(web.HTTPNotFound(), request)
            close_if_last(request, response)
        finally:
            discard_rest(request)
        return response

    def _respond(self, request: web.Request) -> web.StreamResponse | None:
        # aiohttp leaves these two encoded. A name may contain "%", but never "/".
        name = request.match_info["filename"].replace("%2F", "\0").replace("%25", "%")
        headers = self._headers(name)
        found = self._folder.open(name.split("/"), accepted_codings(request, CODINGS))
        if found is None:
            return None
        with found.file:
            return respond(request, found, headers)

    @abstractmethod
    def _headers(self, name: str) -> Headers:
        """Return the headers of a response with a file."""


class StaticFiles(Files):
    """STATIC_ROOT as `collectstatic` fills it, with compressed siblings where they exist."""

    def __init__(self, path: str, root: str | os.PathLike[str]) -> None:
        super().__init__(path, Folder(root, has_siblings=True, linked=lambda: self._sources))

    def _headers(self, name: str) -> Headers:
        return {
            hdrs.CONTENT_TYPE: with_charset(media_type(name)),
            hdrs.CACHE_CONTROL: IMMUTABLE if name in self._hashed_names else self._max_age,
            # Required for fonts on pages of another origin: behind a CDN, on all pages.
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
            hdrs.X_CONTENT_TYPE_OPTIONS: "nosniff",
        }

    @cached_property
    def _hashed_names(self) -> frozenset[str]:
        """The names with the hash of the file's content, from the manifest."""
        if not apps.is_installed("django.contrib.staticfiles"):
            return frozenset()
        from django.contrib.staticfiles.storage import ManifestFilesMixin, staticfiles_storage

        storage: Any = staticfiles_storage
        if not isinstance(storage, ManifestFilesMixin):
            return frozenset()
        # A storage may keep the name of a file.
        names = storage.hashed_files.items()
        return frozenset(hashed for name, hashed in names if hashed != name)

    @cached_property
    def _sources(self) -> set[str]:
        """The folders that the links of `collectstatic --link` point to."""
        if not apps.is_installed("django.contrib.staticfiles"):
            return set()
        from django.contrib.staticfiles.finders import get_finders

        storages = {storage for finder in get_finders() for _, storage in finder.list([])}
        return {storage.location for storage in storages if hasattr(storage, "location")}


class MediaFiles(Files):
    """MEDIA_ROOT: uploaded files, which must not run as part of the site."""

    def __init__(self, path: str, root: str | os.PathLike[str]) -> None:
        # No siblings: "logo.png" and "logo.png.br" may be uploads of different users.
        super().__init__(path, Folder(root))

    def _headers(self, name: str) -> Headers:
        kind = media_type(name)
        headers: Headers = {
            # With nosniff, no page can run it as a script.
            hdrs.CONTENT_TYPE: with_charset("text/plain" if is_script(kind) else kind),
            hdrs.CACHE_CONTROL: self._max_age,
            hdrs.X_CONTENT_TYPE_OPTIONS: "nosniff",
        }
        if not is_passive(kind):
            headers[hdrs.CONTENT_DISPOSITION] = "attachment"
            headers[hdrs.CONTENT_SECURITY_POLICY] = INERT
        return headers
