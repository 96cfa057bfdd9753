"""Mistakes of a deployment: the log names the cause where only an effect would show."""

import logging
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.exceptions import DisallowedHost, ImproperlyConfigured, SuspiciousOperation
from django.http import HttpRequest
from django.utils._os import safe_join

logger = logging.getLogger("aiodjango")


async def warn_of_settings(app: web.Application) -> None:
    """Warn of settings with which no request can be answered, as an on_startup handler."""
    if not settings.DEBUG and not settings.ALLOWED_HOSTS:
        logger.warning(
            "DEBUG is False and ALLOWED_HOSTS is empty, so every request gets 400 Bad Request: "
            'set ALLOWED_HOSTS = ["www.example.com"], with the names of the site.'
        )


class Warned:
    """Whether a warning was logged in this process: once is enough."""

    of_proxy = False


def proxy_hint(origin: str, own: str, *, peer: str | None, header: str | None) -> str | None:
    """Explain an Origin that differs from the request's own in the scheme alone.

    The first time it is a warning in aiodjango's log too: with DEBUG off, Django shows its own
    warnings nowhere.

    origin: the origin of the page.
    own: the origin that the request seems to have.
    peer: the address at the other end of the connection.
    header: X-Forwarded-Proto.

    Returns None where there is another difference.
    """
    hint = _proxy_hint(origin, own, peer, header)
    if hint is not None and not Warned.of_proxy and not settings.DEBUG:
        Warned.of_proxy = True
        logger.warning("A page was refused with 403: %s", hint)
    return hint


def _proxy_hint(origin: str, own: str, peer: str | None, header: str | None) -> str | None:
    scheme, _, host = origin.partition("://")
    own_scheme, _, own_host = own.partition("://")
    if host != own_host or scheme == own_scheme:
        return None
    if scheme != "https":
        return (
            f"The page was loaded by {scheme}, and its request came by {own_scheme}: redirect "
            "pages to https, as SECURE_SSL_REDIRECT does."
        )
    proxy = peer or "the proxy's address"
    if header is None:
        return (
            "The page was loaded by https, and its request came by http: if there is a TLS proxy "
            f"at {proxy}, have it send X-Forwarded-Proto: https, and allow its address by the "
            "environment variable FORWARDED_ALLOW_IPS or the option forwarded_allow_ips."
        )
    return (
        f"The page was loaded by https, and X-Forwarded-Proto: {header[:20]!a} of {proxy} is "
        "ignored: allow that address by the environment variable FORWARDED_ALLOW_IPS or the "
        "option forwarded_allow_ips."
    )


class CsrfHints(logging.Filter):
    """Completes Django's warning of an Origin that differs from the site's in the scheme alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        request = getattr(record, "request", None)
        # A coroutine view's reason has the hint already.
        if not isinstance(request, HttpRequest) or not isinstance(record.args, tuple):
            return True
        if (hint := _hint_of_django(request)) and hint not in record.getMessage():
            record.msg, record.args = f"{record.msg}\n%s", (*record.args, hint)
        return True


def _hint_of_django(request: HttpRequest) -> str | None:
    if not (origin := request.META.get("HTTP_ORIGIN")):
        return None
    try:
        own = f"{request.scheme}://{request.get_host()}"
    except (DisallowedHost, KeyError):
        return None  # KeyError: a request that was made by hand, without a SERVER_NAME
    return proxy_hint(
        origin,
        own,
        peer=request.META.get("REMOTE_ADDR"),
        header=request.META.get("HTTP_X_FORWARDED_PROTO"),
    )


class StaticHints(logging.Filter):
    """Warns once, at Django's warning of a static file that exists, that nothing serves it."""

    has_warned = False

    def filter(self, record: logging.LogRecord) -> bool:
        request = getattr(record, "request", None)
        is_miss = getattr(record, "status_code", None) == 404
        if self.has_warned or not is_miss or not isinstance(request, HttpRequest):
            return True
        if hint := _static_hint(request.path):
            self.has_warned = True
            logger.warning("%s", hint)
        return True


def _static_hint(path: str) -> str | None:
    """Explain a miss of a static file; None where there is no such file."""
    prefix = urlsplit(settings.STATIC_URL or "").path
    if prefix in ("", "/") or not path.startswith(prefix):
        return None
    name = path.removeprefix(prefix)
    way = (
        "get_aio_application(application, include_static=True) serves STATIC_ROOT, or a proxy "
        "such as nginx does"
    )
    try:
        if settings.STATIC_ROOT and Path(safe_join(settings.STATIC_ROOT, name)).is_file():
            return f"{path} is a file in STATIC_ROOT, but nothing serves STATIC_ROOT: {way}."
        found = apps.is_installed("django.contrib.staticfiles") and finders.find(name)
        if found and Path(found).is_file():
            return (
                f"{path} is a static file of the project, but nothing serves it: set STATIC_ROOT "
                f"and run `manage.py collectstatic`; then {way}."
            )
    except (SuspiciousOperation, ImproperlyConfigured, OSError, ValueError):
        return None  # no name of a file, or a finder that cannot be used
    return None


def complete_log() -> None:
    """Have Django's warnings completed."""
    for name, hints in {"django.security.csrf": CsrfHints, "django.request": StaticHints}.items():
        log = logging.getLogger(name)
        if not any(isinstance(each, hints) for each in log.filters):
            log.addFilter(hints())
