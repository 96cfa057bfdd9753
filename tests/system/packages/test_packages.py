"""The configurations of docs/packages.rst, each in a running project."""

import asyncio
import gzip
import json
import re
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, ClientTimeout, CookieJar, web
from aiohttp.test_utils import TestServer

from tests.conftest import require
from tests.support.environment import environment
from tests.support.server import DEADLINE, ROOT, serve, until
from tests.system.example.hosts import running_redis

FOLDER = ROOT / "docs" / "packages"


@pytest.fixture
def project(tmp_path):
    """Start the project of a chapter; gives a client of it."""

    @asynccontextmanager
    async def start(package, **values):
        values = {"PACKAGE": package, "PROJECT": str(tmp_path), **values}
        command = ["-m", "tests.system.packages.serve", "{fd}"]
        command += [f"{name}={value}" for name, value in values.items()]
        with serve(command, tmp_path / "log", settings="tests.system.packages.settings") as server:
            # An IP address may set cookies.
            url, jar = f"http://127.0.0.1:{server.address}", CookieJar(unsafe=True)
            timeout = ClientTimeout(DEADLINE)
            async with ClientSession(url, cookie_jar=jar, timeout=timeout) as client:
                client.server = server
                async with client.get("/live/1/") as response:
                    assert await response.json() == {"users": 0}, server.output()
                async with client.ws_connect("/socket/") as ws:
                    await ws.send_str("echo")
                    assert await ws.receive_str() == "echo"
                yield client

    return start


async def get(client, path, **options):
    async with client.get(path, **options) as response:
        assert response.status == 200, await response.text()
        return await response.text()


@pytest.fixture(scope="module")
def redis():
    with running_redis(require(program="redis-server")) as redis:
        yield redis


# ---- Monitoring ----


class Sentry:
    """A Sentry that keeps what it is sent."""

    def __init__(self):
        self.sent = []
        app = web.Application()
        app.router.add_post("/api/1/envelope/", self.receive)
        self.server = TestServer(app)

    async def receive(self, request):
        body = await request.read()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        for line in body.splitlines():
            if b'"transaction":' in line:
                self.sent.append(json.loads(line))
        return web.json_response({})

    def transactions(self):
        return [s["transaction"] for s in self.sent if s.get("type") == "transaction"]

    def errors(self):
        return [
            (s["transaction"], value["type"])
            for s in self.sent
            for value in (s.get("exception") or {}).get("values", ())
        ]


async def test_sentry(project):
    require(module="sentry_sdk")
    sentry = Sentry()
    async with sentry.server as server:
        dsn = f"http://key@127.0.0.1:{server.port}/1"
        async with project("sentry", SENTRY_DSN=dsn) as client:
            await get(client, "/page/1/")
            for path in ("/broken/", "/live/broken/"):
                async with client.get(path) as response:
                    assert response.status == 500
            names = ["/page/{pk}/", "/broken/", "tests.system.packages.urls.live_broken"]
            await until(lambda: {*names} <= {*sentry.transactions()})
            await until(lambda: len(sentry.errors()) == 2)
            assert sorted(sentry.errors()) == [
                ("/broken/", "KeyError"),
                ("tests.system.packages.urls.live_broken", "ValueError"),
            ]
            assert [t for t in sentry.transactions() if "aiodjango" in t] == []
            assert sentry.transactions().count("/page/{pk}/") == 1


async def test_opentelemetry(project):
    require(module="opentelemetry")
    require(module="opentelemetry.sdk")
    require(module="opentelemetry.instrumentation")
    require(module="opentelemetry.instrumentation.aiohttp_server")
    require(module="opentelemetry.instrumentation.django")
    async with project("opentelemetry") as client:
        await get(client, "/")
        await get(client, "/page/1/")
        await get(client, "/live/1/")
        lines = client.server.output().splitlines()
    spans = [json.loads(line) for line in lines if line.startswith('{"name"')]
    by_id = {span["context"]["span_id"]: span for span in spans}
    outer = [span["name"] for span in spans if not span["parent_id"]]
    assert outer[-3:] == ["GET /{django}", "GET /{django}", "GET /live/{pk}/"]
    (page,) = [span for span in spans if span["name"] == "GET page/<int:pk>/"]
    assert by_id[page["parent_id"]]["name"] == "GET /{django}"


