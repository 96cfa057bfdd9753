"""Django's URL settings under a mount."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from django.apps import apps
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.urls import get_script_prefix, set_script_prefix
from django.utils.functional import empty


class StaticUrls:
    """Relative STATIC_URL and MEDIA_URL, which Django completes with the script prefix.

    Django does that when a setting is first read and keeps the result. Whoever reads it before a
    request (a check, a storage, a urls.py) would fix it to the site's root.
    """

    _is_followed: ClassVar[bool] = False

    @classmethod
    @contextmanager
    def following(cls, mount: str) -> Iterator[None]:
        """Have the settings follow a mount, unless they follow an earlier one already."""
        if cls._is_followed:
            yield
            return
        cls._is_followed = True
        _read_again(mount)
        try:
            yield
        finally:
            cls._is_followed = False
            _read_again("")


def _read_again(mount: str) -> None:
    # LazySettings keeps what it completed in its __dict__; there's no public way to drop it.
    for name in ("STATIC_URL", "MEDIA_URL"):
        vars(settings).pop(name, None)
    before = get_script_prefix()
    set_script_prefix(mount if settings.FORCE_SCRIPT_NAME is None else settings.FORCE_SCRIPT_NAME)
    try:
        static_url = settings.STATIC_URL
        _ = settings.MEDIA_URL
    finally:
        set_script_prefix(before)
    if apps.is_installed("django.contrib.staticfiles"):
        _update_storage(static_url)


def _update_storage(static_url: str) -> None:
    from django.contrib.staticfiles.storage import staticfiles_storage

    # Only one that exists already: it took its URL when it was made.
    is_made = vars(staticfiles_storage)["_wrapped"] is not empty
    if is_made and isinstance(staticfiles_storage, FileSystemStorage):
        staticfiles_storage.base_url = static_url
