"""A site behind nginx: both halves judge alike who the client is and what it asked for."""

import asyncio
import re
import socket
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application
from tests.conftest import require
from tests.support.nginx import Front, running_nginx
from tests.support.server import DEADLINE, ROOT, gunicorn, serve_unix
from tests.system.deploy.project import behind_proxy

HOST = "www.example.com"

DOCUMENTED = "http://unix:/run/example.sock:"


def documented_location():
    """The part of nginx's configuration that the documentation gives."""
    page = (ROOT / "docs" / "deployment.rst").read_text()
    (location,) = re.findall(r"^ +location / \{\n[^}]*\}\n", page, re.MULTILINE)
    assert DOCUMENTED in location
    return location


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """An nginx in front of a unix socket and of a TCP socket, where the tests run their servers."""
    folder = tmp_path_factory.mktemp("nginx")
    path = folder / "site.sock"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstreams = {
            "unix": f"http://unix:{path}:",
            "tcp": f"http://127.0.0.1:{listener.getsockname()[1]}",
        }
        location = documented_location()
        fronts = {}
        for kind, upstream in upstreams.items():
            config = location.replace(DOCUMENTED, upstream)
            fronts[f"http {kind}"] = Front(config)
            fronts[f"https {kind}"] = Front(config, tls=True)
        config = location.replace(DOCUMENTED, upstreams["unix"]).replace(
            "proxy_set_header Host $http_host;",
            "proxy_set_header Host inside; proxy_set_header X-Forwarded-Host $http_host;",
        )
        fronts["https renaming"] = Front(config, tls=True)
        fronts["http bare"] = Front(f"location / {{ proxy_pass {upstreams['unix']}; }}")
        with running_nginx(folder, fronts) as nginx:
            yield SimpleNamespace(nginx=nginx, path=str(path), listener=listener)


@pytest.fixture(autouse=True)
def no_setting_from_outside(monkeypatch):
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)


@pytest.fixture(autouse=True)
def site_settings(settings):
    settings.ROOT_URLCONF = behind_proxy.ROOT_URLCONF
    settings.ALLOWED_HOSTS = behind_proxy.ALLOWED_HOSTS


@asynccontextmanager
async def serving(proxy, *, prefix="", **options):
    """A site on both sockets."""
    app = get_aio_application(get_wsgi_application(), **options)
    if prefix:
        main = web.Application()
        main.add_subapp(prefix, app)
        app = main
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, proxy.path).start()
        await web.SockSite(runner, proxy.listener.dup()).start()
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
async def client(proxy):
    connector = aiohttp.TCPConnector(ssl=proxy.nginx.tls)
    timeout = aiohttp.ClientTimeout(DEADLINE)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


async def both(client, url, method="GET", **headers):
    """The answer of the lifted half and the sync one, which have to be the same.

    Its status, and the facts, or the Location of a redirection.
    """
    answers = []
    for half in ["lifted", "sync"]:
        async with client.request(
            method, f"{url}/{half}/", headers={"Host": HOST, **headers}, allow_redirects=False
        ) as response:
            told = response.headers.get("Location")
            if told is not None:
                told = told.replace(half, "HALF")
            elif response.status == 200 and (told := await response.json()):
                told["here"] = told["here"].replace(half, "HALF")
            answers.append((response.status, told))
    assert answers[0] == answers[1]
    return answers[0]


def expected(scheme, remote, prefix=""):
    return {
        "scheme": scheme,
        "is_secure": scheme == "https",
        "host": HOST,
        "here": f"{scheme}://{HOST}{prefix}/HALF/",
        "there": f"{scheme}://{HOST}{prefix}/sync/?a=b",
        "remote": remote,
        "forwarded": "127.0.0.1",
    }


def trust(settings, by_django):
    """Have the scheme believed by Django's setting alone, or by who the peer is."""
    if not by_django:
        return {}
    settings.SECURE_PROXY_SSL_HEADER = behind_proxy.SECURE_PROXY_SSL_HEADER
    return {"forwarded_allow_ips": "10.0.0.1"}


