from tests.settings import *  # noqa: F403

ROOT_URLCONF = "tests.routes.answering.urls"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]  # for the Content-Length
APPEND_SLASH = False
