"""`gunicorn --preload` of a site that uses its databases and caches while it is imported."""

import asyncio
import json
import subprocess
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import pytest

from aiodjango.runtime.interpreter import has_gil
from tests.conftest import require
from tests.support.server import DEADLINE, serve
from tests.support.waiting import wait_until
from tests.system.example.hosts import is_listening, running_redis

REQUESTS = 100
CONFIG = """
import os
os.environ["TEST_SETTINGS"] = {settings!r}

def post_worker_init(worker):
    from tests.orm import preloaded
    preloaded.use_in_worker()
"""


@contextmanager
def running_memcached():
    """Run memcached on a unix socket; yield its address, as CACHES takes it."""
    program = require(program="memcached")
    with tempfile.TemporaryDirectory(prefix="aiodjango-memcached-") as folder:
        path = str(Path(folder) / "socket")
        process = subprocess.Popen([program, "-s", path, "-u", "root"], stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: is_listening(path) or process.poll() is not None)
            assert process.poll() is None, "memcached does not start"
            yield f"unix:{path}"
        finally:
            process.terminate()
            process.wait(DEADLINE)


@pytest.fixture(params=["local memory", "redis", "memcached"])
def caches(request):
    """The setting CACHES, for each kind of cache in turn."""
    if request.param == "local memory":
        yield {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    elif request.param == "redis":
        require(module="redis")
        with running_redis(require(program="redis-server")) as redis:
            backend = "django.core.cache.backends.redis.RedisCache"
            yield {"default": {"BACKEND": backend, "LOCATION": redis.url}}
    else:
        require(module="pymemcache")
        with running_memcached() as address:
            backend = "django.core.cache.backends.memcached.PyMemcacheCache"
            yield {"default": {"BACKEND": backend, "LOCATION": address}}


@contextmanager
def preloaded(folder, database, caches):
    require(module="gunicorn")
    settings = {
        "DATABASES": {"default": database},
        "CACHES": caches,
        "ROOT_URLCONF": "tests.orm.preloaded",
    }
    config = folder / "gunicorn_config.py"
    config.write_text(CONFIG.format(settings=json.dumps(settings)))
    command = ["-m", "gunicorn", "tests.orm.preloaded:app", "--preload", "--workers=2"]
    command += ["--worker-class=aiohttp.GunicornWebWorker", "--no-control-socket"]
    command += [f"--config={config}", "--bind=fd://{fd}"]
    with serve(command, folder / "log", settings="tests.orm.project.settings") as server:
        yield server
        server.process.terminate()
        server.process.wait(DEADLINE)
        assert "deleted while still open" not in server.output()
        # Without a GIL psycopg's pool fails in its finalizer, at the end of the interpreter.
        known = 0 if has_gil() else server.output().count("<function ConnectionPool.__del__")
        assert server.output().count("Traceback") == known


POOL = {"OPTIONS": {"pool": {"min_size": 2, "max_size": 20}}}


@pytest.mark.parametrize(
    "settings", [POOL, {"CONN_MAX_AGE": None}, {"CONN_MAX_AGE": 0}], ids=["pool", "kept", "closed"]
)
async def test_workers_share_no_connection_with_the_process_that_loaded_the_site(
    tmp_path, postgres, settings
):
    caches = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    with preloaded(tmp_path, postgres.database(**settings), caches) as server:
        await check(server, postgres)


async def test_nor_a_cache(tmp_path, postgres, caches):
    with preloaded(tmp_path, postgres.database(CONN_MAX_AGE=None), caches) as server:
        await check(server, postgres)


async def check(server, postgres):
    async def ask(client, number):
        half = "sync" if number % 2 else "aio"
        async with client.get(f"/{half}/value-{number}/") as response:
            assert response.status == 200, await response.text()
            facts = await response.json()
        assert facts["cached"] == f"value-{number}"
        return facts

    backends = defaultdict(list)
    pids = await server.workers(2)
    asked = 0
    while asked < REQUESTS or len(backends) < 2:
        async with server.client() as client:  # connects anew: which worker answers is open
            answers = await asyncio.gather(*(ask(client, n) for n in range(REQUESTS // 2)))
        asked += len(answers)
        for facts in answers:
            backends[facts["pid"]] += [facts["backend"], facts["in_worker"]]
    assert set(backends) == pids
    backends[facts["imported"]] = [facts["before"]]
    for pid, own in backends.items():
        others = {backend for other in backends.keys() - {pid} for backend in backends[other]}
        assert others.isdisjoint(own)
    # What the first process has open the workers have not closed.
    assert not facts["before_is_kept"] or facts["before"] in postgres.backends()
