"""What a worker thread hands over, and the aiohttp response that it becomes on the loop.

A reply is immutable. It owns what it carries: either its response is made and used, or it is
discarded.
"""

import asyncio
import io
import logging
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, NoReturn, Protocol

from aiohttp import Payload, web
from aiohttp.abc import AbstractStreamWriter

from .body import close_off_loop
from .connection import cut, is_received, sending_ended
from .memory import UNCOUNTED, MemoryBudget, Share
from .stream import Stream, StreamBroken

logger = logging.getLogger("aiodjango.gateway")

# How much of a file that cannot be sent by the kernel is read at once.
FILE_BLOCK = 256 * 1024
# How much of a large body the connection gets at once. What comes with the headers is copied, and
# what comes from a file is memory of its own.
FIRST_PART = 256 * 1024
PART_OF_FILE = 64 * 1024
LARGE_PART = 1024 * 1024


class Head(NamedTuple):
    """A status line and headers that are fit to be sent."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    # The Content-Length that the application gave.
    length: int | None
    # The application asked for the connection to be closed.
    close: bool = False

    def with_length(self, length: int) -> "Head":
        """This head, with a Content-Length that the application did not give."""
        headers = [*self.headers, ("Content-Length", str(length))]
        return self._replace(headers=headers, length=length)


class Reply(Protocol):
    def response(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response to return for `request`."""

    def discard(self) -> None:
        """Give up what the reply holds: it will not be sent."""


class WholeReply(NamedTuple):
    """A body that is all there; None where there must not be one (HEAD, 204, 304)."""

    head: Head
    body: bytes | None

    def response(self, request: web.BaseRequest) -> web.StreamResponse:
        status, reason, headers, length, close = self.head
        response = web.Response(status=status, reason=reason, headers=headers, body=self.body)
        # A body shorter than announced: the end of the connection is all that can tell.
        if close or (length is not None and self.body is not None and len(self.body) < length):
            response.force_close()
        return response

    def discard(self) -> None:
        pass


class LargeReply(NamedTuple):
    """A body that is all there, and more than what a slow client's connection is to hold."""

    head: Head
    body: "_LargeBody"

    def response(self, request: web.BaseRequest) -> web.StreamResponse:
        return _LargeResponse(self)

    def discard(self) -> None:
        self.body.discard()


def whole_reply(head: Head, body: bytes, budget: MemoryBudget) -> WholeReply | LargeReply:
    """The reply that carries `body`, whatever its size; to be made in a thread.

    A large body stays in memory as far as `budget` reaches, and else is written to a file.
    """
    if len(body) <= UNCOUNTED:
        return WholeReply(head, body)
    share = Share(budget)
    if not share.resize(len(body)):
        try:
            return LargeReply(head, _FileBody(_temporary_file(body), len(body)))
        except OSError as error:
            logger.warning("No file for a large response, which stays in memory: %s", error)
    return LargeReply(head, _MemoryBody(body, share))


def _temporary_file(content: bytes) -> io.FileIO:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return io.FileIO(os.dup(file.fileno()))


class FileReply(NamedTuple):
    """Part of a regular file, by a descriptor of the reply's own."""

    head: Head
    file: io.FileIO
    offset: int
    size: int

    def response(self, request: web.BaseRequest) -> web.StreamResponse:
        return _FileResponse(self)

    def discard(self) -> None:
        self.file.close()


