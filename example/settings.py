"""Settings of the example site.

They suit a laptop. Before a site like this faces the internet: EXAMPLE_DEBUG=0, a secret key of
its own, its host names, `manage.py collectstatic` and `manage.py check --deploy`.
"""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent

DEBUG = os.environ.get("EXAMPLE_DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("EXAMPLE_SECRET_KEY", "django-insecure-only-for-the-example-site")

# Empty under DEBUG means localhost. To chat from a phone: EXAMPLE_HOSTS=192.168.1.20
ALLOWED_HOSTS = os.environ.get("EXAMPLE_HOSTS", "").split()

INSTALLED_APPS = [
    "example.chat",
    "aiodjango",  # before staticfiles: both have a runserver, and the first one listed wins
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "example.urls"
WSGI_APPLICATION = "example.wsgi.application"  # what a WSGI server would serve
AIO_APPLICATION = "example.wsgi.app"  # what `manage.py runserver` serves

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("EXAMPLE_DATABASE", BASE_DIR / "db.sqlite3"),
        "OPTIONS": {
            # Several threads write. With a write-ahead log they do not stop those that read, and
            # an immediate transaction waits for its turn instead of failing half-way.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "chat:rooms"
LOGOUT_REDIRECT_URL = "chat:rooms"

# Relative, so that it follows the site to wherever it is mounted (/static/ or /site/static/).
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "build" / "static"  # for `manage.py collectstatic`, without DEBUG

TIME_ZONE = "UTC"
USE_TZ = True
