"""What lifting costs, counted in instructions: python -m benchmarks.instructions

The counts hardly differ from run to run, on any machine, however busy: for a change of some
instructions in a thousand no stopwatch will do. The kernel's share is not in them, which is the
same for both sides. Needs valgrind, and a minute or two.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.harness import end_properly, ended_after

CONNECTIONS = 8
# The start of the server is in both counts, and so drops out of the difference.
FEW, MANY = 160, 960
DEADLINE = 120.0  # seconds


class Pair(NamedTuple):
    """Two servers of benchmarks.servers that answer the same path alike."""

    title: str
    ours: str
    base: str
    path: str


PAIRS = [
    Pair("coroutine view", "lifted", "bare", "/hello/"),
    Pair("coroutine view, one converted value", "lifted", "bare", "/items/5/"),
    Pair("coroutine view, mounted", "lifted-mounted", "bare-mounted", "/site/hello/"),
    Pair("host's route beside setup()", "host-with-setup", "host", "/own/"),
]


def per_request(server: str, path: str) -> float:
    """Instructions of one request."""
    return (count(server, path, MANY) - count(server, path, FEW)) / (MANY - FEW)


def count(server: str, path: str, requests: int) -> int:
    """Instructions of a server's whole life, with so many requests in it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryFile() as report:
        command = ["valgrind", "--tool=cachegrind", "--cache-sim=no"]
        command += ["--cachegrind-out-file=/dev/null", sys.executable, "-m", "benchmarks.servers"]
        process = subprocess.Popen(
            [*command, server, str(listener.fileno())],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            pass_fds=[listener.fileno()],
            stderr=report,
        )
        with ended_after(process):
            ask(listener.getsockname(), path, requests)
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE)
        report.seek(0)
        found = re.search(rb"I +refs: +([\d,]+)", report.read())
    if found is None:
        raise RuntimeError(f"valgrind gave no count for {server}")
    return int(found[1].replace(b",", b""))


def ask(address: tuple[str, int], path: str, requests: int) -> None:
    """Make requests, some at a time."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(address, DEADLINE))
            for _ in range(CONNECTIONS)
        ]
        for _ in range(requests // CONNECTIONS):
            for connection in connections:
                connection.sendall(request)
            for connection in connections:
                if not (answer := connection.recv(65536)).startswith(b"HTTP/1.1 200 "):
                    raise RuntimeError(f"{path}: {answer!r}")


def main() -> int:
    if shutil.which("valgrind") is None:
        sys.exit("This benchmark needs valgrind.")
    end_properly()
    print(f"{'':<44}{'ours':>10}{'aiohttp':>10}{'more':>8}")
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        for pair in PAIRS:
            names = pair.ours, pair.base
            ours, base = executor.map(per_request, names, [pair.path] * 2)
            print(f"{pair.title:<44}{ours:10,.0f}{base:10,.0f}{ours / base - 1:8.1%}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
