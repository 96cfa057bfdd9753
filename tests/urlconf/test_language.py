"""Localized URL patterns: matched in the language that LocaleMiddleware would choose."""

from importlib import import_module
from urllib.parse import unquote_to_bytes

import pytest
from aiohttp import web
from django.conf import settings as django_settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse
from django.middleware.locale import LocaleMiddleware
from django.test import RequestFactory
from django.urls import Resolver404, re_path, resolve, reverse
from django.utils import translation
from django.utils.translation import gettext_lazy

from aiodjango import get_aio_subapp
from tests.routes.resolving import django_resolve, router_resolve

from . import i18n_urls

PATHS = [
    *("/fixed/", "/plain/", "/en/plain/", "/de/plain/", "/DE/plain/", "/fr/plain/"),
    *("/xx/plain/", "/de-at/plain/", "/May", "/Mai", "/mai", "/en/May", "/de/Mai", "/de/May"),
    *("/fr/mai", "/months/March", "/months/März", "/months/mars", "/months/M%C3%A4rz"),
    *("/de%2Fplain/", "/de", "/"),
]
HEADERS = [
    {},
    {"Accept-Language": "de"},
    {"Accept-Language": "fr-CA,de;q=0.5"},
    {"Accept-Language": "de", "Cookie": "django_language=fr"},
    {"Cookie": "django_language=nonsense"},
]
OTHER_LANGUAGES = {
    "/May": ("may", "en"),
    "/Mai": ("may", "de"),
    "/mai": ("may", "fr"),
    "/months/March": ("march", "en"),
    "/months/März": ("march", "de"),
    "/months/M%C3%A4rz": ("march", "de"),
    "/months/mars": ("march", "fr"),
}
WITH_LOCALE = ["django.middleware.locale.LocaleMiddleware"]


@pytest.fixture(params=["i18n_urls", "i18n_default_urls"])
def urlconf(request, settings):
    settings.ROOT_URLCONF = f"tests.urlconf.{request.param}"
    settings.LANGUAGES = [("en", "English"), ("de", "German"), ("fr", "French")]
    settings.LANGUAGE_CODE = "en"
    return settings.ROOT_URLCONF


def as_django(urlconf, raw_path, headers):
    """The view's name and language as Django's middleware and resolver have them."""
    meta = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    environ = RequestFactory().get("/", **meta).environ
    request = WSGIRequest({**environ, "PATH_INFO": wsgi_path(raw_path)})
    try:
        if "django.middleware.locale.LocaleMiddleware" in django_settings.MIDDLEWARE:
            LocaleMiddleware(lambda request: HttpResponse()).process_request(request)
        found = django_resolve(import_module(urlconf).urlpatterns, raw_path)
        return found and (found[0].__name__, translation.get_language())
    finally:
        translation.deactivate()


def wsgi_path(raw_path):
    return unquote_to_bytes(raw_path).decode("latin-1")


async def as_aiohttp(client, path, headers):
    response = await client.get(path, headers=headers)
    if response.status == 404:
        return None
    answer = await response.json()
    return answer["view"], answer["language"]


@pytest.mark.parametrize("middleware", [WITH_LOCALE, []], ids=["LocaleMiddleware", "none"])
async def test_same_view_and_language_as_django(urlconf, settings, middleware, aiohttp_client):
    settings.MIDDLEWARE = middleware
    client = await aiohttp_client(get_aio_subapp())
    differences = []
    for path in PATHS:
        for headers in HEADERS:
            expected = as_django(urlconf, path, headers)
            found = await as_aiohttp(client, path, headers)
            if found != expected:
                differences.append((path, expected, found))
    # A translated route outside i18n_patterns() answers in its other languages too.
    assert differences
    for path, expected, found in differences:
        assert (expected, found) == (None, OTHER_LANGUAGES[path])


async def test_a_connection_keeps_no_language(urlconf, settings, aiohttp_client):
    settings.MIDDLEWARE = WITH_LOCALE

    async def host_view(request):
        return web.json_response({"language": translation.get_language()})

    app = get_aio_subapp()
    app.router.add_get("/host", host_view)
    client = await aiohttp_client(app)
    for path, language in [
        ("/de/plain/", "de"),
        ("/host", "en"),
        ("/fr/plain/", "fr"),
        ("/host", "en"),
    ]:
        response = await client.get(path)
        assert (await response.json())["language"] == language


async def test_reverse_speaks_the_language_of_the_view(urlconf, settings, aiohttp_client):
    settings.MIDDLEWARE = WITH_LOCALE
    client = await aiohttp_client(get_aio_subapp())
    answer = await (await client.get("/de/plain/")).json()
    assert answer["home"] == "/de/plain/"


def test_url_for_speaks_the_active_language(urlconf, settings):
    settings.MIDDLEWARE = WITH_LOCALE
    router = get_aio_subapp().router
    with translation.override("de"):
        assert str(router["may"].url_for()) == reverse("may") == "/de/Mai"
    with translation.override("fr"):
        assert str(router["plain"].url_for()) == "/fr/plain/"


async def test_many_languages_share_a_route(settings, urlconf):
    settings.MIDDLEWARE = WITH_LOCALE
    app = get_aio_subapp()
    for raw_path, expected in {"/de/plain/": "plain", "/fr/mai": "prefixed_may"}.items():
        view, _, _ = await router_resolve(app, raw_path)
        assert view.__name__ == expected


async def test_another_language_behind_the_place_of_another_pattern(settings, urlconf):
    """What matches a path in another language may stand elsewhere in aiohttp's index."""
    march, item = (i18n_urls.view_named(name) for name in ["march", "item"])
    app = get_aio_subapp([re_path(gettext_lazy("March"), march), re_path(r"^mars/(\d+)/$", item)])
    app.freeze()
    assert await router_resolve(app, "/mars") == (march, (), {})
    assert await router_resolve(app, "/mars/1/") == (item, ("1",), {})
    assert await router_resolve(app, "/nowhere") is None


def test_django_itself_cannot_resolve_without_the_language(urlconf):
    with translation.override("en"), pytest.raises(Resolver404, match="Mai"):
        resolve("/Mai")
