"""Pages of real servers at reload and shutdown: told that the server goes away, not all at once."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack

import pytest
from aiohttp import WSCloseCode, WSMsgType

from tests.conftest import require
from tests.support.server import Server, serve
from tests.support.waiting import DEADLINE, LONGER

from .test_processes import COMMAND, SETTINGS, variables

__all__ = ["variables"]

PAGES = 40


@pytest.fixture(params=["aiodjango.worker.GunicornWorker", "aiohttp.GunicornWebWorker"])
def server(request, variables, tmp_path):
    require(module="gunicorn")
    command = [part for part in COMMAND if not part.startswith(("--worker-class", "--workers"))]
    command += [f"--worker-class={request.param}", "--workers=1"]
    # Nothing here waits for its end.
    command += [f"--graceful-timeout={LONGER:.0f}"]
    with serve(command, tmp_path / "log", settings=SETTINGS, variables=variables) as server:
        yield server


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
async def test_pages_are_told_that_the_server_goes_away(server: Server, number):
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(server.client())
        pages = [
            await stack.enter_async_context(client.ws_connect(path))
            for path in ["/bell/", "/watched/"] * (PAGES // 2)
        ]
        old = {(await page.receive_json(timeout=DEADLINE))["pid"] for page in pages}
        stream = await stack.enter_async_context(client.get("/stream/"))
        assert await stream.content.readline() == b"data: 1\n"
        server.process.send_signal(number)
        began = time.monotonic()
        ends = await asyncio.gather(*(end_of(page) for page in pages))
        async with asyncio.timeout(DEADLINE):
            await stream.content.read()
        times = [when - began for when in ends]
        # Not all at once: the page that comes back first is not the last by accident.
        assert max(times) - min(times) > 0.2
        if number == signal.SIGTERM:
            assert await server.wait() == 0
        else:
            async with client.ws_connect("/bell/") as page:
                assert (await page.receive_json(timeout=DEADLINE))["pid"] not in old


async def end_of(page):
    message = await page.receive(timeout=DEADLINE)
    assert message.type is WSMsgType.CLOSE
    assert message.data == WSCloseCode.GOING_AWAY
    return time.monotonic()
