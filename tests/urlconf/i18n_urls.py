"""Localized patterns. Django's own catalogs translate the names of the months."""

from aiohttp import web
from django.conf.urls.i18n import i18n_patterns
from django.urls import include, path, re_path, reverse
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _


def view_named(name):
    async def view(request):
        return web.json_response(
            {"view": name, "language": get_language(), "home": reverse("plain")}
        )

    view.__name__ = view.__qualname__ = name
    return view


def patterns(*, prefix_default_language):
    return [
        path("fixed/", view_named("fixed")),
        path(_("May"), view_named("may")),
        path("months/", include([re_path(_("March"), view_named("march"))])),
        *i18n_patterns(
            path("plain/", view_named("plain"), name="plain"),
            path(_("May"), view_named("prefixed_may"), name="may"),
            prefix_default_language=prefix_default_language,
        ),
    ]


urlpatterns = patterns(prefix_default_language=True)
