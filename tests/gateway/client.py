"""An HTTP client that sends exactly the bytes it is given, and shows exactly what came back."""

import asyncio
import socket
import ssl
import struct
from typing import NamedTuple

from tests.support.waiting import DEADLINE


class Answer(NamedTuple):
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    # False if the connection ended before the response did.
    complete: bool = True

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """One connection."""

    def __init__(
        self,
        host: str,
        port: int = 0,
        *,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self._where = (host, port)
        self._tls = tls
        self._receive_buffer = receive_buffer

    async def __aenter__(self) -> "Client":
        host, port = self._where
        if host.startswith("/"):
            opening = asyncio.open_unix_connection(host)
        elif self._receive_buffer:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
            sock.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(sock, (host, port))
            except BaseException:
                sock.close()
                raise
            opening = asyncio.open_connection(sock=sock, limit=self._receive_buffer)
        else:
            opening = asyncio.open_connection(host, port, ssl=self._tls)
        self.reader, self.writer = await asyncio.wait_for(opening, DEADLINE)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if exc_info != (None, None, None):
            # The test has failed: a server that reads nothing would be waited for.
            self.writer.transport.abort()
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), DEADLINE)
        except (ConnectionError, ssl.SSLError):
            pass

    def end_sending(self) -> None:
        """Send no more, and go on reading."""
        self.writer.write_eof()

    def abort(self) -> None:
        """Leave so that the server is told at once."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), DEADLINE)

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        version: str = "1.1",
    ) -> Answer:
        lines = [f"{method} {path} HTTP/{version}", "Host: test"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
        return await self.answer(head_only=method == "HEAD")

    async def answer(self, *, head_only: bool = False) -> Answer:
        """Read one response."""
        status, reason, headers = await self.head()
        given = {name.lower(): value for name, value in headers}
        if head_only or status in (204, 304) or status < 200:
            return Answer(status, reason, headers, b"")
        body, complete = await asyncio.wait_for(self._body(given), DEADLINE)
        return Answer(status, reason, headers, body, complete)

    async def head(self) -> tuple[int, str, list[tuple[str, str]]]:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), DEADLINE)
        status_line, *lines = head[:-4].decode("latin-1").split("\r\n")
        _, status, reason = status_line.split(" ", 2)
        headers = []
        for line in lines:
            name, value = line.split(": ", 1)
            headers.append((name, value))
        return int(status), reason, headers

    async def chunk(self) -> bytes:
        """Read one chunk of a chunked body."""
        line = await asyncio.wait_for(self.reader.readuntil(b"\r\n"), DEADLINE)
        size = int(line, 16)
        data = await asyncio.wait_for(self.reader.readexactly(size + 2), DEADLINE)
        return data[:-2]

    async def _body(self, headers: dict[str, str]) -> tuple[bytes, bool]:
        body = b""
        try:
            if headers.get("transfer-encoding") == "chunked":
                parts = []
                while part := await self.chunk():
                    parts.append(part)
                    body = b"".join(parts) if len(parts) < 100 else body
                return b"".join(parts), True
            if "content-length" in headers:
                return await self.reader.readexactly(int(headers["content-length"])), True
            return await self.reader.read(), True
        except asyncio.IncompleteReadError as error:
            return body + error.partial, False
        except ConnectionError:
            return body, False

    async def at_end(self) -> bool:
        """Whether the server closes the connection, and sends nothing more before it does."""
        try:
            return await asyncio.wait_for(self.reader.read(1), DEADLINE) == b""
        except ConnectionError:
            return True
