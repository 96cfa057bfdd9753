"""The records behind the lines: levels, attributes and sizes."""

import logging
import re
from pathlib import Path

import pytest
from aiohttp import ClientConnectionResetError, web

from aiodjango.dev.log import AccessLogger, ProtocolLogger, log_websocket

from .conftest import eventually


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.all = []

    def emit(self, record):
        self.all.append(record)


@pytest.fixture
def records():
    logger = logging.getLogger("django.server")
    handler = Records()
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    yield handler.all
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture
async def url(records):
    async def answer(request):
        return web.Response(status=int(request.match_info["status"]), body=b"12345")

    async def file(request):
        return web.FileResponse(Path(__file__))

    async def websocket(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        return ws

    app = web.Application()
    app.router.add_route("*", "/{status:\\d+}", answer)
    app.router.add_get("/file", file)
    app.router.add_get("/ws", websocket)
    app.on_response_prepare.append(log_websocket)
    runner = web.AppRunner(
        app,
        access_log_class=AccessLogger,
        access_log=logging.getLogger("django.server"),
        logger=ProtocolLogger(logging.getLogger("aiohttp.server"), {}),
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site.port}"
    await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "level"),
    [
        (200, "INFO"),
        (302, "INFO"),
        (304, "INFO"),
        (404, "WARNING"),
        (418, "WARNING"),
        (503, "ERROR"),
    ],
)
async def test_the_status_gives_level_and_attributes(client, url, records, status, level):
    await client.get(f"{url}/{status}", allow_redirects=False)
    await eventually(lambda: bool(records))
    (record,) = records
    assert record.levelname == level
    assert record.status_code == status
    assert re.fullmatch(r"\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d", record.server_time)
    assert isinstance(record.request, web.Request)
    assert record.getMessage().startswith(f'"GET /{status} HTTP/1.1" {status} ')


async def test_a_file_that_the_kernel_sends_has_its_size(client, url, records):
    await client.get(f"{url}/file")
    await client.head(f"{url}/file")
    await client.get(f"{url}/file", headers={"Range": "bytes=0-9"})
    await eventually(lambda: len(records) == 3)
    size = Path(__file__).stat().st_size
    assert [record.getMessage() for record in records] == [
        f'"GET /file HTTP/1.1" 200 {size}',
        '"HEAD /file HTTP/1.1" 200 0',
        '"GET /file HTTP/1.1" 206 10',
    ]


async def test_a_websocket_has_the_status_of_its_handshake(client, url, records):
    async with client.ws_connect(f"{url}/ws") as ws:
        await ws.close(code=4001)
    await eventually(lambda: len(records) == 2)
    opened, closed = records
    assert opened.status_code == closed.status_code == 101
    assert opened.levelname == closed.levelname == "INFO"
    assert opened.getMessage() == '"GET /ws HTTP/1.1" 101 - WebSocket opened'
    assert re.fullmatch(
        r'"GET /ws HTTP/1\.1" 101 - WebSocket closed \(4001\) after \d\.\d s', closed.getMessage()
    )


async def test_a_target_cannot_forge_lines(client, url, records):
    await client.get(f"{url}/404%0A[now]%20forged")
    await eventually(lambda: bool(records))
    (record,) = records
    assert "\n" not in record.getMessage()
    assert record.getMessage().startswith('"GET /404%0A%5Bnow%5D%20forged HTTP/1.1" 404 ')


class TestProtocolLogger:
    """What aiohttp's server says; the errors of a real connection are in test_serving.py."""

    def test_lets_other_errors_pass(self, caplog):
        error = ValueError("as the test asked")
        ProtocolLogger(logging.getLogger("aiohttp.server"), {}).error("Trouble", exc_info=error)
        assert [record.getMessage() for record in caplog.records] == ["Trouble"]
        assert caplog.records[0].exc_info[1] is error

    def test_says_nothing_of_clients_that_the_end_cuts_off(self, caplog, records):
        protocol_logger = ProtocolLogger(logging.getLogger("aiohttp.server"), {})
        protocol_logger.is_ending = True
        protocol_logger.error("Trouble", exc_info=ClientConnectionResetError())
        assert not caplog.records
        assert not records
