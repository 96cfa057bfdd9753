"""A site with a bell, over the back end and the database that the environment names."""

import json
import os

SECRET_KEY = "not a secret: used by the test suite alone"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
INSTALLED_APPS = ["aiodjango", "django.contrib.contenttypes", "django.contrib.auth"]
ROOT_URLCONF = "tests.broadcast.project.urls"
DATABASES = json.loads(os.environ["TEST_DATABASES"])
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AIO_BROADCAST = json.loads(os.environ["TEST_BROADCAST"])
