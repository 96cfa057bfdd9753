"""Clients that listen: python -m benchmarks.listeners PORT PATH NUMBER

Opens WebSockets (or event streams, where PATH begins with /events/) and waits until all hear what
is published; prints a line then, and one for each command on standard input, all in JSON:

fanout SECONDS      has one event after another published, each when all have heard the last
collect             begins to note the latency of every event
report NUMBER       waits for so many messages since then; without them until all is quiet

It looks at bytes alone, by one epoll over raw sockets: it is the servers that are to be kept busy.
"""

import json
import os
import re
import resource
import select
import socket
import statistics
import sys
import time
from base64 import b64encode
from collections import Counter

from benchmarks.broadcast_site import MARK
from benchmarks.probe import percentile99

AT_ONCE = 50  # handshakes: less than a server's backlog
TIMEOUT = 60.0  # seconds
QUIET = 2.0  # seconds without a message after which none comes
# Events at most until all hear them, and seconds that the first receiver of one may take: what is
# measured later is slower when it is done for the first time.
WARM_UP, FIRST = 20, 10.0
END = MARK.encode()
SENT = re.compile(rb'"sent": ?(\d+)')


class Listeners:
    """Open connections. heard: messages, in all."""

    def __init__(self, port: int, path: str, number: int) -> None:
        self.number = number
        self.heard = 0
        self._address = "127.0.0.1", port
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._path = path
        # Where events are collected: the rest of what was received, by socket.
        self._rests: dict[int, bytes] | None = None
        self._receipts: Counter[int] = Counter()
        self._latencies: list[float] = []
        self._last = 0  # when something was heard, as the clock of events has it
        self._control: socket.socket | None = None
        self._is_answered = True

    def open(self) -> None:
        while len(self._sockets) < self.number:
            some = []
            for _ in range(min(AT_ONCE, self.number - len(self._sockets))):
                sock = socket.create_connection(self._address, TIMEOUT)
                sock.sendall(self._handshake(len(self._sockets) + len(some)))
                some.append(sock)
            for sock in some:
                self._await_opening(sock)
                sock.setblocking(False)
                self._sockets[sock.fileno()] = sock
                self._epoll.register(sock, select.EPOLLIN)

    def _handshake(self, number: int) -> bytes:
        head = f"GET {self._path.format(number)} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        if not self._path.startswith("/events/"):
            key = b64encode(bytes(16)).decode()
            head += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            head += f"Sec-WebSocket-Key: {key}\r\n"
        return f"{head}\r\n".encode()

    def _await_opening(self, sock: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            received += (part := sock.recv(65536))
            if not part or not received.startswith(b"HTTP/1.1 "[: len(received)]):
                raise RuntimeError(f"Not opened: {received!r}")
        if received[9:12] not in (b"101", b"200"):
            raise RuntimeError(f"Not opened: {received!r}")

    def warm_up(self) -> None:
        """Publish until all hear it: some subscribe after the connection is open."""
        for _ in range(WARM_UP):
            self._open_control()
            begun = self.heard
            self._publish()
            self._receive_until(begun + self.number, FIRST)
            if self.heard == begun + self.number:
                return
        raise RuntimeError(f"Not all hear what is published: {self.heard - begun}")

    def fanout(self, seconds: float) -> dict[str, float]:
        self._open_control()  # One that was idle may be closed by now.
        times = []
        heard = self.heard
        begun = time.perf_counter()
        while not times or time.perf_counter() - begun < seconds:
            published = time.perf_counter()
            expected = self.heard + self.number
            self._publish()
            self._receive_until(expected, TIMEOUT)
            if self.heard != expected:
                raise RuntimeError(f"{self.heard} messages instead of {expected}")
            times.append(time.perf_counter() - published)
        messages = self.heard - heard
        return {
            "messages": messages,
            "rate": messages / sum(times),
            "last": statistics.median(times) * 1000,
        }

    def collect(self) -> dict[str, float]:
        self._rests = dict.fromkeys(self._sockets, b"")
        self._receipts.clear()
        self._latencies.clear()
        self._last = 0
        return {}

    def report(self, number: int) -> dict[str, float]:
        """Latencies to the last receiver, of those events that all have heard."""
        begun = self.heard
        missing = number * self.number - sum(self._receipts.values())
        self._receive_until(begun + missing, QUIET)
        receipts = sum(self._receipts.values())
        self._rests = None
        if not self._latencies:
            raise RuntimeError("No event was heard by all")
        return {
            "lost": 1 - receipts / (number * self.number),
            "took": (self._last - min(self._receipts)) / 1e9,
            "p50": statistics.median(self._latencies),
            "p99": percentile99(self._latencies),
        }

    def serve(self) -> None:
        """Follow the commands on standard input, and receive meanwhile."""
        self._epoll.register(sys.stdin, select.EPOLLIN)
        while command := self._next_command():
            name, *arguments = command.split()
            if name == "fanout":
                figures = self.fanout(float(arguments[0]))
            elif name == "collect":
                figures = self.collect()
            else:
                figures = self.report(int(arguments[0]))
            print(json.dumps(figures), flush=True)

    def _next_command(self) -> str:
        while True:
            for descriptor, _ in self._epoll.poll():
                if descriptor == sys.stdin.fileno():
                    return os.read(descriptor, 1000).decode()
                self._receive(descriptor)

    def _open_control(self) -> None:
        if self._control is not None:
            self._epoll.unregister(self._control)
            self._control.close()
        self._control = socket.create_connection(self._address, TIMEOUT)
        self._epoll.register(self._control, select.EPOLLIN)

    def _publish(self) -> None:
        if self._control is None:
            raise RuntimeError("There is no connection to publish by")
        self._is_answered = False
        self._control.sendall(b"GET /publish/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    def _receive_until(self, heard: int, patience: float) -> None:
        """Receive until so many messages were heard; patience: seconds of silence."""
        poll = self._epoll.poll
        while self.heard < heard or not self._is_answered:
            ready = poll(patience, 1000)
            if not ready:
                return
            for descriptor, _ in ready:
                self._receive(descriptor)

    def _receive(self, descriptor: int) -> None:
        sock = self._sockets.get(descriptor)
        if sock is None:
            if self._control is not None:
                self._receive_answer(self._control)
            return
        data = sock.recv(65536)
        if not data:
            raise RuntimeError("The server has closed a connection")
        self.heard += data.count(END)
        if self._rests is not None:
            self._note(descriptor, data, self._rests)

    def _receive_answer(self, control: socket.socket) -> None:
        answer = control.recv(65536)
        if answer:
            self._is_answered = True
        else:  # closed, as it was idle for long
            self._epoll.unregister(control)
            control.close()
            self._control = None

    def _note(self, descriptor: int, data: bytes, rests: dict[int, bytes]) -> None:
        self._last = now = time.monotonic_ns()
        *messages, rests[descriptor] = (rests[descriptor] + data).split(END)
        for message in messages:
            found = SENT.search(message)
            if found is None:
                raise RuntimeError(f"Not an event: {message!r}")
            sent = int(found[1])
            self._receipts[sent] += 1
            if self._receipts[sent] == self.number:
                self._latencies.append((now - sent) / 1e6)


def main(port: int, path: str, number: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listeners = Listeners(port, path, number)
    listeners.open()
    if not path.startswith("/bare/"):
        listeners.warm_up()
    print(json.dumps({}), flush=True)
    listeners.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
