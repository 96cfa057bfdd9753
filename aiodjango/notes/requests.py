"""Attributes that only one of the two requests has, and what to write with the other one."""

import inspect

from aiohttp import web
from aiohttp.abc import AbstractView
from django.http import HttpRequest

_FORM = "the form is (await request.post()), with its files"
_BODY = "the body is await request.read(), or await request.text(), or await request.json()"
_STREAM = "the body in parts is request.content, an aiohttp.StreamReader"
_SESSION = "write (await aget_session(request)), with aiodjango.aget_session"
_USER = "write (await aget_user(request)), with aiodjango.aget_user"
_PUBLIC = "aiodjango.django_request"

# Of Django's request, for a view that has aiohttp's.
DJANGO_ONLY = {
    "GET": "write request.query",
    "POST": _FORM,
    "FILES": _FORM,
    "COOKIES": "write request.cookies",
    "META": (
        "write request.headers for a header, request.remote for the client's address, "
        "or django_request(request).META, with aiodjango.django_request"
    ),
    "environ": "write django_request(request).environ, with aiodjango.django_request",
    "body": _BODY,
    "data": _BODY,  # of Django REST framework, like query_params
    "query_params": "write request.query",
    "readline": _STREAM,
    "readlines": _STREAM,
    "session": _SESSION,
    "user": _USER,
    "auser": _USER,
    "path_info": "write request.path, or request.match_info for the parts of the path",
    "resolver_match": "write request.match_info, whose route.name is the pattern's name",
    "get_full_path": "write request.path_qs",
    "get_full_path_info": "write request.path_qs",
    "get_host": "write request.host, which has been checked against ALLOWED_HOSTS",
    "encoding": "write request.charset",
    "content_params": "write request.charset",
    "LANGUAGE_CODE": "write django.utils.translation.get_language()",
}
# Of aiohttp's request, for a view that has Django's.
AIOHTTP_ONLY = {
    "query": "write request.GET",
    "post": "write request.POST",
    "json": "write json.loads(request.body)",
    "text": "write request.body.decode()",
    "multipart": "write request.FILES",
    "content": "write request.body, or request.read(size)",
    "content_length": 'write request.headers["Content-Length"]',
    "charset": "write request.encoding",
    "cookies": "write request.COOKIES",
    "match_info": "the parts of the path are arguments of the view, and request.resolver_match",
    "url": "write request.build_absolute_uri()",
    "rel_url": "write request.get_full_path()",
    "path_qs": "write request.get_full_path()",
    "raw_path": "write request.get_full_path()",
    "query_string": 'write request.META["QUERY_STRING"]',
    "host": "write request.get_host()",
    "remote": 'write request.META["REMOTE_ADDR"]',
    "secure": "write request.is_secure()",
}


def note_of_request(error: BaseException) -> list[str]:
    """Explain an attribute that only the other request has, or an `await` that is missing."""
    if not isinstance(error, AttributeError) or error.name is None:
        return []
    name, owner = error.name, error.obj
    if isinstance(owner, web.BaseRequest):
        way = DJANGO_ONLY.get(name)
        if way is None:
            way = f"that of Django's request is django_request(request).{name}, with {_PUBLIC}"
        return [f"This is aiohttp's request, which has no {name}: {way}."]
    if isinstance(owner, HttpRequest) and name in AIOHTTP_ONLY:
        return [f"This is Django's request, which has no {name}: {AIOHTTP_ONLY[name]}."]
    if isinstance(owner, AbstractView) and (name in DJANGO_ONLY or hasattr(web.Request, name)):
        note = f"This is the view, which has no {name}: its request is self.request."
        if name in ("user", "auser"):
            note += " Use aio_login_required of aiodjango in place of Django's decorators."
        return [note]
    if inspect.iscoroutine(owner):
        return [f"An `await` is missing: write (await {owner.__name__}(…)).{name}"]
    return []
