"""`manage.py runserver` as a person runs it: a process of its own, a project that can be edited."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import LAST_WORDS
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE

BANNER = r"Starting .*development server at (http://\S+)/\n"


class Runserver:
    """A running `manage.py runserver` and what it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.StreamReader) -> None:
        self.process = process
        self.keyboard = output  # of a `Terminal`
        self.output = ""
        self._read_to = 0
        self._arrived = asyncio.Condition()
        self._reading = asyncio.create_task(self._read(output))

    async def _read(self, stream: asyncio.StreamReader) -> None:
        try:
            while chunk := await stream.read(65536):
                async with self._arrived:
                    self.output += chunk.decode().replace("\r\n", "\n")
                    self._arrived.notify_all()
        except OSError:
            pass  # A terminal whose last process has ended.
        async with self._arrived:
            self._arrived.notify_all()

    async def wait_for(self, pattern: str, patience: float = DEADLINE) -> re.Match[str]:
        """Wait for output after the last match, or fail with all of it."""

        def match() -> re.Match[str] | None:
            return re.compile(pattern).search(self.output, self._read_to)

        try:
            async with asyncio.timeout(patience), self._arrived:
                await self._arrived.wait_for(lambda: match() is not None or self._reading.done())
        except TimeoutError:
            pass
        found = match()
        assert found is not None, f"no {pattern!r} within {patience} s in:\n{self.output}"
        self._read_to = found.end()
        return found

    async def started(self) -> str:
        """Wait for the (next) banner; returns the URL without a slash at its end."""
        found = await self.wait_for(BANNER)
        await self.wait_for(r"Quit the server with \S+\n")
        return found[1]

    async def ended(self) -> int:
        """Wait for the end of the process and of its output; returns the exit code."""
        async with asyncio.timeout(DEADLINE):
            code = await self.process.wait()
            await self._reading
        return code

    def signal_group(self, number: int) -> None:
        """Send a signal as a terminal does: to the command and its children."""
        os.killpg(self.process.pid, number)

    def log(self) -> list[str]:
        """The lines since the banner, without their times; Django puts an empty one first."""
        lines = self.output.split("Quit the server with ")[-1].splitlines()[1:]
        return [re.sub(r"^\[[^]]+] ", "", line) for line in lines if line]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of its own for each test, to be edited."""
    copy = tmp_path / "project"
    shutil.copytree(
        Path(__file__).with_name("project"),
        copy,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return copy


@pytest.fixture
async def runserver(project: Path) -> AsyncIterator[Callable[..., Awaitable[Runserver]]]:
    """Start `manage.py runserver` with arguments, and settings as environment variables."""
    started: list[Runserver] = []

    async def start(
        *arguments: str, terminal: bool = False, under: tuple[str, ...] = (), **variables: str
    ) -> Runserver:
        environ = environment() | {
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "devsite.settings",
            "DJANGO_RUNSERVER_HIDE_WARNING": "true",
            # Django's reloader doesn't wait for a child that takes its time to end.
            # A signal may interrupt it while it lists a folder.
            # The counter of lines does not close its database when it is interrupted.
            "PYTHONWARNINGS": "error,ignore:subprocess:ResourceWarning"
            ",ignore:unclosed scandir iterator:ResourceWarning"
            + (",ignore:unclosed database:ResourceWarning" if LAST_WORDS else ""),
            # Django's own server leaves its banner in the buffer of a pipe.
            **({"PYTHONUNBUFFERED": "1"} if "--noaio" in arguments else {}),
            **variables,
        }
        command = [*under, sys.executable, "manage.py", "runserver", *arguments]
        launch = launch_in_terminal if terminal else launch_with_pipe
        server = Runserver(*await launch(command, project, environ))
        started.append(server)
        return server

    yield start
    for server in started:
        with contextlib.suppress(ProcessLookupError):
            if LAST_WORDS:
                server.signal_group(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(server.ended(), LAST_WORDS)
            server.signal_group(signal.SIGKILL)
        await server.ended()


async def launch_with_pipe(
    command: list[str], cwd: Path, environ: dict[str, str]
) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=environ,
        start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    return process, process.stdout


class Terminal(asyncio.StreamReader):
    """What the programs of a pseudo-terminal write; `type` is the keyboard."""

    descriptor: int

    def type(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)


async def launch_in_terminal(
    command: list[str], cwd: Path, environ: dict[str, str]
) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    master, slave = os.openpty()
    terminal = Terminal()
    terminal.descriptor = master
    loop = asyncio.get_running_loop()
    # The transport closes the descriptor.
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(terminal), os.fdopen(master, "r+b", buffering=0)
    )
    # The new process makes the terminal its own, so that Ctrl-C reaches it.
    login = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", login, *command, cwd=cwd, env=environ, stdin=slave
    )
    os.close(slave)
    return process, terminal


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """One connection, redirects left alone."""
    connector = aiohttp.TCPConnector(limit=1)
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


async def get(url: str) -> str:
    """One request on its own connection; returns the body's text."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()


async def eventually(check: Callable[[], bool | Awaitable[bool]]) -> None:
    """Try `check` again and again until it holds, or fail."""
    async with asyncio.timeout(DEADLINE):
        while True:
            result = check()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.1)
