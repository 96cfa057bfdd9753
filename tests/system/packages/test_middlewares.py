"""Middlewares of other packages that coroutine views lose nothing by, and some that they miss."""

import pytest
from aiohttp import web
from django.urls import path
from django.utils.module_loading import import_string

from aiodjango.checks import NOT_MISSED, check_urlconf
from tests.conftest import require

FOREIGN = sorted(p for p in NOT_MISSED if not p.startswith(("django.", "aiodjango.")))


async def view(request):
    return web.Response()


urlpatterns = [path("x/", view)]


def messages(settings, middleware):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [middleware]
    return [message.id for message in check_urlconf()]


@pytest.mark.parametrize("middleware", FOREIGN)
def test_known_to_be_harmless(settings, middleware):
    """Its name is the one that the package has today."""
    package = middleware.partition(".")[0]
    require(module=package)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, package]
    assert callable(import_string(middleware))
    assert messages(settings, middleware) == []


@pytest.mark.parametrize(
    "middleware",
    [
        "django_prometheus.middleware.PrometheusBeforeMiddleware",
        "django.contrib.auth.middleware.RemoteUserMiddleware",
    ],
)
def test_missed(settings, middleware):
    require(module=middleware.partition(".")[0])
    assert messages(settings, middleware) == [f"aiodjango.W004.{middleware}"]
