"""Static and media files from the event loop."""

from os import PathLike
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def add_files(router: web.UrlDispatcher, *, static: bool, media: bool) -> None:
    """Serve the files of STATIC_ROOT, and of MEDIA_ROOT, at their URLs.

    Raises ImproperlyConfigured where a setting is missing or no such folder exists.
    """
    for is_wanted, url, root in (
        (static, "STATIC_URL", "STATIC_ROOT"),
        (media, "MEDIA_URL", "MEDIA_ROOT"),
    ):
        if is_wanted:
            router.register_resource(_files(url, root))


def _files(url_setting: str, root_setting: str) -> "DjangoFiles":
    url, root = getattr(settings, url_setting), getattr(settings, root_setting)
    path = urlsplit(url or "").path
    if not path.strip("/"):
        raise ImproperlyConfigured(
            f"Files can't be served at {url_setting} = {url!r}: it has to name a path."
        )
    if not root or not Path(root).is_dir():
        hint = ": run `manage.py collectstatic`" if root_setting == "STATIC_ROOT" else ""
        raise ImproperlyConfigured(f"{root_setting} = {root!r} is not a folder{hint}.")
    return DjangoFiles(path.rstrip("/"), root)


class DjangoFiles(web.StaticResource):
    """Files at a URL of Django's settings.

    A mount moves them along with the site, unless the setting names the mounted path itself.
    """

    def __init__(self, path: str, root: str | PathLike[str]) -> None:
        super().__init__(path, root)
        self._path = path

    def add_prefix(self, prefix: str) -> None:
        if not f"{self._path}/".startswith(f"{prefix}/"):
            super().add_prefix(prefix)