async def test_prometheus(project):
    require(module="django_prometheus")
    async with project("prometheus") as client:
        await get(client, "/page/1/")
        metrics = await get(client, "/metrics")
    assert re.search(
        r'^aiohttp_seconds_count\{method="GET",path="/live/\{pk\}/"\} 1', metrics, re.M
    )
    assert 'aiohttp_seconds_count{method="GET",path="/{django}"} 1.0' in metrics
    assert "aiodjango_pending 0.0" in metrics
    assert re.search(
        r'^django_http_responses_total_by_status_total\{status="200"\} 1', metrics, re.M
    )


# ---- In the browser ----


async def test_cors(project):
    require(module="corsheaders")
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    async with project("cors") as client:
        for path in ("/page/1/", "/live/1/"):
            async with client.options(path, headers=headers) as response:
                assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
        async with client.ws_connect("/socket/", origin="https://app.example") as ws:
            assert not ws.closed


async def test_debug_toolbar(project):
    require(module="debug_toolbar")
    async with project("toolbar") as client:
        assert "djDebug" in await get(client, "/page/1/")
        async with client.get("/live/broken/") as response:
            assert response.status == 500
            assert "ValueError" in await response.text()


async def test_whitenoise(project):
    require(module="whitenoise")
    async with project("whitenoise") as client:
        assert "body" in await get(client, "/static/admin/css/base.css")


# ---- Views ----


async def test_django_rest_framework(project):
    require(module="rest_framework")
    require(module="adrf")
    async with project("drf") as client:
        assert json.loads(await get(client, "/api/rooms/")) == ["kitchen"]
        async with client.post("/api/echo/", json={"a": [1]}) as response:
            assert await response.json() == {"a": [1]}


async def test_ninja(project):
    require(module="ninja")
    async with project("ninja") as client:
        assert json.loads(await get(client, "/api/add?a=1&b=2")) == {"sum": 3}
        assert json.loads(await get(client, "/api/openapi.json"))["openapi"]


async def test_strawberry(project):
    require(module="strawberry")
    async with (
        project("strawberry") as client,
        client.post("/graphql/", json={"query": "{ greeting }"}) as response,
    ):
        assert (await response.json())["data"] == {"greeting": "hello"}


async def test_allauth(project):
    require(module="allauth")
    async with project("allauth") as client:
        assert json.loads(await get(client, "/whoami/")) == {"user": ""}
        form = await get(client, "/accounts/signup/")
        fields = {
            "csrfmiddlewaretoken": re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)[1],
            "username": "ann",
            "email": "ann@example.com",
            "password1": "a long secret",
            "password2": "a long secret",
        }
        async with client.post("/accounts/signup/", data=fields, allow_redirects=False) as response:
            assert response.status == 302, await response.text()
        assert json.loads(await get(client, "/whoami/")) == {"user": "ann"}


async def test_axes(project):
    require(module="axes")
    async with project("axes") as client:
        form = {"username": "ann", "password": "wrong"}
        statuses = []
        for _ in range(4):
            async with client.post("/log-in/", data=form) as response:
                statuses.append(response.status)
        assert statuses == [403, 403, 429, 429]
        # Both halves count together.
        page = await get(client, "/admin/login/")
        form["csrfmiddlewaretoken"] = re.search(r'middlewaretoken" value="(\w+)"', page)[1]
        async with client.post("/admin/login/", data=form) as response:
            assert response.status == 429


# ---- Behind the views ----


async def test_django_redis(project, redis):
    require(module="django_redis")
    async with project("redis", REDIS_URL=redis.url) as client:
        await get(client, "/write/hello/")
        assert await get(client, "/read/") == "hello"


async def test_celery(project, redis, tmp_path):
    require(module="celery")
    require(module="redis")
    url = redis.url.replace("unix://", "redis+socket://")
    log = tmp_path / "worker"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool=solo"],
            cwd=FOLDER / "celery",
            env=environment(REDIS_URL=url),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        async with project("celery", REDIS_URL=url) as client:
            for start in ("start", "start-live"):
                task = json.loads(await get(client, f"/{start}/1/2/"))["task"]
                assert json.loads(await get(client, f"/result/{task}/")) == {"value": 3}
    finally:
        worker.terminate()
        await asyncio.to_thread(worker.wait, DEADLINE)
        print(log.read_text())
