"""The request's target, host and scheme: both halves of a site read them alike."""

import json

import pytest
from aiohttp import web
from django.http import JsonResponse
from django.middleware.security import SecurityMiddleware
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from aiodjango import django_request, get_aio_application, setup


def facts(request):
    return {
        "path_info": request.META["PATH_INFO"],
        "query": request.META["QUERY_STRING"],
        "host": request.META.get("HTTP_HOST"),
        "scheme": request.scheme,
        "is_secure": request.is_secure(),
    }


@csrf_exempt
def sync(request, **values):
    return JsonResponse({"half": "django", **facts(request)})


async def lifted(request):
    return web.json_response({"half": "aiohttp", **facts(django_request(request))})


async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await ws.close()
    return ws


urlpatterns = [
    path("", sync),
    path("lifted/", lifted),
    path("sync/", sync),
    path("socket/", socket),
    re_path(r"^(?P<rest>.+#.*)$", sync),
]


@pytest.fixture
def app(settings):
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test", "h.example", "clone.example"]
    return get_aio_application()


async def answer_to(server, target, method="GET", *headers):
    fields = "".join(f"{header}\r\n" for header in headers)
    async with server.client() as client:
        await client.send(f"{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n".encode())
        return await client.answer()


# ---- Targets ----


@pytest.mark.parametrize(
    ("target", "half", "path_info", "query"),
    [
        ("/lifted/", "aiohttp", "/lifted/", ""),
        ("/lifted/#a", "aiohttp", "/lifted/", ""),
        ("/lifted/?a#b", "aiohttp", "/lifted/", "a"),
        ("/lifted/?a?b", "aiohttp", "/lifted/", "a?b"),
        ("/lifted/%3Fa", None, None, None),
        ("/lifted/%23a", "django", "/lifted/#a", ""),
        ("/sync/#a", "django", "/sync/", ""),
        ("http://h.example/lifted/?a#b", "aiohttp", "/lifted/", "a"),
        ("http://h.example/sync/?a#b", "django", "/sync/", "a"),
        ("//h.example/lifted/", None, None, None),
        ("//lifted/", None, None, None),
    ],
)
async def test_both_halves_read_a_target_alike(app, serve, target, half, path_info, query):
    answer = await answer_to(await serve(app), target)
    if half is None:
        assert answer.status == 404
        return
    assert answer.status == 200
    seen = json.loads(answer.body)
    assert (seen["half"], seen["path_info"], seen["query"]) == (half, path_info, query)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_fragment_before_the_query_never_makes_django_call_a_coroutine_view(
    app, serve, method
):
    """aiohttp's parsers differ about such a target, and each is followed."""
    answer = await answer_to(
        await serve(app), "/lifted/#a?b", method, "Origin: http://other.example"
    )
    seen = json.loads(answer.body) if answer.status == 200 else None
    if seen is None or seen["half"] == "aiohttp":
        # The parser in Python ends the path at the fragment: the coroutine view has its rules.
        assert answer.status == (200 if method == "GET" else 403)
    else:
        assert seen["path_info"] == "/lifted/#a"
        assert seen["query"] == "b"


# ---- Hosts ----


@pytest.mark.parametrize("path_", ["/sync/", "/lifted/"])
@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("{}", "test"),
        ("http://h.example{}", "h.example"),
        ("http://h.example:8080{}", "h.example:8080"),
        ("http://user:word@h.example:80{}", "h.example:80"),
    ],
)
async def test_the_host_of_the_target(app, serve, target, host, path_):
    answer = await answer_to(await serve(app), target.format(path_))
    assert json.loads(answer.body)["host"] == host


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path_", ["/sync/", "/lifted/"])
@pytest.mark.parametrize(
    ("host", "status"), [("clone.example", 200), ("clone.example:81", 200), ("evil.example", 400)]
)
async def test_a_clone_with_another_host_reaches_both_halves(
    settings, serve, path_, host, status, method
):
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test", "clone.example"]
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]

    @web.middleware
    async def clones(request, handler):
        if request.query_string != "plain":
            request = request.clone(host=host, scheme="https", remote="10.0.0.1")
        return await handler(request)

    main = web.Application(middlewares=[clones])
    setup(main)
    server = await serve(main)
    # The header's own host is known from then on, and must not stand for the other.
    assert (await answer_to(server, f"{path_}?plain")).status == 200
    answer = await answer_to(server, path_, method)
    assert answer.status == status
    if status == 200:
        seen = json.loads(answer.body)
        assert seen["host"] == host
        assert seen["is_secure"]


# ---- Schemes ----


class DerivedMiddleware(SecurityMiddleware):
    """One that is asked for each request, as the project may have changed its rules."""


SCHEMES = [
    ("https", True),
    ("wss", True),
    ("WSS", True),
    ("wss, ws", True),
    ("wss,http", True),
    ("https, http", True),
    ("http", False),
    ("ws", False),
    ("WS", False),
    ("ws, wss", False),
    ("http, https", False),
    ("news", False),
]


@pytest.mark.parametrize("is_set", [False, True], ids=["trusted proxy", "SECURE_PROXY_SSL_HEADER"])
@pytest.mark.parametrize("path_", ["/sync/", "/lifted/"])
@pytest.mark.parametrize(("value", "is_secure"), SCHEMES)
async def test_the_scheme_that_a_proxy_names(settings, serve, path_, value, is_secure, is_set):
    if is_set:
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test"]
    server = await serve(get_aio_application())
    answer = await answer_to(server, path_, "GET", f"X-Forwarded-Proto: {value}")
    seen = json.loads(answer.body)
    assert seen["is_secure"] == is_secure
    assert seen["scheme"] == ("https" if is_secure else "http")


@pytest.mark.parametrize(
    ("header", "is_secure"),
    [
        ("X-Forwarded-Proto: HTTPS", True),
        ("X-Forwarded-Ssl: On", True),
        ("X-Forwarded-Protocol: SSL", True),
        ("X-Forwarded-Ssl: off", False),
    ],
)
@pytest.mark.parametrize("path_", ["/sync/", "/lifted/"])
async def test_a_trusted_proxy_may_use_capitals(app, serve, header, is_secure, path_):
    answer = await answer_to(await serve(app), path_, "GET", header)
    assert json.loads(answer.body)["is_secure"] == is_secure


@pytest.mark.parametrize("kind", ["django", "derived"])
@pytest.mark.parametrize("name", ["X-Forwarded-Proto", "X-Scheme"])
@pytest.mark.parametrize("value", ["wss", "WSS", "https"])
async def test_a_websocket_behind_traefik(settings, serve, kind, name, value):
    """It is of the site's own origin, and not redirected."""
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["test"]
    settings.SECURE_SSL_REDIRECT = True
    key = "HTTP_" + name.upper().replace("-", "_")
    settings.SECURE_PROXY_SSL_HEADER = (key, "https")
    middleware = {
        "django": "django.middleware.security.SecurityMiddleware",
        "derived": f"{__name__}.DerivedMiddleware",
    }
    settings.MIDDLEWARE = [middleware[kind]]
    server = await serve(get_aio_application())
    answer = await answer_to(
        server,
        "/socket/",
        "GET",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Origin: https://test",
        f"{name}: {value}",
    )
    assert answer.status == 101


async def test_two_schemes_in_two_headers_still_conflict(app, serve):
    headers = ("X-Forwarded-Proto: wss", "X-Forwarded-Proto: http")
    answer = await answer_to(await serve(app), "/sync/", "GET", *headers)
    assert answer.status == 400