class StreamReply(NamedTuple):
    """A body that is still being made."""

    head: Head
    stream: Stream

    def response(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.stream.is_whole:
            # It ended while it was on its way here: no need to treat it as a stream.
            body, share = self.stream.take_whole()
            if len(body) > UNCOUNTED:
                return LargeReply(self.head, _MemoryBody(body, share)).response(request)
            return WholeReply(self.head, body).response(request)
        return _StreamResponse(self)

    def discard(self) -> None:
        self.stream.abandon()


class _LargeBody(Payload, ABC):
    """A large body, which the connection gets in parts, as the client takes them."""

    def __init__(self, value: object, size: int) -> None:
        super().__init__(value)
        self._size = self.length = size

    @abstractmethod
    def content(self) -> bytes:
        """All of the body."""

    @abstractmethod
    def discard(self) -> None:
        """Give up the body."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.content().decode(encoding, errors)

    async def close(self) -> None:
        self.discard()


class _MemoryBody(_LargeBody):
    _value: bytes

    def __init__(self, body: bytes, share: Share) -> None:
        super().__init__(body, len(body))
        self._share = share

    def content(self) -> bytes:
        return self._value

    async def write(self, writer: AbstractStreamWriter) -> None:
        body = memoryview(self._value)
        await writer.write(body[:FIRST_PART])
        for at in range(FIRST_PART, len(body), LARGE_PART):
            await writer.write(body[at : at + LARGE_PART])

    def discard(self) -> None:
        # aiohttp keeps a response until the connection's next request.
        self._value = b""
        self._share.resize(0)


class _FileBody(_LargeBody):
    """Of which nothing is in memory: it was too much, with all the others."""

    _value: io.FileIO

    def content(self) -> bytes:
        return os.pread(self._value.fileno(), self.length, 0)

    async def write(self, writer: AbstractStreamWriter) -> None:
        loop = asyncio.get_running_loop()
        descriptor = self._value.fileno()
        for at in range(0, self.length, PART_OF_FILE):
            part = await loop.run_in_executor(None, os.pread, descriptor, PART_OF_FILE, at)
            await writer.write(part)

    def discard(self) -> None:
        close_off_loop(self._value)

    def __del__(self) -> None:
        self._value.close()


class _LargeResponse(web.Response):
    """For middlewares a response like any other: its `body` are bytes."""

    def __init__(self, reply: LargeReply) -> None:
        head = reply.head
        super().__init__(
            status=head.status, reason=head.reason, headers=head.headers, body=reply.body
        )
        # A body shorter than announced: the end of the connection is all that can tell.
        if head.close or reply.body.length < (head.length or 0):
            self.force_close()

    def _get_body(self) -> bytes | bytearray | Payload | None:
        body = web.Response.body.fget(self)  # type: ignore[attr-defined]
        return body.content() if isinstance(body, _LargeBody) else body

    body = property(_get_body, web.Response.body.fset)  # type: ignore[attr-defined]


class _SelfSending(web.StreamResponse):
    """A response that sends its body when it is prepared, as aiohttp's own FileResponse does.

    Until then middlewares may still change its headers, or answer with something else.
    """

    def __init__(self, reply: "FileReply | StreamReply") -> None:
        head = reply.head
        super().__init__(status=head.status, reason=head.reason, headers=head.headers)
        if head.close:
            self.force_close()
        self._discard: Callable[[], None] | None = reply.discard
        # What did not pass through aiohttp's writer.
        self._sent_beside = 0
        # The client has received some of it, as far as is known.
        self.has_begun = False

    @property
    def body_length(self) -> int:
        return super().body_length + self._sent_beside

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        discard, self._discard = self._discard, None
        if discard is None:
            return await super().prepare(request)
        try:
            if self.content_length is None and request.version < (1, 1):
                # Only the end of the connection ends such a body.
                self.force_close()
            writer = await super().prepare(request)
            await self._send_body(request)
            await self.write_eof()
        finally:
            discard()
        return writer

    async def _send_body(self, request: web.BaseRequest) -> None:
        raise NotImplementedError

    def __del__(self) -> None:
        if self._discard is not None:
            self._discard()


class _StreamResponse(_SelfSending):
    def __init__(self, reply: StreamReply) -> None:
        super().__init__(reply)
        self._stream = reply.stream

    async def _send_body(self, request: web.BaseRequest) -> None:
        self._stream.start_reading()
        try:
            if not self._stream.unread:
                request.writer.send_headers()  # which aiohttp keeps for the first part
            while chunk := await self._stream.read():
                await self.write(chunk)
                self.has_begun = self.has_begun or is_received(request)
                # Or a quick stream to a quick reader would keep the loop for itself.
                await asyncio.sleep(0)
        except StreamBroken:
            _break_off(request)
        finally:
            self._stream.stop_reading()


class _FileResponse(_SelfSending):
    def __init__(self, reply: FileReply) -> None:
        super().__init__(reply)
        self._file = reply

    async def _send_body(self, request: web.BaseRequest) -> None:
        reply = self._file
        sent = 0 if self.compression else await self._send_by_kernel(request, reply)
        self._sent_beside += sent
        loop = asyncio.get_running_loop()
        descriptor = reply.file.fileno()
        while sent < reply.size:
            wanted = min(FILE_BLOCK, reply.size - sent)
            at = reply.offset + sent
            block = await loop.run_in_executor(None, os.pread, descriptor, wanted, at)
            if not block:
                break
            await self.write(block)
            sent += len(block)
        if sent < reply.size or (reply.head.length or 0) > reply.size:
            # The file has shrunk, or was too short from the start.
            _break_off(request)

    async def _send_by_kernel(self, request: web.BaseRequest, reply: FileReply) -> int:
        """Send what can be sent without reading it; returns how much that was."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("Connection lost")
        self.has_begun = sending_ended(transport) is None
        loop = asyncio.get_running_loop()
        try:
            return await loop.sendfile(
                transport, reply.file, reply.offset, reply.size, fallback=False
            )
        except (NotImplementedError, RuntimeError):
            return 0  # over TLS, or on a loop that cannot


def _break_off(request: web.BaseRequest) -> NoReturn:
    """End a response that cannot be completed; the client sees that something is missing."""
    cut(request)
    raise ConnectionResetError("The response was cut short")
