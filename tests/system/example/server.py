"""The example site in a process of its own, as people run it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE, LONGER, wait_until

GUNICORN = (
    "-m",
    "gunicorn",
    "example.wsgi:app",
    "--worker-class=aiodjango.worker.GunicornWorker",
    f"--graceful-timeout={LONGER:.0f}",
    "--no-control-socket",
    "--bind=127.0.0.1:{port}",
)
EMBEDDED = ("-m", "example.embedded", "--port={port}")
# Every warning is an error, but for gunicorn's own.
WARNINGS = "error,ignore::ResourceWarning:gunicorn.arbiter"
# gunicorn says where it listens, and so does aiohttp.
LISTENING = re.compile(r"(?:Listening at|Running on) ?:? http://127\.0\.0\.1:(\d+)")


def example_environment(database: Path | None = None, **variables: str) -> dict[str, str]:
    """The environment of a process that runs the example: on an SQLite database, or as it says."""
    if database:
        variables["EXAMPLE_DATABASE"] = str(database)
    return environment(
        DJANGO_SETTINGS_MODULE="example.settings",
        PYTHONPATH=str(ROOT),
        PYTHONUNBUFFERED="1",  # aiohttp's run_app() says where it listens without a flush
        PYTHONWARNINGS=WARNINGS,
        **variables,
    )


def manage(database: Path | None, *arguments: str, **variables: str) -> str:
    """Run manage.py and return what it printed."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=example_environment(database, **variables),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Server:
    """A server that can be stopped and started again at the same address."""

    def __init__(
        self, command: tuple[str, ...], database: Path, log: Path, **variables: str
    ) -> None:
        self.command = command
        self.database = database
        self.log = log
        self.variables = variables
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def start(self) -> None:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *(part.format(port=self.port) for part in self.command)],
                cwd=ROOT,
                env=example_environment(self.database, **self.variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: self.listening() or not self.is_running)
        if not (found := self.listening()):
            raise RuntimeError(f"the server did not start:\n{self.log.read_text()}")
        self.port = int(found[1])

    def listening(self) -> re.Match[str] | None:
        """What it says once it listens."""
        return LISTENING.search(self.log.read_text())

    def stop(self) -> None:
        """End the server as an operator does; it must neither complain nor leave anything."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(DEADLINE)
        finally:
            left_behind = self.kill()
        output = self.log.read_text()
        assert code == 0, output
        assert not left_behind, output
        assert "Traceback" not in output, output
        assert "Warning:" not in output, output

    def kill(self) -> bool:
        """Kill what is left of the server; tell whether there was anything."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.process.wait()
        return True
