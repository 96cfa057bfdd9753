"""django-cors-headers: its rules for coroutine views are those that Django's own views have."""

import asyncio

import pytest
from aiohttp import WSServerHandshakeError, web
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from aiodjango import get_aio_application
from aiodjango.checks import check_urlconf
from aiodjango.test import close_orm_threads
from tests.conftest import require
from tests.support.waiting import DEADLINE

require(module="corsheaders")

CORS = "corsheaders.middleware.CorsMiddleware"
FRIEND = "https://friend.example"
STRANGER = "https://stranger.example"
calls = []


def sync(request):
    calls.append(request.method)
    return HttpResponse("answered", headers={"Vary": "Accept"})


async def aio(request):
    calls.append(request.method)
    return web.Response(text="answered", headers={"Vary": "Accept"})


class AioClass(web.View):
    async def get(self):
        calls.append("GET")
        return web.Response(text="answered", headers={"Vary": "Accept"})

    post = get


def sync_stream(request):
    calls.append(request.method)
    return StreamingHttpResponse(iter([b"answered"]), headers={"Vary": "Accept"})


async def aio_stream(request):
    calls.append(request.method)
    response = web.StreamResponse(headers={"Vary": "Accept"})
    await response.prepare(request)
    await response.write(b"answered")
    return response


def sync_missing(request):
    raise Http404


async def aio_missing(request):
    raise Http404


def sync_error(request):
    raise RuntimeError


async def aio_error(request):
    raise RuntimeError


async def aio_http_error(request):
    raise web.HTTPNotFound


async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await ws.close()
    return ws


urlpatterns = [
    path("sync/", sync),
    path("sync/exempt/", csrf_exempt(sync)),
    path("sync/stream/", sync_stream),
    path("sync/missing/", sync_missing),
    path("sync/error/", sync_error),
    path("aio/", aio),
    path("aio/exempt/", csrf_exempt(aio)),
    path("aio/stream/", aio_stream),
    path("aio/missing/", aio_missing),
    path("aio/error/", aio_error),
    path("aio/http-error/", aio_http_error),
    path("aio/class/", AioClass),
    path("aio/socket/", socket),
    path("api/", include([path("sync/", sync), path("aio/", aio)])),
]

SETTINGS = [
    {"CORS_ALLOWED_ORIGINS": [FRIEND]},
    {"CORS_ALLOW_ALL_ORIGINS": True},
    {"CORS_ALLOW_ALL_ORIGINS": True, "CORS_ALLOW_CREDENTIALS": True},
    {
        "CORS_ALLOWED_ORIGIN_REGEXES": [r"^https://\w+\.example$"],
        "CORS_EXPOSE_HEADERS": ["X-Total"],
        "CORS_ALLOW_PRIVATE_NETWORK": True,
        "CORS_PREFLIGHT_MAX_AGE": 60,
    },
    {"CORS_ALLOWED_ORIGINS": [FRIEND], "CORS_URLS_REGEX": r"^/api/"},
]


@pytest.fixture(params=SETTINGS, ids=lambda settings: "-".join(settings))
def cors(request, settings):
    """Each configuration in turn."""
    for name, value in request.param.items():
        setattr(settings, name, value)


@pytest.fixture
def site(settings, aiohttp_client):
    """Start the site with CorsMiddleware first, as its documentation asks for."""

    async def start(*middleware, mount=""):
        settings.ROOT_URLCONF = __name__
        settings.MIDDLEWARE = [CORS, *(middleware or settings.MIDDLEWARE)]
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "corsheaders"]
        app = get_aio_application(get_wsgi_application())
        if mount:
            outer = web.Application()
            outer.add_subapp(mount, app)
            app = outer
        calls.clear()
        return await aiohttp_client(app)

    return start


@pytest.fixture
async def client(cors, site):
    return await site()


def cors_headers(response):
    found = {
        name.lower(): value
        for name, value in response.headers.items()
        if name.lower().startswith("access-control-")
    }
    vary = response.headers.get("Vary", "").lower().replace(" ", "").split(",")
    return response.status, found, sorted(vary)


async def ask(client, method, url, headers):
    async with client.request(method, url, headers=headers) as response:
        await response.read()
        return cors_headers(response)


PREFLIGHT = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a"}


@pytest.mark.parametrize("origin", [None, FRIEND, STRANGER, "null", "https://[bad"])
@pytest.mark.parametrize("path", ["", "exempt/", "stream/", "missing/", "error/", "api"])
async def test_both_halves_answer_alike(client, origin, path):
    """Whatever the configuration, the request and what becomes of it."""
    requests = [
        ("GET", {}),
        ("HEAD", {}),
        ("POST", {}),
        ("OPTIONS", PREFLIGHT),
        ("OPTIONS", {**PREFLIGHT, "Access-Control-Request-Private-Network": "true"}),
        ("OPTIONS", {}),
    ]
    one, other = ("/api/aio/", "/api/sync/") if path == "api" else (f"/aio/{path}", f"/sync/{path}")
    for method, extra in requests:
        if (method, path) == ("HEAD", "stream/"):
            continue  # the view sends a body
        headers = {**extra, **({"Origin": origin} if origin else {})}
        aio_answer = await ask(client, method, one, headers)
        sync_answer = await ask(client, method, other, headers)
        if method == "POST" and origin is None and aio_answer[0] != sync_answer[0]:
            continue  # Django asks for a token where there is no Origin
        assert aio_answer == sync_answer, (method, headers)


