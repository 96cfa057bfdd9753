"""A small site to deploy: the suite's settings, its own URLs and static files."""

from pathlib import Path

from tests.settings import *  # noqa: F403

ALLOWED_HOSTS = [*ALLOWED_HOSTS, "test"]  # noqa: F405
ROOT_URLCONF = "tests.system.deploy.project.urls"
STATICFILES_DIRS = [Path(__file__).parent / "static"]
