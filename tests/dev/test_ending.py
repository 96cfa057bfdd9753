"""Ctrl-C and SIGTERM end the command at once, whatever is going on; so do its errors."""

import asyncio
import contextlib
import os
import signal
import socket

import aiohttp
import pytest

from tests.conftest import require
from tests.support.waiting import DEADLINE

from .conftest import eventually


@contextlib.asynccontextmanager
async def everything_open(server, url):
    """A WebSocket, a stream, busy views of both kinds, and a connection that says nothing."""
    timeout = aiohttp.ClientTimeout(total=60)
    host, port = url.removeprefix("http://").rsplit(":", 1)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        _, silent = await asyncio.open_connection(host, int(port))
        ws = await session.ws_connect(f"{url}/ws/")
        await ws.send_str("hello")
        assert await ws.receive_str() == "hello"
        stream = await session.get(f"{url}/ticks/")
        assert await stream.content.readline() == b"tick\n"
        busy = asyncio.create_task(session.get(f"{url}/busy/"))
        await server.wait_for("busy begins")
        executor = asyncio.create_task(session.get(f"{url}/busy-executor/"))
        await server.wait_for("executor begins")
        try:
            yield ws
        finally:
            await asyncio.wait([busy, executor], timeout=DEADLINE)
            assert busy.done()
            assert executor.done()
            assert isinstance(busy.exception(), aiohttp.ClientConnectionError)
            assert isinstance(executor.exception(), aiohttp.ClientConnectionError)
            await ws.close()
            stream.close()
            silent.close()


async def ended_at_once(server):
    """Wait for the end of all its processes (the last one closes the output).

    What the views wait for takes longer than the deadline.
    """
    code = await server.ended()
    assert "Traceback" not in server.output
    assert "never retrieved" not in server.output
    assert "Broken pipe" not in server.output
    return code


@pytest.mark.parametrize("arguments", [["--noreload"], []], ids=["noreload", "reload"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_an_idle_server(runserver, arguments, number):
    server = await runserver("127.0.0.1:0", *arguments)
    await server.started()
    send(server, number)
    assert await ended_at_once(server) == 0


@pytest.mark.parametrize("arguments", [["--noreload"], []], ids=["noreload", "reload"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_a_busy_server(runserver, arguments, number):
    server = await runserver("127.0.0.1:0", *arguments)
    url = await server.started()
    async with everything_open(server, url):
        send(server, number)
        assert await ended_at_once(server) == 0


def send(server, number):
    if number == signal.SIGINT:
        server.signal_group(number)  # as the terminal's Ctrl-C
    else:
        server.process.send_signal(number)  # as a process manager's


@pytest.mark.parametrize("arguments", [["--noreload"], []], ids=["noreload", "reload"])
async def test_a_blocked_event_loop_does_not_keep_ctrl_c_waiting(runserver, client, arguments):
    server = await runserver("127.0.0.1:0", *arguments)
    url = await server.started()
    blocked = asyncio.create_task(client.get(f"{url}/blocking/"))
    await server.wait_for("loop blocked")
    server.signal_group(signal.SIGINT)
    assert await ended_at_once(server) == 0
    with pytest.raises(aiohttp.ClientConnectionError, match=r"disconnected|reset|Cannot connect"):
        await blocked


async def test_ctrl_c_typed_at_a_terminal(runserver):
    server = await runserver("127.0.0.1:0", terminal=True, TERM="xterm")
    url = await server.started()
    async with everything_open(server, url):
        server.keyboard.type(b"\x03")
        assert await ended_at_once(server) == 0
    assert "^C" in server.output


async def test_the_application_is_cleaned_up(runserver, project):
    server = await runserver("--noreload", "127.0.0.1:0", DEVSITE_AIO_APPLICATION="devsite.aio.app")
    await server.started()
    diary = project / "devsite" / "diary.txt"
    await eventually(diary.exists)
    server.signal_group(signal.SIGINT)
    assert await ended_at_once(server) == 0
    assert diary.read_text() == "started\nended\n"


@pytest.mark.parametrize("arguments", [["--noreload"], []], ids=["noreload", "reload"])
async def test_a_port_in_use_is_one_line(runserver, arguments):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = await runserver(f"127.0.0.1:{port}", *arguments)
        assert await ended_at_once(server) == 1
    assert server.output.splitlines()[-1] == "Error: That port is already in use."


@pytest.mark.parametrize(
    ("address", "message"),
    [
        # Reserved for documentation (RFC 5737), so no machine has it.
        ("192.0.2.1:8000", "Error: That IP address can't be assigned to."),
        # Reserved never to exist (RFC 6761).
        ("no-such-host.invalid:8000", "Error: [Errno -"),
    ],
)
async def test_an_address_that_cannot_be_had_is_one_line(runserver, address, message):
    server = await runserver("--noreload", address)
    assert await ended_at_once(server) == 1
    assert server.output.splitlines()[-1].startswith(message)


async def test_a_port_that_needs_permission_is_one_line(runserver):
    # Root may listen on any port, unless it gives that right away.
    setpriv = require(program="setpriv")
    under = (setpriv, "--bounding-set=-net_bind_service") if os.getuid() == 0 else ()
    server = await runserver("--noreload", "127.0.0.1:81", under=under)
    assert await ended_at_once(server) == 1
    assert server.output.splitlines()[-1] == (
        "Error: You don't have permission to access that port."
    )
