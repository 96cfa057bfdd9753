"""What becomes of requests, streams and waiting coroutines when their worker is told to end.

At TERM gunicorn's master kills the workers as soon as the grace time is over. A worker that HUP has
replaced ends by itself: what it does when its time is over is seen there.
"""

import asyncio
import signal
from contextlib import contextmanager

import pytest

from tests.conftest import require
from tests.gateway.client import Client
from tests.support.server import DEADLINE, gunicorn, is_alive, serve, until
from tests.support.waiting import LONGER

THREADS = 8  # the default
LOST = r"bytes read|reset"
CUT_OFF = (ConnectionError, asyncio.IncompleteReadError)


class Site:
    """A gunicorn with one worker, and requests to it."""

    def __init__(self, server, folder):
        self.server = server
        self._folder = folder

    def client(self):
        return Client("127.0.0.1", self.server.address)

    def file(self, name):
        """By which a view tells that it has started or ended."""
        return self._folder / name

    async def send(self, client, path):
        name = path.strip("/").replace("/", " ")
        headers = {
            "Host": "localhost",
            "X-Started": self.file(f"{name} started"),
            "X-Ended": self.file(f"{name} ended"),
        }
        lines = [f"GET {path} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
        await client.send("\r\n".join([*lines, "", ""]).encode())

    async def ask(self, path):
        async with self.client() as client:
            await self.send(client, path)
            return await client.answer()

    def ask_often(self, number, path):
        return [asyncio.ensure_future(self.ask(path)) for _ in range(number)]

    async def figures(self, **expected):
        figures = {}
        async with asyncio.timeout(DEADLINE), self.server.client() as client:
            while figures != expected:
                async with client.get("/figures/") as response:
                    figures = await response.json()

    async def term(self):
        """End gunicorn."""
        self.server.process.send_signal(signal.SIGTERM)
        assert await self.server.wait() == 0

    def check_silence(self):
        assert "Traceback" not in self.server.output()
        assert "ResourceWarning" not in self.server.output()


@pytest.fixture
def start(tmp_path):
    """Start gunicorn with such a grace time, in seconds."""
    require(module="gunicorn")

    @contextmanager
    def start(grace):
        command = [*gunicorn("--workers=1", f"--graceful-timeout={grace}"), "--bind=fd://{fd}"]
        with serve(command, tmp_path / "log") as server:
            yield Site(server, tmp_path)

    return start


async def test_requests_in_the_queue_are_answered(start):
    with start(grace=int(LONGER)) as site:
        requests = site.ask_often(THREADS + 4, "/sleep/0.5/")
        await site.figures(busy=THREADS, pending=4)
        await site.term()
        answers = await asyncio.gather(*requests)
        assert {(answer.status, answer.text) for answer in answers} == {(200, "finished")}
        assert not site.server.left_behind()
        site.check_silence()


async def test_requests_in_the_queue_hang_nobody_when_the_time_is_short(start):
    with start(grace=1) as site:
        requests = site.ask_often(THREADS + 4, f"/sleep/{LONGER}/")
        await site.figures(busy=THREADS, pending=4)
        await site.term()
        for request in requests:
            with pytest.raises(CUT_OFF, match=LOST):
                await request


async def test_a_stream_ends_at_its_next_part(start):
    with start(grace=int(LONGER)) as site:
        async with site.client() as client:
            await site.send(client, "/stream/")
            assert (await client.head())[0] == 200
            assert await client.chunk() == b"part\n"
            await site.term()
            assert site.file("stream ended").exists()
            with pytest.raises(CUT_OFF, match=LOST):
                await read_to_the_end(client)
        assert not site.server.left_behind()
        site.check_silence()


async def test_threads_do_not_delay_the_end(start):
    """Those that wait for coroutines return, the others are left behind, the queue is dropped."""
    with start(grace=1) as site:
        (pid,) = await site.server.workers()
        requests = site.ask_often(1, "/wait/1/")
        async with site.client() as client:
            await site.send(client, "/wait/2/")
            await until(site.file("wait 2 started").exists)
        await until(site.file("wait 1 started").exists)
        requests += site.ask_often(THREADS - 2 + 4, f"/sleep/{LONGER}/")
        await site.figures(busy=THREADS, pending=4)
        site.server.process.send_signal(signal.SIGHUP)
        await until(lambda: not is_alive(pid))
        for request in requests:
            with pytest.raises(CUT_OFF, match=LOST):
                await request
        assert site.file("wait 1 ended").exists()
        assert site.file("wait 2 ended").exists()
        assert "6 worker threads are still busy: left behind" in site.server.output()
        site.check_silence()
        await site.server.workers(old={pid})


async def read_to_the_end(client):
    while await client.chunk():
        pass
