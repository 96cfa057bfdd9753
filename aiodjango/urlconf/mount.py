"""Django's URL settings under a mount."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import translation


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


# The event loop of the application whose mount STATIC_URL and MEDIA_URL follow.
_followed: asyncio.AbstractEventLoop | None = None


@contextmanager
def static_urls_under(mount: str) -> Iterator[None]:
    """Have relative STATIC_URL and MEDIA_URL follow a mount, unless they follow another one.

    Django completes them with the script prefix when they are first read, and keeps the result. A
    check, a storage or a urls.py may read them before any request.
    """
    global _followed
    # An application that was never cleaned up is followed until its event loop is closed.
    if _followed is not None and not _followed.is_closed():
        yield
        return
    loop = _followed = asyncio.get_running_loop()
    _follow(mount)
    try:
        yield
    finally:
        if _followed is loop:
            _followed = None
            _follow("")


def _follow(mount: str) -> None:
    before = settings.STATIC_URL
    with urls_under(mount):
        for name in ("STATIC_URL", "MEDIA_URL"):
            settings.__getattr__(name)  # completes the setting again, and keeps the result
    if before == settings.STATIC_URL or not apps.is_installed("django.contrib.staticfiles"):
        return
    from django.contrib.staticfiles.storage import staticfiles_storage

    # A storage that exists already has taken the URL. One with a base_url of its own keeps it.
    storage = vars(staticfiles_storage)["_wrapped"]
    if isinstance(storage, FileSystemStorage) and storage.base_url == before:
        storage.base_url = settings.STATIC_URL
