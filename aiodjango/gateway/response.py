"""The aiohttp response to a request that a WSGI application has answered.

Responses are made in threads and sent on the event loop. One that is never sent frees its body when
it is garbage collected.
"""

import asyncio
import io
import os
import stat
from abc import abstractmethod
from typing import IO, Any, NoReturn

from aiohttp import Payload, web
from aiohttp.abc import AbstractStreamWriter

from .buffer import StreamBroken
from .connection import cut, is_received, sending_ended
from .head import Head
from .spool import UNCOUNTED, BodyFile, MemoryBudget, MemoryFile, close_off_loop, store
from .stream import Stream

# How much of a large body is given to the connection at once, in bytes. The first part is copied,
# because it is sent together with the headers; parts of a file take memory of their own.
FIRST_PART = 256 * 1024
MEMORY_PART = 1024 * 1024
FILE_PART = 64 * 1024
# How much of an application's file is read at once where the kernel cannot send it, in bytes.
FILE_BLOCK = 256 * 1024


# ---- Complete bodies ----


def complete_response(head: Head, body: bytes | None) -> web.Response:
    """Return a response with a small body that is complete.

    body: None where a response has none, as to HEAD and with 204 and 304.
    """
    response = web.Response(status=head.status, reason=head.reason, headers=head.headers, body=body)
    if head.close or (body is not None and head.ends_connection(len(body))):
        response.force_close()
    return response


def stored_response(head: Head, body: bytes, budget: MemoryBudget) -> web.Response:
    """Return a response with a complete body of any size. Called in a thread."""
    if len(body) <= UNCOUNTED:
        return complete_response(head, body)
    return LargeResponse(head, store(body, budget), len(body))


class LargeResponse(web.Response):
    """A response with a large body. For middlewares `body` is bytes, as in any other response."""

    def __init__(self, head: Head, file: IO[bytes], size: int) -> None:
        super().__init__(
            status=head.status, reason=head.reason, headers=head.headers, body=_Stored(file, size)
        )
        if head.ends_connection(size):
            self.force_close()

    def _get_body(self) -> bytes | bytearray | Payload | None:
        body = web.Response.body.fget(self)  # type: ignore[attr-defined]
        return body.content() if isinstance(body, _Stored) else body

    body = property(_get_body, web.Response.body.fset)  # type: ignore[attr-defined]


class _Stored(Payload):
    """A stored body, which is given to the connection in parts, as the client receives them.

    aiohttp's `BytesIOPayload` is not used: it takes 1.5 times the processor time, because it copies
    the body in small parts.
    """

    _value: IO[bytes]

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__(file)
        self._size = size

    def content(self) -> bytes:
        self._value.seek(0)
        return self._value.read()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.content().decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        if isinstance(self._value, MemoryFile):
            content = memoryview(self._value.getvalue())
            await writer.write(content[:FIRST_PART])
            for at in range(FIRST_PART, len(content), MEMORY_PART):
                await writer.write(content[at : at + MEMORY_PART])
            return
        loop = asyncio.get_running_loop()
        self._value.seek(0)
        while part := await loop.run_in_executor(None, self._value.read, FILE_PART):
            await writer.write(part)

    async def close(self) -> None:
        close_off_loop(self._value)


# ---- Bodies that are sent while they are read ----


class _SelfSending(web.StreamResponse):
    """A response that sends its body when it is prepared, like aiohttp's own FileResponse.

    Until then middlewares may change its headers, or return another response.
    """

    # Whether part of it has reached the client, as far as is known.
    has_begun = False
    _is_prepared = False
    _sent_by_kernel = 0  # bytes

    def __init__(self, head: Head) -> None:
        super().__init__(status=head.status, reason=head.reason, headers=head.headers)
        if head.close:
            self.force_close()

    @property
    def body_length(self) -> int:
        return super().body_length + self._sent_by_kernel

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self._is_prepared:
            return await super().prepare(request)
        self._is_prepared = True
        try:
            if self.content_length is None and request.version < (1, 1):
                # Only the end of the connection ends such a body.
                self.force_close()
            writer = await super().prepare(request)
            await self._send_body(request)
            await self.write_eof()
        finally:
            self._free()
        return writer

    @abstractmethod
    async def _send_body(self, request: web.BaseRequest) -> None:
        """Send the body, after the headers."""

    @abstractmethod
    def _free(self) -> None:
        """Free the body."""

    def __del__(self) -> None:
        if not self._is_prepared:
            self._free()


