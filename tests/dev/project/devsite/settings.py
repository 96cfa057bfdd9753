"""A small project for `manage.py runserver`; a test changes settings by DEVSITE_… variables."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent

SECRET_KEY = "not a secret: used by the test suite alone"
DEBUG = "DEVSITE_NO_DEBUG" not in os.environ
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = os.environ.get("DEVSITE_APPS", "aiodjango,django.contrib.staticfiles").split(",")
ROOT_URLCONF = "devsite.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
    }
]
STATIC_URL = os.environ.get("DEVSITE_STATIC_URL", "static/")
STATICFILES_DIRS = [BASE_DIR / "static"]
USE_TZ = True
LANGUAGE_CODE = "de"
LOCALE_PATHS = [BASE_DIR / "locale"]

if "DEVSITE_AIO_APPLICATION" in os.environ:
    AIO_APPLICATION = os.environ["DEVSITE_AIO_APPLICATION"]
