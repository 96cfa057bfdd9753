"""Clients of many WebSockets: python -m benchmarks.sockets PORT PATH NUMBER

Opens them and prints a line. For each number of seconds on standard input it has messages echoed
for so long, one at a time on each socket, and prints how many they were, in all and a second, and
the 99th percentile of the time they took, in milliseconds; all lines in JSON. At the end of its
input it closes all.

It speaks as little of the protocol as it can: it is the servers that are to be kept busy.
"""

import asyncio
import json
import sys
import time
from base64 import b64encode
from typing import Any

try:
    from uvloop import run
except ImportError:
    from asyncio import run

from benchmarks.probe import percentile99

TEXT = b"a message of forty characters, or nearly"
FRAME = bytes([0x81, len(TEXT)]) + TEXT  # as a server sends it
# A client masks: with a key of zeros the text stays what it is.
MASKED_FRAME = bytes([0x81, 0x80 | len(TEXT), 0, 0, 0, 0]) + TEXT
AT_ONCE = 50  # handshakes: less than a server's backlog
TIMEOUT = 60  # seconds


class Client(asyncio.Protocol):
    """One WebSocket. `latencies` is where it puts them, or None at the end."""

    def __init__(self, port: int, path: str) -> None:
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {b64encode(bytes(16)).decode()}\r\n\r\n"
        ).encode()
        loop = asyncio.get_running_loop()
        self.opened = loop.create_future()
        self.idle = loop.create_future()
        self.latencies: list[float] | None = None
        self._received = b""
        self._sent = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self.opened.done():
            head, end, self._received = self._received.partition(b"\r\n\r\n")
            if not end:
                self._received = head
            elif head.startswith(b"HTTP/1.1 101 "):
                self.opened.set_result(None)
            else:
                self.opened.set_exception(RuntimeError(f"No WebSocket:\n{head.decode()}"))
        elif self._received == FRAME:
            self._received = b""
            self._answered()
        elif not FRAME.startswith(self._received):
            self._fail(RuntimeError(f"Not the message that was sent: {self._received!r}"))

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionResetError("The server has closed a WebSocket"))

    def echo(self, latencies: list[float]) -> None:
        self.idle = asyncio.get_running_loop().create_future()
        self.latencies = latencies
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self.transport.write(MASKED_FRAME)

    def _answered(self) -> None:
        if self.latencies is None:
            self.idle.set_result(None)
        else:
            self.latencies.append((time.perf_counter() - self._sent) * 1000)
            self._send()

    def _fail(self, error: Exception) -> None:
        for future in self.opened, self.idle:
            if not future.done():
                future.set_exception(error)
                future.exception()  # It need not be asked for once all is over.


async def open_all(port: int, path: str, number: int) -> list[Client]:
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    while len(clients) < number:
        some = []
        for _ in range(min(AT_ONCE, number - len(clients))):
            _, client = await loop.create_connection(lambda: Client(port, path), "127.0.0.1", port)
            some.append(client)
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*(client.opened for client in some))
        clients += some
    return clients


async def echo(clients: list[Client], seconds: float) -> dict[str, float]:
    latencies: list[float] = []
    for client in clients:
        client.echo(latencies)
    await asyncio.sleep(seconds)
    rate = len(latencies) / seconds
    for client in clients:
        client.latencies = None
    async with asyncio.timeout(TIMEOUT):
        await asyncio.gather(*(client.idle for client in clients))
    messages = len(latencies) + len(clients)  # The last ones are answered after the time is over.
    return {"rate": rate, "messages": messages, "p99": percentile99(latencies)}


async def main(port: int, path: str, number: int) -> None:
    clients = await open_all(port, path, number)
    print(json.dumps({}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await echo(clients, float(line))), flush=True)
    for client in clients:
        client.transport.abort()


if __name__ == "__main__":
    run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
