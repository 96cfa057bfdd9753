"""The site of urls.py, and the fixtures under test: their entry point needs an installation."""

from pathlib import Path

import pytest

from pytest_aiodjango import _aiodjango_database, aio_client, aio_live_server  # noqa: F401

SITE = {
    "ROOT_URLCONF": "tests.test.urls",
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [Path(__file__).parent / "templates"],
        }
    ],
}


@pytest.fixture
def site(settings):
    for name, value in SITE.items():
        setattr(settings, name, value)
    return settings


@pytest.fixture(params=["", "/aio"], ids=["django", "aiohttp"])
def half(request):
    """The prefix of the views in one half of the site, in each in turn."""
    return request.param
