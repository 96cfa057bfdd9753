"""Django's URL settings under a mount."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from django.apps import apps
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import translation
from django.utils.functional import empty


def script_prefix(mount: str) -> str:
    """Return what reverse() writes before the paths of a URLconf under a mount."""
    forced = settings.FORCE_SCRIPT_NAME
    return (mount if forced is None else forced).rstrip("/") + "/"


class UrlState(NamedTuple):
    """What reverse() depends on, as Django keeps it for the current context."""

    script_prefix: str
    urlconf: Any
    language: str | None

    @staticmethod
    def current() -> "UrlState":
        return UrlState(get_script_prefix(), get_urlconf(), translation.get_language())

    def activate(self) -> None:
        if get_script_prefix() != self.script_prefix:
            set_script_prefix(self.script_prefix)
        if get_urlconf() != self.urlconf:
            set_urlconf(self.urlconf)
        if translation.get_language() == self.language:
            pass
        elif self.language is None:
            translation.deactivate_all()
        else:
            translation.activate(self.language)


@contextmanager
def urls_under(mount: str) -> Iterator[None]:
    """Have reverse() give the paths of ROOT_URLCONF under a mount."""
    before = UrlState.current()
    before._replace(script_prefix=script_prefix(mount), urlconf=None).activate()
    try:
        yield
    finally:
        before.activate()


class StaticUrls:
    """Relative STATIC_URL and MEDIA_URL, which Django completes with the script prefix.

    Django does that when a setting is first read and keeps the result. Whoever reads it before a
    request (a check, a storage, a urls.py) would fix it to the site's root.
    """

    _loop: ClassVar[asyncio.AbstractEventLoop | None] = None  # that of the application followed
    _static_url: ClassVar[str] = ""

    @classmethod
    @contextmanager
    def following(cls, mount: str) -> Iterator[None]:
        """Have the settings follow the mount of an application that runs on this event loop.

        They follow the first one that runs. One that was abandoned with its event loop, without a
        cleanup, runs no longer.
        """
        loop = asyncio.get_running_loop()
        if cls._loop is not None and not cls._loop.is_closed():
            yield
            return
        if cls._loop is not None:
            cls._stop()
        cls._loop = loop
        at_root, cls._static_url = _read_again(""), _read_again(mount)
        _update_storage(at_root, cls._static_url)
        try:
            yield
        finally:
            # One that was abandoned comes here late, when it is collected.
            if cls._loop is loop:
                cls._stop()

    @classmethod
    def _stop(cls) -> None:
        cls._loop = None
        _update_storage(cls._static_url, _read_again(""))


def _read_again(mount: str) -> str:
    """Complete the settings under a mount. Returns STATIC_URL."""
    # LazySettings keeps what it completed in its __dict__; there's no public way to drop it.
    for name in ("STATIC_URL", "MEDIA_URL"):
        vars(settings).pop(name, None)
    with urls_under(mount):
        _ = settings.MEDIA_URL
        return str(settings.STATIC_URL)


def _update_storage(before: str, static_url: str) -> None:
    """Give the storage of static files the new STATIC_URL if it has taken the one before."""
    if before == static_url or not apps.is_installed("django.contrib.staticfiles"):
        return
    from django.contrib.staticfiles.storage import staticfiles_storage

    # Only one that exists already: it took its URL when it was made.
    is_made = vars(staticfiles_storage)["_wrapped"] is not empty
    if not is_made or not isinstance(staticfiles_storage, FileSystemStorage):
        return
    # Not one with a base_url of its own, such as that of a content delivery network.
    if staticfiles_storage.base_url == before:
        staticfiles_storage.base_url = static_url
