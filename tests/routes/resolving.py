"""Two ways to ask what answers a path: Django's resolver, and an aiohttp application's router."""

from io import BytesIO
from urllib.parse import unquote_to_bytes

from aiohttp.test_utils import make_mocked_request
from django.core.handlers.wsgi import WSGIRequest
from django.urls import Resolver404
from django.urls.resolvers import RegexPattern, URLResolver
from yarl import URL

from aiodjango.routes import ViewResource


def django_resolve(patterns, raw_path, mount=""):
    """(view, args, kwargs) by Django's resolver for a path below a mount; None where none is."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": unquote_to_bytes(raw_path)[len(mount) :].decode("latin-1"),
        "wsgi.input": BytesIO(),
    }
    resolver = URLResolver(RegexPattern(r"^/"), patterns)
    try:
        match = resolver.resolve(WSGIRequest(environ).path_info)
    except Resolver404:
        return None
    return match.func, match.args, match.kwargs


def request_to(raw_path, **headers):
    """A request with the URL that aiohttp's parser makes of a raw path."""
    request = make_mocked_request("GET", "/", headers=headers)
    return request.clone(rel_url=URL.build(path=raw_path, encoded=True))


async def router_resolve(app, raw_path, **headers):
    """(view, args, kwargs) by the application's router; None where no lifted route matches."""
    match = await app.router.resolve(request_to(raw_path, **headers))
    resource = match.route.resource
    if not isinstance(resource, ViewResource):
        return None
    return resource.pattern.view, match.args, match.kwargs
