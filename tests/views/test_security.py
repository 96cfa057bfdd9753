"""What the settings for security demand of requests for coroutine views, and of responses."""

import asyncio
import re

import pytest
from aiohttp import WSServerHandshakeError, web
from django.contrib.auth.decorators import login_required
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.test import RequestFactory
from django.urls import clear_url_caches, path
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.csrf import csrf_exempt

from aiodjango import django_request, get_aio_application, get_aio_subapp
from aiodjango.checks import check_urlconf
from aiodjango.views.security import SecurityRules
from tests.support.lifted import lifted
from tests.support.waiting import DEADLINE

SECURITY = "django.middleware.security.SecurityMiddleware"
FRAME_OPTIONS = "django.middleware.clickjacking.XFrameOptionsMiddleware"
CSP = "django.middleware.csp.ContentSecurityPolicyMiddleware"


async def view(request):
    return web.Response(text="answered")


@csrf_exempt
async def exempt_view(request):
    return web.Response(text="answered")


class ClassView(web.View):
    async def post(self):
        return web.Response(text="answered")


class ExemptClassView(ClassView):
    csrf_exempt = True


async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    await ws.close()
    return ws


async def stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"answered")
    return response


async def moved(request):
    raise web.HTTPFound("/x/")


@xframe_options_exempt
async def framable(request):
    return web.Response(text="answered")


PATTERNS = [
    path("x/", view),
    path("exempt/", exempt_view),
    path("class/", ClassView),
    path("exempt-class/", ExemptClassView),
    path("socket/", socket),
    path("stream/", stream),
    path("moved/", moved),
    path("framable/", framable),
]


@pytest.fixture
async def client(aiohttp_client):
    return await aiohttp_client(lifted(*PATTERNS))


