"""What the coroutine views of one application share: the site's rules, and Django's state."""

from types import SimpleNamespace
from typing import Any

from aiohttp import hdrs, web
from django.conf import settings
from django.conf.urls.i18n import is_language_prefix_patterns_used
from django.http import parse_cookie
from django.urls import set_script_prefix, set_urlconf
from django.utils import translation

from aiodjango.conf import LOCALE, installed
from aiodjango.converters import django_path
from aiodjango.urlconf.mount import UrlState, script_prefix

from .auth import LoginRule
from .security import SecurityRules


class Site:
    """The rules for the views under one mount, and Django's state while they run.

    urlconf: that of the views, and of reverse() in them; None for ROOT_URLCONF.
    """

    def __init__(self, urlconf: Any = None) -> None:
        self.security = SecurityRules()
        self.login_rule = LoginRule()
        self._urlconf = urlconf
        self._has_locales = settings.USE_I18N and installed(LOCALE) is not None
        if self._has_locales:
            self._prefixes_used, self._default_is_prefixed = is_language_prefix_patterns_used(
                urlconf or settings.ROOT_URLCONF
            )
        self.mount_at("")

    def mount_at(self, mount: str) -> None:
        """Set the prefix of the views, decoded, without a slash at its end."""
        self.mount = mount
        self._script_prefix = script_prefix(mount)
        self._has_middlewares: bool | None = None  # not known before the first request
        # At the root of a site in one language Django's own defaults are right.
        self.needs_state = self._script_prefix != "/" or bool(self._urlconf) or self._has_locales

    def enter(self, request: web.Request, language: str | None) -> UrlState | None:
        """Set Django's state for a view. Returns what to activate after it, None for nothing.

        language: that the view's path was matched in, if its pattern depends on it.
        """
        before = UrlState.current() if self._is_observed(request) else None
        if self._script_prefix != ("/" if before is None else before.script_prefix):
            set_script_prefix(self._script_prefix)
        if self._urlconf:
            set_urlconf(self._urlconf)
        if language is None and self._has_locales:
            language = self.choose_language(request)
        if language is not None:
            translation.activate(language)
        return before

    def _is_observed(self, request: web.Request) -> bool:
        """Whether a middleware runs after the view, in the same context."""
        if self._has_middlewares is None:
            self._has_middlewares = any(app.middlewares for app in request.match_info.apps)
        return self._has_middlewares

    def choose_language(self, request: web.Request) -> str:
        """Return the language of a request: LocaleMiddleware's, or LANGUAGE_CODE without it."""
        if not self._has_locales:
            return str(settings.LANGUAGE_CODE)
        path = django_path(request.rel_url.raw_path)[len(self.mount) :]
        in_path = translation.get_language_from_path(path)
        if self._prefixes_used and not in_path and not self._default_is_prefixed:
            return str(translation.to_language(settings.LANGUAGE_CODE))
        django_request: Any = SimpleNamespace(
            path_info=path,
            COOKIES=parse_cookie("; ".join(request.headers.getall(hdrs.COOKIE, ()))),
            META={
                "HTTP_ACCEPT_LANGUAGE": ",".join(request.headers.getall(hdrs.ACCEPT_LANGUAGE, ()))
            },
        )
        language = translation.get_language_from_request(
            django_request, check_path=self._prefixes_used
        )
        return str(translation.to_language(language))
