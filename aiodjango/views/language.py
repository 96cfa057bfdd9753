"""The language of a request, by the rules of Django's LocaleMiddleware."""

from types import SimpleNamespace
from typing import Any

from aiohttp import hdrs, web
from django.conf import settings
from django.conf.urls.i18n import is_language_prefix_patterns_used
from django.http import parse_cookie
from django.utils import translation

from aiodjango.conf import LOCALE, installed
from aiodjango.converters import django_path


class LanguageChoice:
    """Chooses a request's language: as LocaleMiddleware would, or LANGUAGE_CODE without it.

    urlconf: the one whose i18n_patterns() count, None for ROOT_URLCONF.
    """

    def __init__(self, urlconf: Any = None) -> None:
        self.is_dynamic = settings.USE_I18N and installed(LOCALE) is not None
        if self.is_dynamic:
            self._prefixes_used, self._default_is_prefixed = is_language_prefix_patterns_used(
                urlconf or settings.ROOT_URLCONF
            )

    def __call__(self, request: web.BaseRequest, mount: str) -> str:
        """Return the language of a request.

        mount: the decoded prefix of the application, which is not part of Django's path.
        """
        if not self.is_dynamic:
            return str(settings.LANGUAGE_CODE)
        path = django_path(request.rel_url.raw_path)[len(mount) :]
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
