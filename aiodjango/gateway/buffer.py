"""A buffer between a thread, which writes a response body, and the event loop, which reads it.

The thread runs ahead of the reader, in memory and then in a temporary file, up to a limit.
"""

import asyncio
import threading
import time
from collections import deque

from .spool import MemoryBudget, RingFile, Share
from .threads import Workers

# How much one read() returns, in bytes (more where a part is a little longer).
READ_SIZE = 64 * 1024


class StreamCut(Exception):
    """For the thread: the body is no longer read.

    The client has left or was disconnected, or the server shuts down.
    """


class StreamBroken(Exception):
    """For the reader: the body is not going to be completed."""


class Buffer:
    """What one thread has written, and one coroutine has not read yet, of a body.

    transport: the client's; a write fails when it is closing.
    limit: how many bytes may be unread.
    memory: how many of them stay in memory.
    """

    def __init__(
        self,
        workers: Workers,
        transport: asyncio.Transport,
        budget: MemoryBudget,
        limit: int,
        memory: int,
    ) -> None:
        self._workers = workers
        self._transport = transport
        self._limit = limit
        # One part is always kept in memory, so that a short body is complete when it arrives.
        self._memory_limit = max(1, min(memory, limit))
        # Guards the rest. It is never held while a file is read or written.
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._room_wanted = -1  # the thread is woken when no more bytes than this are unread
        self._chunks: deque[bytes | memoryview] = deque()
        self._in_memory = 0
        self._share = Share(budget)
        self._ring: RingFile | None = None
        self._in_file = 0
        self._ended = False
        self._complete = False
        self._cut = False
        self._waiter: asyncio.Future[None] | None = None
        # When the reader last read something (monotonic).
        self.last_read = time.monotonic()

    # ---- In the thread ----

    def keep(self, chunk: bytes) -> bool:
        """Add a chunk if there is room in memory. Returns whether there is. Raises StreamCut."""
        with self._lock:
            self.check()
            if self._in_file or self._in_memory >= self._memory_limit:
                return False
            # Also a chunk that exceeds the limit: the application has it in memory anyway.
            size = self._in_memory + len(chunk)
            if not self._share.resize(size):
                return False
            self._in_memory = size
            self._chunks.append(chunk)
            self._wake_reader()
        return True

    def spill(self, part: memoryview) -> int:
        """Add part of a chunk to the file. Returns how many bytes. Raises StreamCut."""
        with self._lock:
            self.check()
            if self._ring is None:
                self._ring = RingFile(self._limit)
            ring = self._ring
        written = ring.write(part)
        with self._lock:
            self._in_file += written
            self._wake_reader()
        return written

    def wait(self, room_wanted: int, timeout: float | None = None) -> bool:
        """Wait until no more than `room_wanted` bytes are unread, or for `timeout` seconds.

        Returns whether no more are unread. Raises StreamCut.
        """
        with self._lock:
            self._room_wanted = room_wanted
            self._room.wait_for(self._has_room, timeout)
            self._room_wanted = -1
            self.check()
            return self.unread <= room_wanted

    def _has_room(self) -> bool:
        return self._cut or self.unread <= self._room_wanted

    def check(self) -> None:
        """Raise StreamCut if the body is no longer read."""
        if self._cut or self._transport.is_closing():
            raise StreamCut

    def end(self, *, complete: bool) -> None:
        """End the body."""
        with self._lock:
            if not self._ended:
                self._ended = True
                # An application may ignore StreamCut, but the body is not complete then.
                self._complete = complete and not self._cut
                self._wake_reader()

    def _wake_reader(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._workers.post(_set_result, waiter)

    # ---- In any thread ----

    @property
    def unread(self) -> int:
        """How many bytes the reader has not read yet."""
        return self._in_memory + self._in_file

    def cut(self) -> None:
        """End the thread at its next chunk, or at once if it waits for the reader."""
        with self._lock:
            self._cut = True
            self._room.notify()

    # ---- On the loop ----

    async def read(self) -> bytes | memoryview:
        """Return the next part of the body, b"" at its end. Raises StreamBroken."""
        while True:
            waiter: asyncio.Future[None] | None = None
            with self._lock:
                chunk = self._take()
                from_file = 0 if chunk else min(self._in_file, READ_SIZE)
                if not chunk and not from_file:
                    if self._ended:
                        if self._complete:
                            return b""
                        raise StreamBroken
                    waiter = self._waiter = self._workers.loop.create_future()
            if chunk:
                return chunk
            if waiter is None:
                return await self._read_file(from_file)
            await waiter

    def _take(self) -> bytes | memoryview:
        taken: list[bytes | memoryview] = []
        size = READ_SIZE
        while self._chunks and size > 0:
            chunk = self._chunks.popleft()
            if len(chunk) > 2 * READ_SIZE:
                chunk = memoryview(chunk)
                self._chunks.appendleft(chunk[READ_SIZE:])
                chunk = chunk[:READ_SIZE]
            taken.append(chunk)
            size -= len(chunk)
            self._in_memory -= len(chunk)
        if taken:
            # (A chunk that is read in parts stays in memory until the last one.)
            if not self._chunks or type(self._chunks[0]) is bytes:
                self._share.resize(self._in_memory)
            self._was_read()
        return taken[0] if len(taken) == 1 else b"".join(taken)

    async def _read_file(self, size: int) -> bytes:
        ring = self._ring
        if ring is None:  # pragma: no cover - bytes are counted after the file is made
            raise RuntimeError("A stream without a file has no bytes in it")
        loop = asyncio.get_running_loop()
        chunk = await loop.run_in_executor(None, ring.read, size)
        with self._lock:
            self._in_file -= len(chunk)
            self._was_read()
        return chunk

    def _was_read(self) -> None:
        self.last_read = time.monotonic()
        if self._has_room():
            self._room.notify()

    @property
    def is_whole(self) -> bool:
        """Whether the body is complete, and all of it in memory."""
        with self._lock:
            return self._complete and not self._in_file

    def take_whole(self) -> tuple[bytes, Share]:
        """Return a body that `is_whole`, and its share of the budget."""
        with self._lock:
            return b"".join(self._chunks), self._share

    def abandon(self) -> None:
        """End the stream, and free what was not read."""
        self.cut()
        with self._lock:
            self._chunks.clear()
            self._share.resize(0)
            # A thread that still uses the file keeps it open.
            ring, self._ring = self._ring, None
        if ring is not None:
            ring.free_off_loop()


def _set_result(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