REMOTE = {"unix": "", "tcp": "127.0.0.1"}
SCHEMES = pytest.mark.parametrize("scheme", ["http", "https"])
UPSTREAMS = pytest.mark.parametrize("upstream", ["unix", "tcp"])
BY_DJANGO = pytest.mark.parametrize("by_django", [False, True], ids=["by peer", "by setting"])


@SCHEMES
@UPSTREAMS
@BY_DJANGO
@pytest.mark.parametrize("prefix", ["", "/site"])
async def test_scheme_and_host(proxy, client, settings, scheme, upstream, by_django, prefix):
    options = trust(settings, by_django)
    async with serving(proxy, prefix=prefix, **options):
        url = proxy.nginx.url(f"{scheme} {upstream}")
        status, told = await both(client, url + prefix)
        # A client's own header doesn't get through.
        assert await both(client, url + prefix, **{"X-Forwarded-Proto": "https"}) == (status, told)
    told.pop("port")
    assert (status, told) == (200, expected(scheme, REMOTE[upstream], prefix))


@UPSTREAMS
async def test_an_untrusted_peer_names_no_scheme(proxy, client, settings, upstream):
    """The peers of a unix socket always may."""
    url = proxy.nginx.url(f"https {upstream}")
    scheme = "https" if upstream == "unix" else "http"
    async with serving(proxy, forwarded_allow_ips="10.0.0.1"):
        _, told = await both(client, url)
        assert told["scheme"] == scheme
        # Then the origin by that scheme is not the site's own either.
        status, _ = await both(client, url, "POST", **form(f"https://{HOST}"))
        assert status == (200 if scheme == "https" else 403)
    # Django's setting doesn't ask who the peer is.
    settings.SECURE_PROXY_SSL_HEADER = behind_proxy.SECURE_PROXY_SSL_HEADER
    async with serving(proxy, forwarded_allow_ips="10.0.0.1"):
        _, told = await both(client, url)
        assert told["scheme"] == "https"


async def test_a_client_that_goes_round_the_proxy(proxy, client):
    address, port = proxy.listener.getsockname()
    async with serving(proxy, forwarded_allow_ips="10.0.0.1"):
        _, told = await both(client, f"http://{address}:{port}", **{"X-Forwarded-Proto": "https"})
    assert told["scheme"] == "http"


async def test_the_host_that_the_proxy_forwards(proxy, client, settings):
    url = proxy.nginx.url("https renaming")
    async with serving(proxy):
        assert await both(client, url) == (400, None)  # it's called "inside"
    settings.USE_X_FORWARDED_HOST = True
    async with serving(proxy):
        status, told = await both(client, url)
        told.pop("port")
        assert (status, told) == (200, expected("https", ""))
        for page in [url, f"{url}/quiet"]:
            assert (await both(client, page))[0] == 200
            assert await both(client, page, Host="evil.example") == (400, None)
        assert (await both(client, url, "POST", **form(f"https://{HOST}")))[0] == 200
        assert (await both(client, url, "POST", **form("https://inside")))[0] == 403


@SCHEMES
@UPSTREAMS
async def test_the_host_has_to_be_allowed(proxy, client, scheme, upstream):
    url = proxy.nginx.url(f"{scheme} {upstream}")
    async with serving(proxy):
        for host in ["evil.example", f"{HOST}.evil.example", "inside"]:
            for page in [url, f"{url}/quiet"]:
                assert await both(client, page, Host=host) == (400, None)
        status, told = await both(client, url, Host=f"{HOST}:8443")
        assert (status, told["host"]) == (200, f"{HOST}:8443")
        assert told["here"] == f"{scheme}://{HOST}:8443/HALF/"


async def test_an_nginx_that_forwards_nothing(proxy, client, settings):
    """It speaks HTTP/1.0 then, and calls the server by its own name for it."""
    settings.ALLOWED_HOSTS = ["localhost"]
    async with serving(proxy):
        status, told = await both(client, proxy.nginx.url("http bare"))
    assert (status, told["scheme"], told["host"]) == (200, "http", "localhost")


