"""A small site for gunicorn's workers."""

from tests.settings import *  # noqa: F403

ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.runner.site.urls"
