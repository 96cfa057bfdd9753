"""Connections to caches, counted by a real Redis and a real memcached: as many as threads."""

import asyncio
import json
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager

import aiohttp
import pytest

from tests.conftest import require
from tests.orm.conftest import SETTINGS
from tests.support.server import DEADLINE, serve
from tests.support.waiting import wait_until
from tests.system.example.hosts import is_listening, running_redis

THREADS = 4
ORM_THREADS = 3
CLIENTS = 16
REQUESTS = 1000
MOST = THREADS + ORM_THREADS + 2
BACKENDS = "django.core.cache.backends"
MEMCACHED = {"BACKEND": f"{BACKENDS}.memcached.PyMemcacheCache"}
POOLED = {**MEMCACHED, "OPTIONS": {"use_pooling": True}}


class Memcached:
    """A memcached on a unix socket, which can be stopped and started again."""

    def __init__(self, program, path):
        self.path = path
        self.location = f"unix:{path}"
        self._command = [program, "-s", path, "-u", "root"]

    def start(self):
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        wait_until(lambda: is_listening(self.path) or self._process.poll() is not None)
        if self._process.poll() is not None:
            raise RuntimeError("memcached does not start")

    def stop(self):
        self._process.terminate()
        self._process.wait(DEADLINE)

    def made(self):
        """How many connections were made to it so far, those that ask included."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            client.sendall(b"stats\r\nquit\r\n")
            stats = b"".join(iter(lambda: client.recv(65536), b"")).decode()
        return int(stats.partition("total_connections ")[2].split()[0])


@pytest.fixture(scope="module")
def memcached():
    require(module="pymemcache")
    program = require(program="memcached")
    with tempfile.TemporaryDirectory(prefix="aiodjango-") as folder:
        memcached = Memcached(program, f"{folder}/socket")
        memcached.start()
        try:
            yield memcached
        finally:
            memcached.stop()


class Redis:
    """As a Memcached."""

    def __init__(self, redis):
        import redis as library

        self._redis = redis
        self._client = library.Redis.from_url(redis.url)
        self.location = redis.url
        self.start, self.stop = redis.start, redis.stop

    def made(self):
        self._client.connection_pool.disconnect()
        return self._client.info("stats")["total_connections_received"]

    def close(self):
        self._client.close()


@pytest.fixture(scope="module")
def redis():
    require(module="redis")
    with running_redis(require(program="redis-server")) as running:
        redis = Redis(running)
        try:
            yield redis
        finally:
            redis.close()


@contextmanager
def cached_site(folder, **cache):
    settings = {
        "CACHES": {"default": cache},
        "ROOT_URLCONF": "tests.orm.cached_site",
        "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
        "AIO_ORM_THREADS": ORM_THREADS,
    }
    command = ["-m", "tests.orm.cached_site", "{fd}"]
    for argument in settings, {"threads": THREADS}:
        command.append(json.dumps(argument).replace("{", "{{").replace("}", "}}"))
    with serve(command, folder / "log", settings=SETTINGS) as server:
        yield server


async def load(server, *paths, number=REQUESTS):
    """So many requests for each of the paths, by many clients."""
    wanted = iter([path for path in paths for _ in range(number)])
    url = f"http://127.0.0.1:{server.address}"
    timeout = aiohttp.ClientTimeout(2 * DEADLINE)
    async with aiohttp.ClientSession(url, timeout=timeout) as session:

        async def client():
            for path in wanted:
                async with session.get(path) as response:
                    assert response.status == 200, (path, await response.text())

        await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def end(server):
    server.process.send_signal(signal.SIGTERM)
    assert await server.wait() == 0
    # Nothing was left to the garbage collector, which would say so.
    assert server.output() == ""


HALVES = {
    "sync": ["/view/", "/session_view/"],
    "coroutine": ["/aio/", "/aio_session/", "/in_django/"],
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(
    ("service", "cache"),
    [
        ("redis", {"BACKEND": f"{BACKENDS}.redis.RedisCache"}),
        ("redis", {"BACKEND": f"{BACKENDS}.redis.RedisCache", "OPTIONS": {"max_connections": 1}}),
        ("redis", {"BACKEND": "django_redis.cache.RedisCache"}),
        ("memcached", MEMCACHED),
        ("memcached", POOLED),
    ],
    ids=["redis", "small pools", "django-redis", "memcached", "memcached with a pool"],
)
async def test_as_many_as_threads(request, tmp_path, service, cache, half):
    if cache["BACKEND"].startswith("django_redis"):
        require(module="django_redis")
    service = request.getfixturevalue(service)
    with cached_site(tmp_path, **cache, LOCATION=service.location) as server:
        before = service.made()
        await load(server, *HALVES[half])
        # (One of them is of the second question.)
        assert service.made() - before - 1 <= MOST
        await end(server)


@pytest.mark.parametrize("cache", [MEMCACHED, POOLED], ids=["memcached", "with a pool"])
async def test_blocking_calls_on_the_loop_and_calls_in_any_thread(memcached, tmp_path, cache):
    """Not as it should be done, but nothing gets another's answer, and connections are kept."""
    with cached_site(tmp_path, **cache, LOCATION=memcached.location) as server:
        before = memcached.made()
        await load(server, "/direct/", "/in_any_thread/", number=200)
        # As many as the executor of the loop has threads, at most.
        assert memcached.made() - before < 50


@pytest.mark.parametrize(
    ("service", "cache"),
    [
        ("redis", {"BACKEND": f"{BACKENDS}.redis.RedisCache"}),
        ("memcached", MEMCACHED),
        ("memcached", POOLED),
    ],
    ids=["redis", "memcached", "memcached with a pool"],
)
async def test_a_restart_of_the_service_costs_no_request(request, tmp_path, service, cache):
    service = request.getfixturevalue(service)
    with cached_site(tmp_path, **cache, LOCATION=service.location) as server:
        for paths in HALVES.values():
            await load(server, *paths, number=100)
            service.stop()
            service.start()
            # (What they have written is gone; pymemcache may give up a server for a second.)
            await load(server, "/session_view/", "/aio_session/", number=100)
        await end(server)
