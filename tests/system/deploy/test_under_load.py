"""Workers that are replaced while requests keep coming: what a worker has begun, it finishes."""

import asyncio
import json
import signal

from tests.conftest import require
from tests.gateway.client import Client
from tests.support.server import gunicorn, is_alive, serve, until

CLIENTS = 4
PATHS = ["/counted/sync/", "/counted/coroutine/"]


class Load:
    """Clients that ask without a pause, each time over a new connection."""

    def __init__(self, server, folder):
        self.server = server
        self.file = folder / "counted"
        self.answered = []
        self.lost = []
        self.pids = set()
        self._is_over = False

    async def __aenter__(self):
        self._clients = [asyncio.ensure_future(self._client(n)) for n in range(CLIENTS)]
        return self

    async def __aexit__(self, *exc_info):
        self._is_over = True
        await asyncio.gather(*self._clients)

    async def _client(self, first):
        number = first
        while not self._is_over:
            headers = {
                "X-Counted": str(self.file),
                "X-Number": str(number),
                "Connection": "close",
            }
            try:
                async with Client("127.0.0.1", self.server.address) as client:
                    path = PATHS[first % len(PATHS)]
                    answer = await client.request("GET", path, headers=headers)
            except (ConnectionError, asyncio.IncompleteReadError):
                self.lost.append(number)
            else:
                assert (answer.status, answer.complete) == (200, True)
                self.answered.append(number)
                self.pids.add(json.loads(answer.body)["pid"])
            number += CLIENTS

    def check(self):
        """Every request that was begun has been answered, and none was begun twice."""
        begun = [int(line) for line in self.file.read_text().splitlines()]
        assert sorted(begun) == sorted(self.answered)
        # aiohttp closes also connections that it has accepted but not yet read from.
        assert len(self.lost) <= len(begun) / 20


def serve_two(folder, *options):
    require(module="gunicorn")
    return serve([*gunicorn("--workers=2", *options), "--bind=fd://{fd}"], folder / "log")


async def end(server):
    server.process.send_signal(signal.SIGTERM)
    assert await server.wait() == 0
    assert not server.left_behind()
    assert "Traceback" not in server.output()
    assert "ResourceWarning" not in server.output()


async def test_hup(tmp_path):
    with serve_two(tmp_path) as server:
        old = await server.workers(2)
        async with Load(server, tmp_path) as load:
            await until(lambda: load.pids == old)
            server.process.send_signal(signal.SIGHUP)
            await until(lambda: len(load.pids - old) == 2)
            await until(lambda: not any(map(is_alive, old)))
        load.check()
        await end(server)


async def test_max_requests(tmp_path):
    with serve_two(tmp_path, "--max-requests=20", "--preload") as server:
        async with Load(server, tmp_path) as load:
            await until(lambda: len(load.pids) >= 4)
        load.check()
        assert server.output().count("Max requests, shutting down") >= 2
        await end(server)
