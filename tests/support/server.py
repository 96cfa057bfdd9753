"""Real servers as subprocesses, on a socket that the test made: no port is ever guessed."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from tests.conftest import LAST_WORDS
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE, LONGER, wait_until
from tests.support.waiting import until as until

# A server says when it loses something; gunicorn does lose a socket when it is given one by number.
WARNINGS = ["-Wdefault::ResourceWarning", "-Wignore::ResourceWarning:gunicorn.arbiter"]
PROJECT = "tests.system.deploy.project"


def gunicorn(*options: str, worker: str = "aiodjango.worker.GunicornWorker") -> list[str]:
    """The command for gunicorn with aiohttp's worker, less the address.

    What is to end before the grace time is over ends before a test's deadline.
    """
    return [
        "-m",
        "gunicorn",
        f"{PROJECT}.wsgi:app",
        f"--worker-class={worker}",
        f"--graceful-timeout={LONGER:.0f}",
        "--no-control-socket",
        *options,
    ]


class Server:
    """A server in a session of its own, so that whatever it leaves behind can be found."""

    def __init__(self, process: subprocess.Popen[bytes], address: str | int, log: Path) -> None:
        self.process = process
        self.address = address
        self.log = log

    def client(self) -> aiohttp.ClientSession:
        connector: aiohttp.BaseConnector
        if isinstance(self.address, str):
            url, connector = URL("http://localhost"), aiohttp.UnixConnector(self.address)
        else:
            url, connector = URL(f"http://127.0.0.1:{self.address}"), aiohttp.TCPConnector()
        timeout = aiohttp.ClientTimeout(DEADLINE)
        return aiohttp.ClientSession(url, connector=connector, timeout=timeout)

    async def workers(self, number: int = 1, *, old: Set[int] = frozenset()) -> set[int]:
        """Wait until so many workers that aren't old ones have answered; return their pids.

        A worker that is still starting would miss a signal. Which worker gets a connection is the
        kernel's choice, so this connects until all have had one.
        """
        pids: set[int] = set()
        async with asyncio.timeout(DEADLINE):
            while len(pids) < number:
                async with self.client() as client, client.get("/sync/1/") as response:
                    pids |= {(await response.json())["pid"]} - old
        return pids

    async def wait(self) -> int:
        """Wait until the server has ended; return its exit code."""
        return await asyncio.to_thread(self.process.wait, DEADLINE)

    def left_behind(self) -> bool:
        """Is any process of the server's group still there?"""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def output(self) -> str:
        return self.log.read_text(errors="backslashreplace")


@contextmanager
def serve(command: list[str], log: Path, **options: Any) -> Iterator[Server]:
    """Run `python command…`, where "{fd}" stands for the number of a listening socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    command = [part.format(fd=listener.fileno()) for part in command]
    with run(command, listener.getsockname()[1], log, listener=listener, **options) as server:
        yield server


@contextmanager
def serve_unix(command: list[str], path: str, log: Path, **options: Any) -> Iterator[Server]:
    """Run `python command…`, which makes the unix socket at the path itself."""
    with run(command, path, log, **options) as server:
        with socket.socket(socket.AF_UNIX) as probe:
            wait_until(lambda: probe.connect_ex(path) == 0 or server.process.poll() is not None)
        if server.process.poll() is not None:
            raise RuntimeError(f"the server did not start:\n{server.output()}")
        yield server


@contextmanager
def run(
    command: list[str],
    address: str | int,
    log: Path,
    *,
    listener: socket.socket | None = None,
    cwd: Path = ROOT,
    settings: str = f"{PROJECT}.settings",
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    # Our copy of the listener is closed: a server that has ended refuses, and hangs nobody.
    with log.open("wb") as output, listener or nullcontext():
        process = subprocess.Popen(
            [sys.executable, *WARNINGS, *command],
            cwd=cwd,
            env=environment(
                PYTHONUNBUFFERED="1",  # Django's runserver leaves its banner in a file's buffer
                **{
                    "DJANGO_SETTINGS_MODULE": settings,
                    "PYTHONPATH": str(ROOT),
                    **(variables or {}),
                },
            ),
            pass_fds=[listener.fileno()] if listener else [],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, address, log)
    try:
        yield server
    finally:
        if LAST_WORDS and process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(LAST_WORDS)
        if server.left_behind():
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(server.output())  # pytest shows it when a test has failed


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
