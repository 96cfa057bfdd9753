"""Clients of a deployed site that end their sending, that leave, and that are late with a body."""

import signal
import socket
import sys

import pytest

from tests.conftest import require
from tests.gateway.client import Client
from tests.support.server import gunicorn, serve, until

OURS = ["aiodjango.worker.GunicornWorker", "aiodjango.worker.GunicornUVLoopWorker"]
AIOHTTPS = "aiohttp.GunicornWebWorker"
BOUNDARY = "boundary"
FORM = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    f"content\r\n--{BOUNDARY}--\r\n"
).encode()


@pytest.fixture
def start(tmp_path):
    require(module="gunicorn")

    def start(worker):
        if "UVLoop" in worker:
            require(module="uvloop")
        options = ["--workers=1", "--access-logfile=-"]
        command = [*gunicorn(*options, worker=worker), "--bind=fd://{fd}"]
        return serve(command, tmp_path / "log")

    return start


def client_of(server):
    return Client("127.0.0.1", server.address)


def head(method, path, extra=""):
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n".encode()


@pytest.mark.parametrize("path", ["/sync/1/", "/coroutine/1/"])
@pytest.mark.parametrize("worker", OURS)
async def test_the_end_of_sending(start, worker, path):
    with start(worker) as server:
        await server.workers()
        async with client_of(server) as client:
            client.writer.write(head("GET", path))
            client.end_sending()
            assert (await client.answer()).status == 200
            assert await client.at_end()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the end is there before the handler")
async def test_the_end_of_sending_under_aiohttps_worker(start):
    with start(AIOHTTPS) as server:
        await server.workers()
        async with client_of(server) as client:
            client.writer.write(head("GET", "/sync/1/"))
            client.end_sending()
            assert (await client.answer()).status == 200
            assert await client.at_end()


@pytest.mark.parametrize("leave", ["close", "abort"])
@pytest.mark.parametrize(
    ("worker", "kind"),
    [*[(worker, kind) for worker in OURS for kind in ("sync", "coroutine")], (AIOHTTPS, "sync")],
)
async def test_the_access_log_says_who_left(start, tmp_path, worker, kind, leave):
    with start(worker) as server:
        await server.workers()
        started = tmp_path / "started"
        async with client_of(server) as client:
            await client.send(head("GET", f"/slow/{kind}/", f"X-Started: {started}\r\n"))
            await until(started.exists)
            if leave == "abort":
                client.abort()
        await until(lambda: f'"GET /slow/{kind}/ HTTP/1.1" ' in server.output())
        assert f'"GET /slow/{kind}/ HTTP/1.1" 499 ' in server.output()


@pytest.mark.parametrize(("worker", "status"), [*[(each, 200) for each in OURS], (AIOHTTPS, 503)])
async def test_an_upload_under_way_at_the_end(start, worker, status):
    with start(worker) as server:
        await server.workers()
        async with client_of(server) as client:
            extra = (
                f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
                f"Content-Length: {len(FORM)}\r\n"
            )
            await client.send(head("POST", "/upload/", extra) + FORM[:20])
            server.process.send_signal(signal.SIGTERM)
            await until(lambda: is_refused(server))
            if status == 200:
                await client.send(FORM[20:])
            assert (await client.answer()).status == status
            assert await client.at_end()
        assert await server.wait() == 0
        assert "Traceback" not in server.output()


def is_refused(server):
    """Whether the server accepts no connections any more."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.address)) != 0
