"""What the ORM costs in coroutine views, over PostgreSQL: python -m benchmarks.orm

Starts a PostgreSQL of its own, and compares servers as benchmarks.routing does, in turns. The
servers share one core; wrk and PostgreSQL have the other. Besides the throughput, the 99th
percentile of the latency counts: it must not be above the base's.
"""

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.harness import CLIENT_CORE, CONNECTIONS, SERVER_CORE, Server, check_machine, on_core
from tests.postgres import missing_part, running_cluster

TITLE = 66  # characters of a row's title
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}  # in milliseconds


@dataclass(frozen=True)
class Comparison:
    """`side` (a server and a path) should reach `target` times the throughput of `base`.

    p99: by how much the side's 99th percentile may exceed the base's.
    """

    title: str
    side: tuple[str, str]
    base: tuple[str, str]
    target: float
    p99: float | None = None


COMPARISONS = {
    "aget": Comparison(
        "aget: coroutine view / plain aiohttp handler",
        ("lifted", "/aget/"),
        ("plain", "/aget/"),
        1.25,
        p99=1.0,
    ),
    "uvicorn": Comparison(
        "aget: coroutine view / Django's async view, uvicorn, psycopg pool",
        ("lifted", "/aget/"),
        ("uvicorn-pool", "/aget/"),
        3.5,
        p99=1.0,
    ),
    "slow": Comparison(
        "queries of 20 ms: coroutine view / plain aiohttp handler",
        ("lifted", "/slow/"),
        ("plain", "/slow/"),
        7.0,
        p99=1.0,
    ),
    "run": Comparison(
        "run_in_django(get): coroutine view / aget in a plain handler",
        ("lifted", "/in_django/"),
        ("plain", "/aget/"),
        1.5,
        p99=1.0,
    ),
    "none": Comparison(
        "no database: coroutine view / plain aiohttp handler",
        ("lifted", "/nothing/"),
        ("plain", "/nothing/"),
        0.95,
    ),
}


@dataclass(frozen=True)
class Turn:
    """What one server did in one turn."""

    rate: float  # requests per second
    p99: float  # milliseconds


def measure(server: Server, path: str, seconds: float) -> Turn:
    """One turn of wrk. An answer other than 2xx or 3xx spoils it: it may be fast, and wrong."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", server.url(path)]
    output = subprocess.run(
        on_core(CLIENT_CORE, command), capture_output=True, text=True, check=True
    ).stdout
    rate = re.search(r"Requests/sec: +([\d.]+)", output)
    p99 = re.search(r"99% +([\d.]+)(us|ms|s)", output)
    if rate is None or p99 is None or re.search("Non-2xx|Socket errors", output):
        raise RuntimeError(f"{path} is not answered properly:\n{output}")
    return Turn(float(rate[1]), float(p99[1]) * UNITS[p99[2]])


@contextmanager
def running(name: str, folder: str) -> Iterator[Server]:
    """Start a server of benchmarks.orm_servers; end it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "benchmarks.orm_servers", name, folder]
        process = subprocess.Popen(
            on_core(SERVER_CORE, [*command, str(listener.fileno())]),
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
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


def compare(comparison: Comparison, folder: str, rounds: int, seconds: int) -> bool:
    """Measure both sides in turns and print the row; returns whether the goals are reached."""
    measured: list[tuple[Turn, Turn]] = []
    (side_name, side_path), (base_name, base_path) = comparison.side, comparison.base
    with running(side_name, folder) as side, running(base_name, folder) as base:
        if side.first_answer(side_path) != base.first_answer(base_path):
            raise RuntimeError(f"{comparison.title}: the two answer differently")
        measure(side, side_path, seconds)
        measure(base, base_path, seconds)
        for number in range(rounds):
            if number % 2:
                side_turn = measure(side, side_path, seconds)
                base_turn = measure(base, base_path, seconds)
            else:
                base_turn = measure(base, base_path, seconds)
                side_turn = measure(side, side_path, seconds)
            measured.append((side_turn, base_turn))
    ratios = [side_turn.rate / base_turn.rate for side_turn, base_turn in measured]
    p99s = [side_turn.p99 / base_turn.p99 for side_turn, base_turn in measured]
    ratio, p99 = statistics.median(ratios), statistics.median(p99s)
    reached = ratio >= comparison.target and (comparison.p99 is None or p99 <= comparison.p99)
    rates = [
        statistics.median(turn.rate for turn in turns) for turns in zip(*measured, strict=True)
    ]
    print(
        f"{comparison.title:<{TITLE}} {rates[0]:>8,.0f} {rates[1]:>8,.0f}   {ratio:5.2f}"
        f"   {min(ratios):5.2f}-{max(ratios):5.2f}   {p99:5.2f}"
        f"   {comparison.target:.2f}   {'reached' if reached else 'MISSED'}",
        flush=True,
    )
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("only", nargs="*", help=f"of {', '.join(COMPARISONS)}; default: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=3, help="of each turn")
    options = parser.parse_args()
    if unknown := set(options.only) - set(COMPARISONS):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    check_machine()
    if reason := missing_part():
        sys.exit(f"The benchmark {reason}.")
    print(f"{'':<{TITLE}} {'req/s':>8} {'base':>8}   ratio   {'range':<11}   {'p99':>5}   goal")
    # However this ends, PostgreSQL and the servers have to be ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(f"Ended by signal {number}."))
    # PostgreSQL inherits this; the servers and wrk bind themselves to theirs.
    os.sched_setaffinity(0, [CLIENT_CORE])
    with running_cluster() as cluster:
        folder = str(cluster.folder)
        command = [sys.executable, "-m", "benchmarks.orm_servers", "create", folder]
        subprocess.run(command, check=True)
        results = [
            compare(comparison, folder, options.rounds, options.seconds)
            for name, comparison in COMPARISONS.items()
            if name in options.only or not options.only
        ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
