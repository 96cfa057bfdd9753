"""A site with a bell, over the back end and the database that the environment names."""

import json
import os

SECRET_KEY = "not a secret: used by the test suite alone"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
INSTALLED_APPS = [
    "aiodjango",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
AIO_WATCH_INTERVAL = 3600  # what ends at once ends by a broadcast
ROOT_URLCONF = "tests.broadcast.project.urls"
DATABASES = json.loads(os.environ["TEST_DATABASES"])
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AIO_BROADCAST = json.loads(os.environ["TEST_BROADCAST"])