async def raw(client, *lines):
    """Send the head of a request as it is, and return the status of the answer."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
    status = await asyncio.wait_for(reader.readline(), DEADLINE)
    writer.close()
    await writer.wait_closed()
    return int(status.split()[1])


# ---- The host ----


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("localhost.", 200),
        ("[::1]:80", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("localhost@evil.example", 400),
        ("local_host", 400),
        ("", 400),
    ],
)
async def test_the_host_has_to_be_allowed(client, host, status):
    for _ in range(2):  # remembered or not
        assert (await client.get("/x/", headers={"Host": host})).status == status
        assert (await client.post("/x/", headers={"Host": host})).status == status


async def test_a_refused_host_is_logged_with_the_setting(client, caplog):
    await client.get("/x/", headers={"Host": "evil.example"})
    (record,) = caplog.records
    assert record.name == "django.security.DisallowedHost"
    assert record.getMessage() == (
        "Invalid HTTP_HOST header: 'evil.example'. "
        "You may need to add 'evil.example' to ALLOWED_HOSTS."
    )


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["GET /x/ HTTP/1.1", "Host: localhost"], 200),
        (["GET http://evil.example/x/ HTTP/1.1", "Host: localhost"], 400),
        (["GET http://localhost/x/ HTTP/1.1", "Host: evil.example"], 200),
        (["GET /x/ HTTP/1.1", "Host: localhost", "Host: evil.example"], 400),
        (["GET /x/ HTTP/1.1", "Host: localhost", "X-Forwarded-Host: evil.example"], 200),
        (["GET /x/ HTTP/1.0"], 200),  # then it's the address of the socket
    ],
)
async def test_the_host_of_odd_requests(client, lines, status):
    assert await raw(client, lines[0], *lines[1:]) == status


async def test_the_host_that_a_proxy_forwards(aiohttp_client, settings):
    settings.USE_X_FORWARDED_HOST = True
    settings.ALLOWED_HOSTS = ["site.example"]
    client = await aiohttp_client(lifted(*PATTERNS))
    for _ in range(2):
        for headers, status in [
            ({"Host": "inside", "X-Forwarded-Host": "site.example"}, 200),
            ({"Host": "site.example", "X-Forwarded-Host": "evil.example"}, 400),
            ({"Host": "site.example"}, 200),
        ]:
            assert (await client.get("/x/", headers=headers)).status == status


@pytest.mark.parametrize(
    ("debug", "allowed", "host", "status"),
    [
        (True, [], "sub.localhost:8000", 200),
        (True, [], "evil.example", 400),
        (False, [], "localhost", 400),
        (False, ["*"], "any.example", 200),
        (False, [".example.com"], "a.b.example.com", 200),
        (False, [".example.com"], "example.com.evil", 400),
    ],
)
async def test_the_hosts_by_the_settings(aiohttp_client, settings, debug, allowed, host, status):
    settings.DEBUG = debug
    settings.ALLOWED_HOSTS = allowed
    client = await aiohttp_client(lifted(*PATTERNS))
    assert (await client.get("/x/", headers={"Host": host})).status == status


async def test_only_so_many_hosts_are_remembered(aiohttp_client, settings):
    settings.ALLOWED_HOSTS = ["*"]
    gate = SecurityRules()
    seen = set()

    async def probe(request):
        seen.add(gate.passes(request))
        gate.examine(request, is_exempt=False)
        seen.add(gate.passes(request))
        return web.Response()

    app = web.Application()
    app.router.add_get("/probe", probe)
    client = await aiohttp_client(app)
    for number in range(1100):
        await client.get("/probe", headers={"Host": f"h{number}.example"})
    assert seen == {False, True}
    assert len(gate._known_hosts) <= 1024


# ---- The origin ----

OWN = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        (OWN, 200),
        ({**OWN, "Origin": "https://localhost:8000"}, 403),  # another scheme
        ({**OWN, "Origin": "http://localhost"}, 403),  # another port
        ({**OWN, "Origin": "http://evil.example"}, 403),
        ({**OWN, "Origin": "http://localhost:8000.evil.example"}, 403),
        ({**OWN, "Origin": "null"}, 403),
        ({**OWN, "Origin": ""}, 403),
        ({**OWN, "Origin": "http://[broken"}, 403),
        ({**OWN, "Origin": "https://trusted.example"}, 200),
        ({**OWN, "Origin": "http://trusted.example"}, 403),
        ({**OWN, "Origin": "https://a.b.wild.example"}, 200),
        ({**OWN, "Origin": "https://wild.example"}, 200),
        ({**OWN, "Origin": "https://evilwild.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({**OWN, "Sec-Fetch-Site": "cross-site"}, 200),  # the Origin says more
    ],
)
async def test_where_unsafe_requests_and_handshakes_may_come_from(
    aiohttp_client, settings, headers, status
):
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example", "https://*.wild.example"]
    client = await aiohttp_client(lifted(*PATTERNS))
    for _ in range(2):
        for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"]:
            assert (await client.request(method, "/x/", headers=headers)).status == status
        assert (await client.post("/class/", headers=headers)).status == status
        assert (await client.get("/x/", headers=headers)).status == 200
        assert (await client.options("/x/", headers=headers)).status == 200
        for url in ["/exempt/", "/exempt-class/"]:
            assert (await client.post(url, headers=headers)).status == 200
        assert await handshake(client, headers) == (101 if status == 200 else status)


@pytest.mark.parametrize("own", [0, 1])
async def test_more_than_one_origin_is_refused(client, own, caplog):
    origins = [("Origin", "http://localhost:8000"), ("Origin", "http://evil.example")]
    headers = [("Host", "localhost:8000"), origins[own], origins[1 - own]]
    assert (await client.post("/x/", headers=headers)).status == 403
    assert "more than one Origin" in caplog.text
    assert await handshake(client, headers) == 403
    twice = [("Host", "localhost:8000"), origins[0], origins[0]]
    assert (await client.post("/x/", headers=twice)).status == 403
    assert (await client.post("/exempt/", headers=twice)).status == 200


async def handshake(client, headers):
    try:
        async with client.ws_connect("/socket/", headers=headers):
            return 101
    except WSServerHandshakeError as error:
        return error.status


async def test_the_rule_is_djangos(settings):
    """The same origins as in Django's own middleware."""
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example", "https://*.wild.example"]
    origins = [
        f"{scheme}://{host}"
        for scheme in ("http", "https", "ws", "")
        for host in (
            "localhost:8000",
            "localhost",
            "trusted.example",
            "a.wild.example",
            "wild.example:1",
            "[::1",
        )
    ]
    middleware = CsrfViewMiddleware(lambda request: HttpResponse())
    seen = set()
    for secure in (False, True):
        for origin in [*origins, "null", "", "//", "http://"]:
            request = RequestFactory().post(
                "/x/", headers={"Host": "localhost:8000", "Origin": origin}, secure=secure
            )
            own = f"{request.scheme}://{request.get_host()}"
            ours = origin == own or SecurityRules()._is_trusted(origin)
            assert ours == middleware._origin_verified(request), origin
            seen.add(ours)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"Origin": "http://evil.example"}, "CSRF_TRUSTED_ORIGINS"),
        ({"Sec-Fetch-Site": "cross-site"}, "@csrf_exempt"),
    ],
)
async def test_a_refused_origin_is_logged_with_the_way_out(client, caplog, headers, text):
    async with client.post("/x/", headers=headers) as response:
        assert "CSRF verification failed" in await response.text()
    (record,) = caplog.records
    assert record.name == "django.security.csrf"
    assert record.getMessage().startswith("Forbidden (Origin checking failed - ")
    assert record.getMessage().endswith(": /x/")
    assert text in record.getMessage()
    assert next(iter(headers.values())) in record.getMessage()


