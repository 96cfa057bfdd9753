"""Settings of the example site.

They suit a laptop. Before a site like this faces the internet: EXAMPLE_DEBUG=0, a secret key of
its own, its host names, `manage.py collectstatic` and `manage.py check --deploy`. With several
processes it needs DATABASE_URL and REDIS_URL as well. example/deploy has all of it.
"""

import os
from pathlib import Path
from typing import Any

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
                "example.chat.how.context",
            ],
        },
    },
]


def postgresql(url: str) -> dict[str, Any]:
    """The database that a URL names, as the database's own tools understand it."""
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.pop("dbname", ""),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        "OPTIONS": parts,  # sslmode and the like
        # A connection is kept for the next request, and looked at before it is used again.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }


def sqlite(path: str | Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            # Several threads write. With a write-ahead log they do not stop those that read, and
            # an immediate transaction waits for its turn instead of failing half-way.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }


if "DATABASE_URL" in os.environ:
    DATABASES = {"default": postgresql(os.environ["DATABASE_URL"])}
else:
    DATABASES = {"default": sqlite(os.environ.get("EXAMPLE_DATABASE", BASE_DIR / "db.sqlite3"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# How an event reaches the pages that are open in other processes: by Redis where there is one, else
# by the database, if that is PostgreSQL. Without either there is one process.
if os.environ.get("REDIS_URL"):
    AIO_BROADCAST = {
        "BACKEND": "aiodjango.broadcast.redis.RedisBackend",
        "LOCATION": os.environ["REDIS_URL"],
        "OPTIONS": {"prefix": "chat:"},
    }
elif "DATABASE_URL" in os.environ:
    AIO_BROADCAST = {"BACKEND": "aiodjango.broadcast.postgres.PostgresBackend"}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
]
# Without DEBUG the site is behind https, and its cookies go no other way.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "chat:rooms"
LOGOUT_REDIRECT_URL = "chat:rooms"

# Relative, so that it follows the site to wherever it is mounted (/static/ or /site/static/).
STATIC_URL = "static/"
# Where `manage.py collectstatic` puts them, for sites without DEBUG.
STATIC_ROOT = os.environ.get("EXAMPLE_STATIC_ROOT", BASE_DIR / "build" / "static")

TIME_ZONE = "UTC"
USE_TZ = True
