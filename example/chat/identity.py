"""Who is asking, in a coroutine view.

A coroutine view gets aiohttp's request, which Django's middleware has not seen. These helpers
read the same session cookie that Django set when the visitor logged in.
"""

from importlib import import_module
from urllib.parse import urlsplit

from aiohttp import web
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import HttpRequest


async def aget_user(request: web.Request) -> AbstractBaseUser | AnonymousUser:
    """The user whose session cookie came with an aiohttp request."""
    engine = import_module(settings.SESSION_ENGINE)
    session_key = request.cookies.get(settings.SESSION_COOKIE_NAME)
    django_request = HttpRequest()
    django_request.session = engine.SessionStore(session_key)
    return await auth.aget_user(django_request)


def is_same_origin(request: web.Request) -> bool:
    """Whether a page of this site opened the connection.

    Any page on the web may open a WebSocket to us, and the browser would send our visitor's
    cookie along; but it also says where that page came from. A program that is no browser sends
    no Origin, and has no visitor's cookie to misuse.
    """
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host