def failure(request, reason=""):
    return HttpResponse(f"ours: {reason}", status=403)


async def test_the_projects_own_failure_view_answers(client, settings):
    settings.CSRF_FAILURE_VIEW = "tests.views.test_security.failure"
    async with client.post("/x/", headers={"Origin": "http://evil.example"}) as response:
        assert (await response.text()).startswith("ours: Origin checking failed")


# ---- The scheme ----


def sync_scheme(request):
    return JsonResponse({"secure": request.is_secure(), "host": request.get_host()})


async def lifted_scheme(request):
    django = django_request(request)
    gate = SecurityRules()
    return web.json_response(
        {"secure": gate.is_secure(request), "host": django.get_host(), "full": django.is_secure()}
    )


SCHEME_URLS = [path("sync/", sync_scheme), path("lifted/", lifted_scheme)]
urlpatterns = SCHEME_URLS


@pytest.mark.parametrize("header", [None, ("HTTP_X_FORWARDED_PROTO", "https"), ("HTTP_X_TLS", "1")])
@pytest.mark.parametrize("trusted", ["127.0.0.1", "10.0.0.1", "*"])
async def test_both_halves_see_the_same_scheme(aiohttp_client, settings, header, trusted):
    settings.ROOT_URLCONF = "tests.views.test_security"
    settings.SECURE_PROXY_SSL_HEADER = header
    app = get_aio_application(get_wsgi_application(), forwarded_allow_ips=trusted)
    client = await aiohttp_client(app)
    seen = set()
    for headers in [
        [],
        [("X-Forwarded-Proto", "https")],
        [("X-Forwarded-Proto", "http")],
        [("X-Forwarded-Proto", "https, http")],
        [("X-Forwarded-Proto", "HTTPS")],
        [("X-Forwarded-Protocol", "ssl")],
        [("X-Forwarded-Ssl", "on")],
        [("X-Forwarded-Ssl", "off")],
        [("X-Tls", "1")],
        [("X-Tls", "0"), ("X-Forwarded-Proto", "https")],
        [("X_Forwarded_Proto", "https")],
    ]:
        async with client.get("/sync/", headers=headers) as response:
            sync = await response.json()
        async with client.get("/lifted/", headers=headers) as response:
            ours = await response.json()
        assert (ours["secure"], ours["host"]) == (sync["secure"], sync["host"]), headers
        assert ours["full"] == sync["secure"]
        seen.add(sync["secure"])
    assert False in seen


async def test_the_origin_by_the_scheme_that_a_proxy_names(aiohttp_client, settings):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    client = await aiohttp_client(lifted(*PATTERNS))
    headers = {"Host": "localhost", "Origin": "https://localhost"}
    assert (await client.post("/x/", headers=headers)).status == 403
    headers["X-Forwarded-Proto"] = "https"
    assert (await client.post("/x/", headers=headers)).status == 200
    assert await handshake(client, headers) == 101


async def test_headers_that_contradict_each_other_are_not_believed(client):
    headers = {
        "Origin": "https://evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Ssl": "off",
    }
    assert (await client.post("/x/", headers=headers)).status == 403


# ---- SecurityMiddleware, X-Frame-Options, CSP ----


@pytest.fixture
def all_installed(settings):
    settings.MIDDLEWARE = [SECURITY, FRAME_OPTIONS]
    settings.SECURE_HSTS_SECONDS = 60
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


EXPECTED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@pytest.mark.parametrize("url", ["/x/", "/stream/", "/moved/", "/class/", "/exempt/"])
async def test_the_headers_are_those_of_djangos_middlewares(aiohttp_client, all_installed, url):
    client = await aiohttp_client(lifted(*PATTERNS))
    response = await client.get(url, allow_redirects=False)
    assert {name: response.headers[name] for name in EXPECTED} == EXPECTED
    assert "Strict-Transport-Security" not in response.headers
    headers = {"X-Forwarded-Proto": "https"}
    response = await client.get(url, headers=headers, allow_redirects=False)
    assert response.headers["Strict-Transport-Security"] == "max-age=60; includeSubDomains"
    assert {name: response.headers.getall(name) for name in EXPECTED} == {
        name: [value] for name, value in EXPECTED.items()
    }


