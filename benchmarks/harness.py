"""Two servers side by side, measured in turns with wrk: what counts is the ratio of a round.

A machine's speed drifts by more than what is measured here. So both servers run the whole time, a
round measures one right after the other, every second round in the opposite order, and the result
is the median of the rounds' ratios. Servers share one core, wrk has another to itself.
"""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

SERVER_CORE, CLIENT_CORE = 0, 1
CONNECTIONS = 32
START_TIMEOUT = 60.0  # seconds
# Binds itself to a core, then becomes the command.
PINNED = """\
import os, sys
os.sched_setaffinity(0, [int(sys.argv[1])])
os.execvp(sys.argv[2], sys.argv[2:])
"""
TITLE = 62  # characters of a row's title


@dataclass(frozen=True)
class Side:
    """A server of benchmarks.servers by name, and the path to ask it for."""

    server: str
    path: str


@dataclass(frozen=True)
class Comparison:
    """`side` should reach at least `target` times the throughput of `base`."""

    title: str
    side: Side
    base: Side
    target: float | None  # None: measured for information


@dataclass(frozen=True)
class Turn:
    """What one server did in one turn."""

    rate: float  # requests per second
    cpu: float  # seconds of processor time a request


@dataclass(frozen=True)
class Result:
    comparison: Comparison
    rounds: Sequence[tuple[Turn, Turn]]  # side and base

    @property
    def ratios(self) -> list[float]:
        return [side.rate / base.rate for side, base in self.rounds]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def cpu_ratio(self) -> float:
        """The same by processor time: it says more on a machine that has other work as well."""
        return statistics.median(base.cpu / side.cpu for side, base in self.rounds)

    @property
    def reached(self) -> bool:
        return self.comparison.target is None or self.ratio >= self.comparison.target

    def __str__(self) -> str:
        side, base = (
            statistics.median(turn.rate for turn in turns)
            for turns in zip(*self.rounds, strict=True)
        )
        goal = ""
        if self.comparison.target is not None:
            goal = f"{self.comparison.target:.2f}   {'reached' if self.reached else 'MISSED'}"
        return (
            f"{self.comparison.title:<{TITLE}} {side:>8,.0f} {base:>8,.0f}   {self.ratio:5.2f}"
            f"   {min(self.ratios):.2f}-{max(self.ratios):.2f}   {self.cpu_ratio:5.2f}"
            f"   {goal}"
        )


HEADER = (
    f"{'':<{TITLE}} {'req/s':>8} {'base':>8}   ratio   {'range':<9}   {'cpu':>5}   goal\n"
    + "-" * (TITLE + 60)
)


def check_machine() -> None:
    """Exit with the reason when nothing sensible can be measured here."""
    if shutil.which("wrk") is None:
        sys.exit("The benchmarks need wrk (https://github.com/wg/wrk).")
    if not {SERVER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0):
        sys.exit("The benchmarks need two cores: one for the servers, one for wrk.")


def on_core(core: int, command: Sequence[str]) -> list[str]:
    """The command, bound to a core from its first instruction on."""
    return [sys.executable, "-c", PINNED, str(core), *command]


class Server:
    """A running server of benchmarks.servers."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def cpu_time(self) -> float:
        """Seconds of processor time so far, in all threads."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def first_answer(self, path: str) -> bytes:
        """The body, once the server answers; an error for a status of 400 or above."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url(path), timeout=START_TIMEOUT) as response:
            body: bytes = response.read()
        return body

    def measure(self, path: str, seconds: int) -> Turn:
        """One turn of wrk. An answer other than 2xx or 3xx spoils it: it may be fast, and wrong."""
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", self.url(path)]
        begun = self.cpu_time()
        output = subprocess.run(
            on_core(CLIENT_CORE, command), capture_output=True, text=True, check=True
        ).stdout
        cpu = self.cpu_time() - begun
        rate = re.search(r"Requests/sec: +([\d.]+)", output)
        requests = re.search(r"(\d+) requests in", output)
        if rate is None or requests is None or re.search("Non-2xx|Socket errors", output):
            raise RuntimeError(f"{path} is not answered properly:\n{output}")
        return Turn(float(rate[1]), cpu / int(requests[1]))


@contextmanager
def running(name: str) -> Iterator[Server]:
    """Start a server by its name; end it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "benchmarks.servers", name, str(listener.fileno())]
        process = subprocess.Popen(
            on_core(SERVER_CORE, command), pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL
        )
        server = Server(process, listener.getsockname()[1])
    try:
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def compare(comparison: Comparison, rounds: int, seconds: int) -> Result:
    """Measure both sides in turns, `seconds` each a round, after a warm-up as long."""
    measured: list[tuple[Turn, Turn]] = []
    side_path, base_path = comparison.side.path, comparison.base.path
    with running(comparison.side.server) as side, running(comparison.base.server) as base:
        if side.first_answer(side_path) != base.first_answer(base_path):
            raise RuntimeError(f"{comparison.title}: the two answer differently")
        side.measure(side_path, seconds)
        base.measure(base_path, seconds)
        for number in range(rounds):
            if number % 2:
                side_turn = side.measure(side_path, seconds)
                base_turn = base.measure(base_path, seconds)
            else:
                base_turn = base.measure(base_path, seconds)
                side_turn = side.measure(side_path, seconds)
            measured.append((side_turn, base_turn))
    return Result(comparison, measured)