def form(origin):
    """What a browser sends with a form; Django's half asks for a token besides."""
    token = "t" * 32
    return {"Origin": origin, "Cookie": f"csrftoken={token}", "X-CSRFToken": token}


@SCHEMES
@UPSTREAMS
@BY_DJANGO
async def test_the_origin(proxy, client, settings, scheme, upstream, by_django):
    options = trust(settings, by_django)
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example"]
    other = "http" if scheme == "https" else "https"
    url = proxy.nginx.url(f"{scheme} {upstream}")
    async with serving(proxy, **options):
        for origin, status in [
            (f"{scheme}://{HOST}", 200),
            (f"{other}://{HOST}", 403),
            ("https://trusted.example", 200),
            ("https://evil.example", 403),
            ("null", 403),
        ]:
            assert (await both(client, url, "POST", **form(origin)))[0] == status, origin


@UPSTREAMS
@BY_DJANGO
@pytest.mark.parametrize("prefix", ["", "/site"])
async def test_the_redirection_to_https(proxy, client, settings, upstream, by_django, prefix):
    settings.MIDDLEWARE = behind_proxy.MIDDLEWARE
    settings.SECURE_SSL_REDIRECT = True
    options = trust(settings, by_django)
    async with serving(proxy, prefix=prefix, **options):
        http, https = (proxy.nginx.url(f"{scheme} {upstream}") for scheme in ("http", "https"))
        location = f"https://{HOST}{prefix}/HALF/"
        assert await both(client, http + prefix) == (301, location)
        assert await both(client, http + prefix, **{"X-Forwarded-Proto": "https"}) == (
            301,
            location,
        )
        status, told = await both(client, https + prefix)
    assert (status, told["here"]) == (200, location)


@SCHEMES
@UPSTREAMS
@pytest.mark.parametrize("prefix", ["", "/site"])
async def test_websocket(proxy, client, scheme, upstream, prefix):
    url = f"{proxy.nginx.url(f'{scheme} {upstream}')}{prefix}/socket/"
    other = "http" if scheme == "https" else "https"
    async with serving(proxy, prefix=prefix):
        headers = {"Host": HOST, "Origin": f"{scheme}://{HOST}"}
        async with client.ws_connect(url, headers=headers) as ws:
            told = await ws.receive_json(timeout=DEADLINE)
            assert (told["scheme"], told["host"]) == (scheme, HOST)
            assert told["there"] == f"{scheme}://{HOST}{prefix}/sync/?a=b"
            await ws.send_str("hello")
            assert await ws.receive_str(timeout=DEADLINE) == "hello"
        for headers["Origin"] in [f"{other}://{HOST}", "https://evil.example"]:
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await client.ws_connect(url, headers=headers)


async def test_gunicorn_on_a_unix_socket(proxy, client, tmp_path):
    """As a site is deployed: with all of it in its settings."""
    require(module="gunicorn")
    settings = behind_proxy.__name__
    command = [*gunicorn("--workers=1"), f"--bind=unix:{proxy.path}"]
    with serve_unix(command, proxy.path, tmp_path / "log", settings=settings) as server:
        for front in ["https unix", "https renaming"]:
            status, told = await both(client, proxy.nginx.url(front))
            told.pop("port")
            assert (status, told) == (200, expected("https", ""))
            assert await both(client, proxy.nginx.url(front), Host="evil.example") == (400, None)
        assert await both(client, proxy.nginx.url("http unix")) == (301, f"https://{HOST}/HALF/")
        url = f"{proxy.nginx.url('https unix')}/socket/"
        headers = {"Host": HOST, "Origin": f"https://{HOST}"}
        async with client.ws_connect(url, headers=headers) as ws:
            assert (await ws.receive_json(timeout=DEADLINE))["is_secure"]
        server.process.terminate()
        assert await asyncio.to_thread(server.process.wait, DEADLINE) == 0
        assert "Traceback" not in server.output()
