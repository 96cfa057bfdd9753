"""Bodies that are still being made: a buffer between the thread that makes one and its reader.

A stream runs ahead of its reader, in memory and then in a temporary file, up to a limit. One that
has more to say, or that goes on for long, keeps its thread; the thread then stands aside, so that
the others' places stay free. Only so many may stand aside: the reader that has stalled longest
loses its stream to the next.
"""

import asyncio
import os
import tempfile
import threading
import time
from collections import deque

from .workers import Job, Workers

# A stream that has lasted this long (seconds) stands aside, if there is room.
LONG_STREAM = 1.0
# How much one read() takes at most, in bytes.
READ_SIZE = 64 * 1024


class StreamCut(Exception):
    """For the thread: nobody reads on (the client left or stalled, or the server shuts down)."""


class StreamBroken(Exception):
    """For the reader: the rest of the body will never come."""


class Stream:
    """The body of one response, written by one thread and read by one coroutine."""

    def __init__(
        self, streams: "Streams", transport: asyncio.Transport, limit: int, memory: int
    ) -> None:
        self._streams = streams
        self._transport = transport
        self._limit = limit
        # At least one part fits: the first one never waits for a reader, who may not know yet.
        self._memory_limit = max(1, min(memory, limit))
        # Guards what follows; held for moments only, never while a file is read or written.
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._chunks: deque[bytes] = deque()
        self._in_memory = 0
        self._ring: _RingFile | None = None
        self._in_file = 0
        self._ended = False
        self._complete = False
        self._cut = False
        self._waiter: asyncio.Future[None] | None = None
        # Since when (monotonic) the thread has been waiting for the reader.
        self.stalled_since: float | None = None

    # --- In the thread that makes the body -------------------------------------------------

    def put(self, chunk: bytes) -> None:
        """Add `chunk`; waits for the reader when it is too far behind. Raises StreamCut."""
        rest = memoryview(chunk)
        while rest:
            with self._lock:
                self._check()
                spill = self._in_file > 0 or self._in_memory >= self._memory_limit
                if not spill:
                    # All of it: the application holds it in memory anyway.
                    self._chunks.append(chunk if len(rest) == len(chunk) else bytes(rest))
                    self._in_memory += len(rest)
                    rest = rest[:0]
                    self._wake_reader()
                room = self._limit - self._in_memory - self._in_file
            if rest and room > 0:
                rest = rest[self._spill(rest[:room]) :]
            elif rest:
                self._wait_for_room()

    def finish(self) -> None:
        """The body is complete."""
        self._end(complete=True)

    def fail(self) -> None:
        """The body ends here, and that is not how it should."""
        self._end(complete=False)

    def _end(self, complete: bool) -> None:
        with self._lock:
            if not self._ended:
                self._ended = True
                # An application may take no notice of StreamCut, but the body lacks a part then.
                self._complete = complete and not self._cut
                self._wake_reader()
        self._streams.closed(self)

    def _spill(self, part: memoryview) -> int:
        with self._lock:
            self._check()
            if self._ring is None:
                self._ring = _RingFile(self._limit)
            ring = self._ring
        written = ring.write(part)
        with self._lock:
            self._in_file += written
            self._wake_reader()
        return written

    def _wait_for_room(self) -> None:
        self._streams.stalled(self)
        with self._lock:
            while self._in_memory + self._in_file > self._limit // 2 and not self._cut:
                self._room.wait()
            self.stalled_since = None
            self._check()

    def _check(self) -> None:
        if self._cut or self._transport.is_closing():
            raise StreamCut

    def _wake_reader(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._streams.workers.post(_set_result, waiter)

    # --- In any thread ---------------------------------------------------------------------

    def cut(self) -> None:
        """Let the thread end at its next chunk; at once, if it is waiting for the reader."""
        with self._lock:
            self._cut = True
            self._room.notify()

    # --- On the loop -----------------------------------------------------------------------

    def start_reading(self) -> asyncio.TimerHandle:
        """To be called before the first read(); the timer is to be cancelled after the last."""
        return self._streams.workers.loop.call_later(LONG_STREAM, self._streams.lasts, self)

    async def read(self) -> bytes:
        """The next part of the body, b"" at its end. Raises StreamBroken when it breaks off."""
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
                    waiter = self._waiter = self._streams.workers.loop.create_future()
            if chunk:
                return chunk
            if waiter is None:
                return await self._read_file(from_file)
            await waiter

    def abandon(self) -> None:
        """Nobody reads on: end the stream, and let go of what was not read."""
        self.cut()
        with self._lock:
            self._chunks.clear()
            # A thread that is still at the file keeps it open until it is done.
            self._ring = None

    def hang_up(self) -> None:
        """Take the stream, and the connection, from a reader that does not read."""
        self._transport.abort()
        self.cut()

    @property
    def is_whole(self) -> bool:
        """Whether the body has ended well and is all in memory."""
        with self._lock:
            return self._complete and not self._in_file

    def take_whole(self) -> bytes:
        """All of a body that `is_whole`."""
        with self._lock:
            return self._take(self._in_memory)

    def _take(self, size: int = READ_SIZE) -> bytes:
        taken: list[bytes] = []
        while self._chunks and size > 0:
            chunk = self._chunks.popleft()
            taken.append(chunk)
            size -= len(chunk)
            self._in_memory -= len(chunk)
        if taken:
            self._room.notify()
        return taken[0] if len(taken) == 1 else b"".join(taken)

    async def _read_file(self, size: int) -> bytes:
        ring = self._ring
        if ring is None:
            raise RuntimeError("a stream without a file has nothing in it")
        loop = asyncio.get_running_loop()
        chunk = await loop.run_in_executor(None, ring.read, size)
        with self._lock:
            self._in_file -= len(chunk)
            self._room.notify()
        return chunk


class Streams:
    """The streams of a gateway, and the rule by which their threads stand aside."""

    def __init__(self, workers: Workers, *, limit: int, memory: int, max_aside: int) -> None:
        self.workers = workers
        self._limit = limit
        self._memory = memory
        self._max_aside = max_aside
        self._lock = threading.Lock()
        self._open: dict[Stream, Job] = {}
        self._aside: set[Stream] = set()
        self._stopping = False

    # --- In the threads --------------------------------------------------------------------

    def open(self, job: Job, transport: asyncio.Transport) -> Stream:
        """A new stream, made by the thread that runs `job`, for the client of `transport`."""
        stream = Stream(self, transport, self._limit, self._memory)
        with self._lock:
            self._open[stream] = job
            if self._stopping:
                stream.cut()
        return stream

    def stalled(self, stream: Stream) -> None:
        """The thread of `stream` will wait for its reader."""
        victim = None
        with self._lock:
            stream.stalled_since = time.monotonic()
            if stream not in self._aside:
                self._step_aside(stream)
                if len(self._aside) > self._max_aside:
                    victim = self._longest_stalled()
                    self._aside.discard(victim)  # its thread will be gone in a moment
        if victim is not None:
            self.workers.post(victim.hang_up)

    def closed(self, stream: Stream) -> None:
        """The thread of `stream` has made the last of it."""
        with self._lock:
            self._open.pop(stream, None)
            self._aside.discard(stream)

    def _step_aside(self, stream: Stream) -> None:
        self._aside.add(stream)
        self.workers.step_aside(self._open[stream])

    def _longest_stalled(self) -> Stream:
        """Of those that stand aside; there is always one, which has just begun to stall."""
        stalled = (
            (since, stream) for stream in self._aside if (since := stream.stalled_since) is not None
        )
        return min(stalled, key=lambda pair: pair[0])[1]

    # --- On the loop -----------------------------------------------------------------------

    @property
    def aside(self) -> int:
        """How many streams' threads stand aside."""
        return len(self._aside)

    def lasts(self, stream: Stream) -> None:
        """`stream` goes on for long: let its thread stand aside, if there is room."""
        with self._lock:
            if stream in self._open and len(self._aside) < self._max_aside:
                self._step_aside(stream)

    def stop(self) -> None:
        """End all streams at their next chunk, those not yet opened too."""
        with self._lock:
            self._stopping = True
            streams = list(self._open)
        for stream in streams:
            stream.cut()


class _RingFile:
    """A temporary file of bounded size, written at one end and read at the other.

    One thread writes, another reads; neither may pass the other, of which the stream keeps count.
    The descriptor lives as long as somebody refers to the object: a thread that is still reading
    can not lose it to another that has had enough.
    """

    _descriptor = -1

    def __init__(self, capacity: int) -> None:
        with tempfile.TemporaryFile() as file:
            self._descriptor = os.dup(file.fileno())
        self._capacity = capacity
        self._write_at = 0
        self._read_at = 0

    def write(self, data: memoryview) -> int:
        """Write what fits before the end of the file; returns how much that was."""
        data = data[: self._capacity - self._write_at]
        written = os.pwrite(self._descriptor, data, self._write_at)
        self._write_at = (self._write_at + written) % self._capacity
        return written

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes, no further than the end of the file."""
        size = min(size, self._capacity - self._read_at)
        data = os.pread(self._descriptor, size, self._read_at)
        self._read_at = (self._read_at + len(data)) % self._capacity
        return data

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _set_result(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
