"""A project of $PACKAGE's chapter in docs/packages.rst: what it says, upon a usual project."""

import os
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "docs" / "packages" / os.environ["PACKAGE"]
sys.path.insert(0, str(FOLDER))

SECRET_KEY = "not a secret: used by the test suite alone"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [
    "aiodjango",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(os.environ["PROJECT"], "db.sqlite3"),
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.system.packages.urls"
STATIC_URL = "static/"
STATIC_ROOT = os.path.join(os.environ["PROJECT"], "static")
USE_TZ = True
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
LOGGING = {  # to the server's log, as it were in production
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"log": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["log"], "propagate": False}},
}

if (FOLDER / "settings.py").exists():
    exec(compile((FOLDER / "settings.py").read_text(), FOLDER / "settings.py", "exec"))
