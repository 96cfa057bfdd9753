"""How the rows of the table are measured: each function takes one turn of one server."""

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import CLIENT_CORE, CONNECTIONS, Load, Server, WrkReport, on_core

MIB = 1024 * 1024
KIB = 1024
LARGE = 300  # MiB of a transfer whose memory is measured

Figures = dict[str, float]  # by the title of the column


@dataclass(frozen=True)
class Column:
    """A figure. decimals: as it is printed. floor: what is less counts as so much in a ratio."""

    title: str
    more_is_better: bool
    decimals: int
    floor: float = 0


RATE = Column("req/s", True, 0)
CPU = Column("cpu us", False, 0)  # of the server, for each request or message
P50 = Column("p50 ms", False, 1)  # latencies
P99 = Column("p99 ms", False, 1)
LOAD = Column("load/s", True, 0)  # requests per second of those that make the load
MESSAGES = Column("msg/s", True, 0)
SOCKET = Column("KiB each", False, 1)
MEMORY = Column("MiB", False, 0)
START = Column("cpu s", False, 2)  # of processor time
GROWTH = Column("MiB", False, 1, floor=4)  # It varies by some MiB from one process to the next.


@dataclass(frozen=True)
class Work:
    """What is asked of a server in a turn.

    seconds: of the turn, where it has no other end. body: what is posted, ASCII. folder: for
    scripts. core: of the clients; None for wherever the system puts them.
    """

    path: str
    seconds: int
    folder: Path
    connections: int = CONNECTIONS
    body: bytes | None = None
    content_type: str = ""
    core: int | None = CLIENT_CORE


Measure = Callable[[Server, Work], Figures]


def by_wrk(server: Server, work: Work) -> Figures:
    script = None
    if work.body is not None:
        script = work.folder / "post.lua"
        # The body stands in a long string of Lua's, which takes any text without such a bracket.
        script.write_text(
            f'wrk.method = "POST"\n'
            f'wrk.headers["Content-Type"] = "{work.content_type}"\n'
            f"wrk.body = [==[{work.body.decode('ascii')}]==]\n"
        )
    load = Load(work.path, work.connections, script, work.core)
    turn = server.measure(load, work.seconds)
    return {RATE.title: turn.rate, CPU.title: turn.cpu * 1e6, P99.title: turn.p99}


def beside(busy: str) -> Measure:
    """One client at the path, while the others keep all threads busy with the view `busy`."""

    def measure(server: Server, work: Work) -> Figures:
        load = Load(busy, work.connections, core=work.core)
        probe = [sys.executable, "-m", "benchmarks.probe", str(server.port), work.path]
        probe.append(str(work.seconds))
        # The load lasts from before the client's first request to after its last.
        command = load.command(server.url(busy), work.seconds + 1)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
            output = subprocess.run(
                on_core(work.core, probe), stdout=subprocess.PIPE, text=True, check=True
            ).stdout
            rate = WrkReport(wrk.communicate()[0]).rate
        p50, p99 = map(float, output.split())
        return {P99.title: p99, P50.title: p50, LOAD.title: rate}

    return measure


class Sockets:
    """A process of benchmarks.sockets or benchmarks.listeners, with its WebSockets open."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def next_line(self) -> dict[str, float]:
        if self._process.stdout is None or not (line := self._process.stdout.readline()):
            raise RuntimeError("The client of the WebSockets has failed")
        figures: dict[str, float] = json.loads(line)
        return figures

    def echo(self, seconds: int) -> dict[str, float]:
        """Have messages echoed on all of them at once."""
        return self.ask(str(seconds))

    def ask(self, command: str) -> dict[str, float]:
        if self._process.stdin is None:
            raise RuntimeError("The client of the WebSockets takes no commands")
        try:
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise RuntimeError("The client of the WebSockets has failed") from error
        return self.next_line()


@contextmanager
def open_sockets(
    server: Server, path: str, number: int, *, core: int | None = CLIENT_CORE, by: str = "sockets"
) -> Iterator[Sockets]:
    """Open WebSockets from a process of the module `by`."""
    command = [sys.executable, "-m", f"benchmarks.{by}", str(server.port), path, str(number)]
    with subprocess.Popen(
        on_core(core, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        sockets = Sockets(process)
        sockets.next_line()  # They are open.
        yield sockets
        # Leaving closes its standard input, which ends it.


def echoing(server: Server, work: Work) -> Figures:
    """Messages echoed over WebSockets that are all busy at once."""
    with open_sockets(server, work.path, work.connections, core=work.core) as sockets:
        begun = server.cpu_time()
        report = sockets.echo(work.seconds)
        cpu = server.cpu_time() - begun
    return {
        MESSAGES.title: report["rate"],
        CPU.title: cpu / report["messages"] * 1e6,
        P99.title: report["p99"],
    }


def idle(server: Server, work: Work) -> Figures:
    """Resident memory for each idle WebSocket."""
    with open_sockets(server, work.path, 100, core=work.core):
        pass  # What the first ones load is not theirs.
    begun = server.memory()
    with open_sockets(server, work.path, work.connections, core=work.core):
        grown = server.memory() - begun
    return {SOCKET.title: grown / KIB / work.connections}


def worker(server: Server, work: Work) -> Figures:
    """Resident memory of the process that serves, and processor time so far: after a request.

    The time by the clock would be that of whatever else the machine does.
    """
    server.ask(work.path)
    return {MEMORY.title: server.largest() / MIB, START.title: server.cpu_time()}


def growth(transfer: Callable[[http.client.HTTPConnection, str, int], None]) -> Measure:
    """How far resident memory goes up, at its highest, during one large transfer.

    transfer: takes a connection, a path, and how many MiB.
    """

    def run(server: Server, work: Work, size: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        transfer(connection, work.path, size)
        connection.close()

    def measure(server: Server, work: Work) -> Figures:
        run(server, work, 1)  # What the first one loads is not the next one's.
        server.forget_peak()
        begun = server.memory()
        run(server, work, LARGE)
        return {GROWTH.title: (server.memory("VmHWM") - begun) / MIB}

    return measure


def upload(connection: http.client.HTTPConnection, path: str, size: int) -> None:
    headers = {"Content-Length": str(size * MIB), "Content-Type": "application/octet-stream"}
    part = b"x" * MIB
    connection.request("POST", path, (part for _ in range(size)), headers)
    answer = connection.getresponse().read()
    if answer != f"{size * MIB} bytes".encode():
        raise RuntimeError(f"{size} MiB were received as {answer!r}")


def download(connection: http.client.HTTPConnection, path: str, size: int) -> None:
    connection.request("GET", path.format(size))
    response = connection.getresponse()
    buffer = bytearray(MIB)
    received = 0
    while length := response.readinto(buffer):
        received += length
    if response.status != 200 or received != size * MIB:
        raise RuntimeError(f"{size} MiB were answered {response.status}, {received} bytes")