def stream_response(head: Head, stream: Stream) -> web.StreamResponse:
    """Return a response with a body that the application has begun. Called on the loop."""
    if not stream.is_whole:
        return StreamedResponse(head, stream)
    # The body was completed while it was on its way to the loop.
    body, share = stream.take_whole()
    if len(body) <= UNCOUNTED:
        return complete_response(head, body)
    return LargeResponse(head, MemoryFile(body, share), len(body))


class StreamedResponse(_SelfSending):
    """A response with a body that the application is still making."""

    def __init__(self, head: Head, stream: Stream) -> None:
        self._stream = stream
        super().__init__(head)

    async def _send_body(self, request: web.BaseRequest) -> None:
        self._stream.start_reading()
        try:
            if not self._stream.unread:
                request.writer.send_headers()  # which aiohttp keeps until the first part
            while chunk := await self._stream.read():
                await self.write(chunk)
                self.has_begun = self.has_begun or is_received(request)
                # Or a fast stream to a fast reader would block the loop.
                await asyncio.sleep(0)
        except StreamBroken:
            _break_off(request)
        finally:
            self._stream.stop_reading()

    def _free(self) -> None:
        self._stream.abandon()


class _FileResponse(_SelfSending):
    """A response with part of an open regular file, which it closes."""

    def __init__(self, head: Head, file: io.FileIO, offset: int, size: int) -> None:
        self._file = file
        self._part = offset, size
        self._is_short = size < (head.length or 0)
        super().__init__(head)

    async def _send_body(self, request: web.BaseRequest) -> None:
        offset, size = self._part
        sent = 0 if self.compression else await self._send_by_kernel(request)
        self._sent_by_kernel += sent
        loop = asyncio.get_running_loop()
        descriptor = self._file.fileno()
        while sent < size:
            wanted = min(FILE_BLOCK, size - sent)
            block = await loop.run_in_executor(None, os.pread, descriptor, wanted, offset + sent)
            if not block:
                break
            await self.write(block)
            sent += len(block)
        if sent < size or self._is_short:
            # The file was truncated meanwhile, or was too short from the beginning.
            _break_off(request)

    async def _send_by_kernel(self, request: web.BaseRequest) -> int:
        """Send what can be sent without reading it. Returns how many bytes that was."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("Connection lost")
        self.has_begun = sending_ended(transport) is None
        loop = asyncio.get_running_loop()
        try:
            return await loop.sendfile(transport, self._file, *self._part, fallback=False)
        except (NotImplementedError, RuntimeError):
            return 0  # over TLS, or on an event loop that does not support it

    def _free(self) -> None:
        self._file.close()


def file_response(head: Head, descriptor: int, offset: int, size: int) -> web.StreamResponse:
    """Return a response with part of a regular file, which may be closed at once.

    offset, size: the part, in bytes.
    """
    # A small part is read here, in the thread, which is cheaper than sendfile().
    if size <= UNCOUNTED:
        return complete_response(head, os.pread(descriptor, size, offset))
    return _FileResponse(head, BodyFile(os.dup(descriptor)), offset, size)


def _break_off(request: web.BaseRequest) -> NoReturn:
    """End a response that cannot be completed, so that the client notices it."""
    cut(request)
    raise ConnectionResetError("The response was cut short")


def plain_file(filelike: Any) -> tuple[int, int, int] | None:
    """Return the descriptor, the offset and the bytes left of a regular file that is read.

    None where there is no such file, or where `read()` returns something else than its content: a
    gzip file has a descriptor of the compressed data. The descriptor still belongs to `filelike`.
    """
    # Wrappers (temporary files, Django's File) have the read() method of the file itself.
    read = getattr(filelike, "read", None)
    read = getattr(read, "__wrapped__", read)
    file: Any = getattr(read, "__self__", None)
    if type(file) in (io.BufferedReader, io.BufferedRandom):
        if type(file.raw) is not io.FileIO:
            return None
    elif type(file) is not io.FileIO:
        return None
    try:
        # What was written to the file has to be sent, too.
        if file.writable():
            file.flush()
        descriptor = file.fileno()
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        offset = file.tell()
    except (OSError, ValueError):
        return None
    return descriptor, offset, max(status.st_size - offset, 0)