@pytest.mark.parametrize("url", ["/aio/", "/aio/class/", "/aio/exempt/", "/aio/error/"])
async def test_a_preflight_does_not_run_the_view(settings, site, url):
    settings.CORS_ALLOWED_ORIGINS = [FRIEND]
    client = await site()
    status, headers, _ = await ask(client, "OPTIONS", url, {"Origin": FRIEND, **PREFLIGHT})
    assert (status, headers["access-control-allow-origin"]) == (200, FRIEND)
    assert "PUT" in headers["access-control-allow-methods"]
    assert calls == []


async def test_a_preflight_needs_no_login(settings, site):
    """A browser sends it without cookies."""
    settings.CORS_ALLOWED_ORIGINS = [FRIEND]
    login = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    client = await site(*settings.MIDDLEWARE, login)
    status, headers, _ = await ask(client, "OPTIONS", "/aio/", {"Origin": FRIEND, **PREFLIGHT})
    assert (status, headers["access-control-allow-origin"]) == (200, FRIEND)
    async with client.get("/aio/", headers={"Origin": FRIEND}, allow_redirects=False) as response:
        assert cors_headers(response)[0] == 302
        assert response.headers["Access-Control-Allow-Origin"] == FRIEND
    assert calls == []


async def test_a_foreign_host_is_refused_first(settings, site):
    settings.CORS_ALLOW_ALL_ORIGINS = True
    client = await site()
    headers = {"Origin": FRIEND, "Host": "evil.example", **PREFLIGHT}
    assert (await ask(client, "OPTIONS", "/aio/", headers))[0] == 400
    assert calls == []


@pytest.mark.parametrize("settings_", SETTINGS[:4])
async def test_an_origin_that_may_read_may_not_write(settings, site, settings_):
    """CSRF_TRUSTED_ORIGINS says who may: no setting of CORS does."""
    for name, value in settings_.items():
        setattr(settings, name, value)
    client = await site()
    status, headers, _ = await ask(client, "POST", "/aio/", {"Origin": FRIEND})
    assert status == 403
    assert headers["access-control-allow-origin"] in (FRIEND, "*")  # its page may read why
    with pytest.raises(WSServerHandshakeError, match="403"):
        await client.ws_connect("/aio/socket/", headers={"Origin": FRIEND})
    assert calls == []


async def test_a_trusted_origin_may_write_and_open_websockets(settings, site):
    settings.CORS_ALLOWED_ORIGINS = settings.CSRF_TRUSTED_ORIGINS = [FRIEND]
    client = await site()
    status, headers, _ = await ask(client, "POST", "/aio/", {"Origin": FRIEND})
    assert (status, headers["access-control-allow-origin"]) == (200, FRIEND)
    async with client.ws_connect("/aio/socket/", headers={"Origin": FRIEND}) as ws:
        assert "Access-Control-Allow-Origin" not in ws._response.headers
        await asyncio.wait_for(ws.receive(), DEADLINE)


async def test_responses_that_are_raised_have_the_headers(settings, site):
    settings.CORS_ALLOWED_ORIGINS = [FRIEND]
    client = await site()
    status, headers, vary = await ask(client, "GET", "/aio/http-error/", {"Origin": FRIEND})
    assert (status, headers["access-control-allow-origin"], vary) == (404, FRIEND, ["origin"])


async def test_under_a_mount_the_path_is_the_projects(settings, site):
    settings.CORS_ALLOWED_ORIGINS = [FRIEND]
    settings.CORS_URLS_REGEX = r"^/api/"
    client = await site(mount="/site/")
    for half in ("aio", "sync"):
        _, headers, _ = await ask(client, "GET", f"/site/api/{half}/", {"Origin": FRIEND})
        assert headers["access-control-allow-origin"] == FRIEND
        _, headers, _ = await ask(client, "GET", f"/site/{half}/", {"Origin": FRIEND})
        assert headers == {}


@pytest.fixture
def known_origin(transactional_db):
    from django.contrib.auth.models import User

    yield User.objects.create(username=FRIEND).username
    close_orm_threads()


async def test_receivers_of_its_signal_may_use_the_database(settings, site, known_origin):
    """As its documentation shows: the allowed origins come from a model."""
    from corsheaders.signals import check_request_enabled
    from django.contrib.auth.models import User

    def is_known(sender, request, **kwargs):
        return User.objects.filter(username=request.headers.get("Origin", "")).exists()

    check_request_enabled.connect(is_known)
    try:
        client = await site()
        for half in ("aio", "sync"):
            _, headers, _ = await ask(client, "GET", f"/{half}/", {"Origin": known_origin})
            assert headers["access-control-allow-origin"] == known_origin
            _, headers, _ = await ask(client, "GET", f"/{half}/", {"Origin": STRANGER})
            assert headers == {}
    finally:
        check_request_enabled.disconnect(is_known)


async def test_the_check_no_longer_names_it(settings, site):
    await site()
    assert [m.id for m in check_urlconf() if "corsheaders" in m.msg] == []
