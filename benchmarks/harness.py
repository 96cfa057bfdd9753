"""Servers measured in turns with wrk: what counts is the ratio within a round.

A machine's speed drifts by more than what is measured here. So all servers that are compared run
the whole time, a round measures one right after the other, every second round in the opposite
order, and the result is the median of the rounds' ratios. Servers share one core, wrk has another
to itself.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

SERVER_CORE, CLIENT_CORE = 0, 1
CONNECTIONS = 32
START_TIMEOUT = 60.0  # seconds
# Binds itself to a core, then becomes the command.
PINNED = """\
import os, sys
os.sched_setaffinity(0, [int(sys.argv[1])])
os.execvp(sys.argv[2], sys.argv[2:])
"""
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}  # wrk's, in milliseconds

T = TypeVar("T")


@dataclass(frozen=True)
class Turn:
    """What one server did in one turn."""

    rate: float  # requests per second
    cpu: float  # seconds of processor time a request
    p99: float  # milliseconds: the 99th percentile of the latency


@dataclass(frozen=True)
class Load:
    """What wrk asks a server for, and from where.

    core: None for wherever the system puts it. script: wrk's, in Lua.
    """

    path: str
    connections: int = CONNECTIONS
    script: Path | None = None
    core: int | None = CLIENT_CORE

    def command(self, url: str, seconds: int) -> list[str]:
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s", "--latency"]
        command += ["--timeout", "10s"]
        if self.script is not None:
            command += ["--script", str(self.script)]
        return on_core(self.core, [*command, url])


def check_machine() -> None:
    """Exit with the reason when nothing sensible can be measured here."""
    if shutil.which("wrk") is None:
        sys.exit("The benchmarks need wrk (https://github.com/wg/wrk).")
    check_cores()


def check_cores() -> None:
    if not {SERVER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0):
        sys.exit("The benchmarks need two cores: one for the servers, one for the clients.")


def end_properly() -> None:
    """Let SIGTERM raise SystemExit: however this ends, the servers have to be ended."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(f"Ended by signal {number}."))


def on_core(core: int | None, command: Sequence[str]) -> list[str]:
    """The command, bound to a core from its first instruction on."""
    if core is None:
        return list(command)
    return [sys.executable, "-c", PINNED, str(core), *command]


def free_port() -> int:
    """A port for a server that can't be given a socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class WrkReport:
    """What wrk printed. Raises RuntimeError unless all was answered, and with 2xx or 3xx.

    rate: requests per second. p99: of the latency, in milliseconds.
    """

    def __init__(self, output: str) -> None:
        rate = re.search(r"Requests/sec: +([\d.]+)", output)
        requests = re.search(r"(\d+) requests in", output)
        p99 = re.search(r"99% +([\d.]+)(us|ms|s|m)", output)
        if not (rate and requests and p99) or re.search("Non-2xx|Socket errors", output):
            raise RuntimeError(f"Not everything was answered properly:\n{output}")
        self.rate = float(rate[1])
        self.requests = int(requests[1])
        self.p99 = float(p99[1]) * UNITS[p99[2]]


class Server:
    """A running server, with all its processes.

    log: what it has written to its standard output and error, where that was kept.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, log: IO[bytes] | None = None
    ) -> None:
        self.process = process
        self.port = port
        self._log = log

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def log(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def pids(self) -> list[int]:
        """Its process, and those it has started (as gunicorn its workers)."""
        pids = [self.process.pid]
        for pid in pids:  # which grows
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(FileNotFoundError):  # a thread that has ended meanwhile
                    pids += map(int, children.read_text().split())
        return pids

    def cpu_time(self) -> float:
        """Seconds of processor time so far, in all threads."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self, field: str = "VmRSS") -> int:
        """Resident memory now, in bytes; with "VmHWM" the most since `forget_peak()`."""
        kib = 0
        for pid in self.pids():
            found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            kib += int(found[1]) if found else 0
        return kib * 1024

    def largest(self) -> int:
        """Resident memory of its largest process, in bytes: a worker's rather than a master's."""
        found = [Path(f"/proc/{pid}/statm").read_text().split()[1] for pid in self.pids()]
        return max(map(int, found)) * os.sysconf("SC_PAGE_SIZE")

    def forget_peak(self) -> None:
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def ask(self, path: str, body: bytes | None = None, content_type: str = "") -> bytes:
        """The answer's body; an error for a status of 400 or above."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        headers = {"Content-Type": content_type} if content_type else {}
        request = urllib.request.Request(self.url(path), body, headers)
        with opener.open(request, timeout=START_TIMEOUT) as response:
            answer: bytes = response.read()
        return answer

    def wait_until_listening(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"A server does not start:\n{self.log()}") from None
                time.sleep(0.05)

    def measure(self, load: Load, seconds: int) -> Turn:
        """One turn of wrk. A wrong answer spoils it: it may be fast, and wrong."""
        command = load.command(self.url(load.path), seconds)
        begun = self.cpu_time()
        report = WrkReport(
            subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        )
        cpu = self.cpu_time() - begun
        if not report.requests:
            raise RuntimeError("Nothing was answered in a turn: is the machine too busy?")
        return Turn(report.rate, cpu / report.requests, report.p99)


@contextmanager
def ended_after(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running_module(module: str, *arguments: str) -> Iterator[Server]:
    """Start a module of ours that takes the descriptor of its socket as the last argument."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", module, *arguments, str(listener.fileno())]
        process = subprocess.Popen(
            on_core(SERVER_CORE, command), pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL
        )
        server = Server(process, listener.getsockname()[1])
    with ended_after(process):
        yield server


@contextmanager
def running_command(
    command: Sequence[str], port: int, core: int | None, environ: Mapping[str, str]
) -> Iterator[Server]:
    """Start any server's command, and wait until it listens on `port`."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            on_core(core, command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **environ},
        )
        with ended_after(process):
            server = Server(process, port, log)
            server.wait_until_listening()
            yield server


def take_turns(turns: Sequence[Callable[[], T]], rounds: int) -> list[list[T]]:
    """Take each turn once a round; the results of each round, in the order of `turns`."""
    results = []
    for number in range(rounds):
        order = range(len(turns)) if number % 2 == 0 else reversed(range(len(turns)))
        taken: dict[int, Any] = {index: turns[index]() for index in order}
        results.append([taken[index] for index in range(len(turns))])
    return results
