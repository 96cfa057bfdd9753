"""The suite's settings, with what the environment asks for on top (as JSON)."""

import json
import os

from tests.settings import *  # noqa: F403

ROOT_URLCONF = "tests.orm.project.urls"
INSTALLED_APPS = [*INSTALLED_APPS, "tests.orm.project"]  # noqa: F405
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

globals().update(json.loads(os.environ.get("TEST_SETTINGS", "{}")))
