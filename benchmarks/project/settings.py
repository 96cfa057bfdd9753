"""The project's settings: no middleware, as it is the servers that are compared.

BENCHMARK_FOLDER names a folder for the SQLite database and the files; BENCHMARK_POSTGRES where
PostgreSQL has its socket, if it runs; BENCHMARK_REDIS is Redis's URL, if that runs;
BENCHMARK_CONNECTIONS is "kept" or "pooled".
"""

import os
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["BENCHMARK_FOLDER"])

# Under ASGI a connection that is kept is never used again: Django's documentation wants a pool.
KEPT = os.environ.get("BENCHMARK_CONNECTIONS", "kept") == "kept"

SECRET_KEY = "benchmark"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "benchmarks.project.urls"
USE_TZ = True
INSTALLED_APPS = ["benchmarks.project"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIDDLEWARE: list[str] = []
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
# An upload is read from the request as a stream, but Django wants to know.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024

DATABASES: dict[str, Any] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "db.sqlite3",
        "CONN_MAX_AGE": None if KEPT else 0,
    },
}
if "BENCHMARK_POSTGRES" in os.environ:
    DATABASES["postgres"] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "test",
        "USER": "postgres",
        "HOST": os.environ["BENCHMARK_POSTGRES"],
        "CONN_MAX_AGE": None if KEPT else 0,
        "OPTIONS": {} if KEPT else {"pool": True},
    }

if "BENCHMARK_REDIS" in os.environ:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ["BENCHMARK_REDIS"],
        }
    }

# The servers' own logs are off; Django's "Bad Request" and the like can't happen.
LOGGING_CONFIG = None