async def test_error_pages_and_refusals_have_them_too(aiohttp_client, all_installed):
    async def broken(request):
        raise ValueError("broken")

    client = await aiohttp_client(lifted(*PATTERNS, path("broken/", broken)))
    for response in [
        await client.get("/broken/"),
        await client.post("/x/", headers={"Origin": "http://evil.example"}),
        await client.get("/x/", headers={"Host": "evil.example"}),
    ]:
        assert response.status >= 400
        assert {name: response.headers[name] for name in EXPECTED} == EXPECTED


async def test_a_views_own_headers_stay(aiohttp_client, all_installed):
    async def own(request):
        return web.Response(headers={"X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "origin"})

    client = await aiohttp_client(lifted(path("x/", own), *PATTERNS[1:]))
    response = await client.get("/x/")
    assert response.headers.getall("X-Frame-Options") == ["SAMEORIGIN"]
    assert response.headers.getall("Referrer-Policy") == ["origin"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    response = await client.get("/framable/")
    assert "X-Frame-Options" not in response.headers
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_websocket_gets_none_of_them(aiohttp_client, all_installed):
    client = await aiohttp_client(lifted(*PATTERNS))
    async with client.ws_connect("/socket/") as ws:
        assert not set(EXPECTED) & set(ws._response.headers)


async def test_without_the_middlewares_there_are_no_headers(client):
    response = await client.get("/x/")
    assert not {*EXPECTED, "Strict-Transport-Security"} & set(response.headers)


class OwnFrameOptions(XFrameOptionsMiddleware):
    """Decides by the request, as the documentation of Django's offers."""

    def get_xframe_options_value(self, request, response):
        return f"ALLOW-FROM {request.path}"


async def test_a_middleware_derived_from_djangos_decides_itself(aiohttp_client, settings):
    settings.MIDDLEWARE = ["tests.views.test_security.OwnFrameOptions"]
    client = await aiohttp_client(lifted(*PATTERNS))
    for url in ["/x/", "/stream/"]:
        assert (await client.get(url)).headers["X-Frame-Options"] == f"ALLOW-FROM {url}"


@pytest.mark.parametrize(
    ("host", "location"),
    [
        (None, "https://localhost:8000/m/x/?a=b%20c"),
        ("other.example", "https://other.example/m/x/?a=b%20c"),
    ],
)
async def test_the_redirection_to_https(aiohttp_client, settings, host, location):
    settings.MIDDLEWARE = [SECURITY]
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_SSL_HOST = host
    settings.SECURE_REDIRECT_EXEMPT = [r"^m/exempt/$"]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    main = web.Application()
    main.add_subapp("/m/", lifted(*PATTERNS))
    client = await aiohttp_client(main)
    headers = {"Host": "localhost:8000"}
    for _ in range(2):
        response = await client.get("/m/x/?a=b%20c", headers=headers, allow_redirects=False)
        assert (response.status, response.headers["Location"]) == (301, location)
        assert (await client.get("/m/exempt/", headers=headers)).status == 200
        assert (
            await client.get("/m/x/", headers={**headers, "X-Forwarded-Proto": "https"})
        ).status == 200


async def test_the_content_security_policy(aiohttp_client, settings):
    csp = pytest.importorskip("django.utils.csp", reason="Django 6 brought it").CSP
    settings.MIDDLEWARE = [CSP]
    settings.SECURE_CSP = {"default-src": [csp.SELF], "script-src": [csp.SELF, csp.NONCE]}
    settings.SECURE_CSP_REPORT_ONLY = {"default-src": [csp.NONE]}

    async def with_nonce(request):
        from django.template.context_processors import csp as context

        nonce = str(context(django_request(request))["csp_nonce"])
        return web.Response(text=nonce)

    client = await aiohttp_client(lifted(*PATTERNS, path("nonce/", with_nonce)))
    for url in ["/x/", "/stream/"]:
        headers = (await client.get(url)).headers
        assert headers["Content-Security-Policy"] == "default-src 'self'; script-src 'self'"
        assert headers["Content-Security-Policy-Report-Only"] == "default-src 'none'"
    async with client.get("/nonce/") as response:
        nonce = await response.text()
        assert nonce
        assert response.headers.getall("Content-Security-Policy") == [
            f"default-src 'self'; script-src 'self' 'nonce-{nonce}'"
        ]


async def test_an_application_completes_its_streams_by_itself(aiohttp_client, all_installed):
    app = get_aio_application(get_wsgi_application(), urlconf=PATTERNS)
    client = await aiohttp_client(app)
    assert (await client.get("/stream/")).headers["X-Frame-Options"] == "DENY"


async def test_routes_alone_complete_their_streams_too(aiohttp_client, all_installed):
    from aiodjango import get_aio_routes

    app = web.Application()
    app.add_routes(get_aio_routes(PATTERNS))
    client = await aiohttp_client(app)
    for url in ["/x/", "/stream/"]:
        assert (await client.get(url)).headers["X-Frame-Options"] == "DENY"


# ---- What the system checks say ----


@pytest.fixture
def checked(settings, monkeypatch):
    """Returns the messages about a list of patterns."""

    def check(*patterns):
        monkeypatch.setitem(globals(), "urlpatterns", list(patterns))
        settings.ROOT_URLCONF = __name__
        clear_url_caches()
        return [(m.id, m.msg, m.hint) for m in check_urlconf()]

    yield check
    clear_url_caches()


def other_middleware(get_response):
    return get_response


class OwnCommonMiddleware(CommonMiddleware):
    pass


def test_bypassed_middlewares_are_named(checked, settings):
    covered = [
        SECURITY,
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        FRAME_OPTIONS,
        f"{__name__}.OwnFrameOptions",
    ]
    settings.MIDDLEWARE = covered
    assert checked(path("x/", view)) == []
    bypassed = [
        f"{__name__}.other_middleware",
        f"{__name__}.OwnCommonMiddleware",
        "django.middleware.gzip.GZipMiddleware",
    ]
    settings.MIDDLEWARE = [*covered, *bypassed]
    messages = checked(path("x/", view))
    for (id_, text, hint), middleware in zip(messages, bypassed, strict=True):
        assert id_ == f"aiodjango.W004.{middleware}"
        assert text == f"Coroutine views bypass the middleware {middleware}."
        assert f"add '{id_}' to SILENCED_SYSTEM_CHECKS" in hint
    assert checked(path("sync/", sync_scheme)) == []


def found_by_check():
    """What `manage.py check` says about middlewares."""
    return [m.id for m in run_checks() if m.id.startswith("aiodjango.W004") and not m.is_silenced()]


def test_each_bypassed_middleware_is_silenced_by_itself(checked, settings):
    gzip = "django.middleware.gzip.GZipMiddleware"
    conditional = "django.middleware.http.ConditionalGetMiddleware"
    settings.MIDDLEWARE = [gzip, conditional]
    checked(path("x/", view))
    assert found_by_check() == [f"aiodjango.W004.{gzip}", f"aiodjango.W004.{conditional}"]
    settings.SILENCED_SYSTEM_CHECKS = [f"aiodjango.W004.{gzip}"]
    assert found_by_check() == [f"aiodjango.W004.{conditional}"]
    settings.SILENCED_SYSTEM_CHECKS = ["aiodjango.W004"]
    assert found_by_check() == []


@pytest.mark.parametrize(
    ("decorator", "way_out"),
    [
        (csrf_exempt, "Instead of @csrf_exempt write `csrf_exempt = True` in class ClassView."),
        (xframe_options_exempt, "Decorate its methods, or use a decorator that returns a class."),
    ],
)
def test_a_decorated_class_is_an_error(checked, decorator, way_out):
    pattern = path("x/", decorator(ClassView))
    ((id_, text, _),) = checked(pattern)
    assert id_ == "aiodjango.E004"
    assert "test_security.ClassView at 'x/' is a web.View class that a decorator has made" in text
    assert text.endswith(way_out)
    for start in (get_aio_subapp, lambda urlconf: get_aio_application(urlconf=urlconf)):
        with pytest.raises(ImproperlyConfigured, match=re.escape(way_out)):
            start([pattern])


def test_djangos_login_required_is_an_error_that_names_ours(checked):
    ((id_, text, hint),) = checked(path("x/", login_required(view)))
    assert id_ == "aiodjango.E003"
    assert "needs an HttpRequest" in text
    assert hint.startswith("Use aiodjango's aio_login_required or aio_permission_required instead")
    assert checked(path("x/", xframe_options_exempt(view))) == []
