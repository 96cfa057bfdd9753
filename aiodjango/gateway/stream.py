"""Bodies that are still being made: a buffer between the thread that makes one and its reader.

A stream runs ahead of its reader, in memory and then in a temporary file, up to a limit. One that
has more to say, or that goes on for long, keeps its thread; the thread then stands aside, so that
the others' places stay free. Only so many may stand aside: the reader that has stalled longest
loses its stream to the next. Streams that compute, if there are several, take turns, which leaves
half of the time to everything else.
"""

import asyncio
import threading
import time
from collections import deque

from .spool import UNCOUNTED, MemoryBudget, RingFile, Share
from .threads import Job, Workers

# A stream that has lasted this long (seconds) stands aside, if there is room …
LONG_STREAM = 1.0
# … and one that keeps a place is looked at this often, to leave it when others wait.
LOOK_INTERVAL = 0.1
# How long (seconds) a stream waits for a quick reader before it begins a file.
QUICK_READER = 0.01
# How long (seconds) a stream computes before it lets the others have their turns …
TURN = 0.005
# … and the longest that these may take.
LONGEST_PAUSE = 0.5
# How much one read() takes, in bytes (more, when a part is a little longer).
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
        # At least one part fits, so that a short body arrives whole.
        self._memory_limit = max(1, min(memory, limit))
        # Guards what follows; held for moments only, never while a file is read or written.
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._room_wanted = -1  # how little must be left unread for the thread to be woken
        self._chunks: deque[bytes | memoryview] = deque()
        self._in_memory = 0
        self._share = Share(streams.budget)
        self._ring: RingFile | None = None
        self._in_file = 0
        self._ended = False
        self._complete = False
        self._cut = False
        self._waiter: asyncio.Future[None] | None = None

        # When the stream began, and when its reader last took something (monotonic).
        self.began = self.last_read = time.monotonic()
        self._turn_began = self.began
        self._computed = time.thread_time()
        self._timer: asyncio.TimerHandle

    # --- In the thread that makes the body -------------------------------------------------

    def keep(self, chunk: bytes) -> bool:
        """Add `chunk` to what is in memory, if there is room; never waits. Raises StreamCut."""
        with self._lock:
            self._check()
            if self._in_file or self._in_memory >= self._memory_limit:
                return False
            # All of it, if it is not too much for everybody: the application holds it anyway.
            size = self._in_memory + len(chunk)
            if not self._share.resize(size):
                return False
            self._in_memory = size
            self._chunks.append(chunk)
            self._wake_reader()
        return True

    def pass_over(self) -> None:
        """Add nothing; let others have this place if they wait for one. Raises StreamCut."""
        with self._lock:
            self._check()
        self._streams.make_way(self)

    def put(self, chunk: bytes) -> None:
        """Add `chunk`; waits for the reader when it is too far behind. Raises StreamCut."""
        self._take_turns()
        if self.keep(chunk):
            return
        if self._waits_for_quick_reader() and self.keep(chunk):
            return
        self._streams.make_way(self)
        rest = memoryview(chunk)
        while rest:
            room = self._limit - self.unread
            if not self._in_file and self.keep(bytes(rest[:UNCOUNTED])):
                rest = rest[UNCOUNTED:]
            elif room > 0:
                rest = rest[self._spill(rest[:room]) :]
            else:
                self._streams.stalled(self)
                self._wait(self._limit // 2)

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
                self._ring = RingFile(self._limit)
            ring = self._ring
        written = ring.write(part)
        with self._lock:
            self._in_file += written
            self._wake_reader()
        return written

    def _waits_for_quick_reader(self) -> bool:
        return not self._in_file and self._wait(self._memory_limit // 2, QUICK_READER)

    def _take_turns(self) -> None:
        """Let the other streams compute, when this one has done so for a while."""
        now = time.monotonic()
        if now - self._turn_began < TURN:
            return
        self._turn_began = now
        computed = time.thread_time()
        used = computed - self._computed
        if used >= TURN:
            self._computed = computed
            self._streams.make_way(self)
            pause = self._streams.pause(self, used)
            if pause:
                self._wait(-1, pause)

    def _wait(self, room_wanted: int, timeout: float | None = None) -> bool:
        """Wait until no more than `room_wanted` bytes are unread, or else for `timeout` seconds.

        Returns whether that is so. Raises StreamCut.
        """
        with self._lock:
            self._room_wanted = room_wanted
            self._room.wait_for(self._has_room, timeout)
            self._room_wanted = -1
            self._check()
            return self.unread <= room_wanted

    def _has_room(self) -> bool:
        return self._cut or self.unread <= self._room_wanted

    def _check(self) -> None:
        if self._cut or self._transport.is_closing():
            raise StreamCut

    def _wake_reader(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._streams.workers.post(_set_result, waiter)

    # --- In any thread ---------------------------------------------------------------------

    @property
    def unread(self) -> int:
        """How many bytes wait for the reader."""
        return self._in_memory + self._in_file

    def cut(self) -> None:
        """Let the thread end at its next chunk; at once, if it is waiting for the reader."""
        with self._lock:
            self._cut = True
            self._room.notify()

    # --- On the loop -----------------------------------------------------------------------

    def start_reading(self) -> None:
        """To be called before the first read()."""
        loop = self._streams.workers.loop
        self._timer = loop.call_later(LOOK_INTERVAL, self._look)

    def stop_reading(self) -> None:
        """To be called after the last read()."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._streams.keeps_its_place(self):
            self.start_reading()

    async def read(self) -> bytes | memoryview:
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
            self._share.resize(0)
            # A thread that is still at the file keeps it open until it is done.
            ring, self._ring = self._ring, None
        if ring is not None:
            ring.free_off_loop()

    def hang_up(self) -> None:
        """Take the stream, and the connection, from a reader that does not read."""
        self._transport.abort()
        self.cut()

    @property
    def is_whole(self) -> bool:
        """Whether the body has ended well and is all in memory."""
        with self._lock:
            return self._complete and not self._in_file

    def take_whole(self) -> tuple[bytes, Share]:
        """All of a body that `is_whole`, with what it has taken of the budget."""
        with self._lock:
            return b"".join(self._chunks), self._share

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
            # (A chunk in parts is in memory until its last.)
            if not self._chunks or type(self._chunks[0]) is bytes:
                self._share.resize(self._in_memory)
            self._was_read()
        return taken[0] if len(taken) == 1 else b"".join(taken)

    async def _read_file(self, size: int) -> bytes:
        ring = self._ring
        if ring is None:  # pragma: no cover - it has been made by whoever counted what is in it
            raise RuntimeError("a stream without a file has nothing in it")
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


class Streams:
    """The streams of a gateway, and the rule by which their threads stand aside."""

    def __init__(
        self, workers: Workers, *, limit: int, memory: int, budget: MemoryBudget, max_aside: int
    ) -> None:
        self.workers = workers
        self.budget = budget
        self._limit = limit
        self._memory = memory
        self._max_aside = max_aside
        self._lock = threading.Lock()
        self._open: dict[Stream, Job] = {}
        self._aside: set[Stream] = set()
        # Streams that compute, and until when (monotonic) they are taken for such.
        self._computing: dict[Stream, float] = {}
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

    def pause(self, stream: Stream, used: float) -> float:
        """How long (seconds) `stream` is to pause, which has computed for `used` seconds.

        Each of the others that compute shall have as much, and the rest of the server as they all.
        One that keeps a place among the threads should rather come to its end.
        """
        now = time.monotonic()
        with self._lock:
            others = sum(
                until > now for other, until in self._computing.items() if other is not stream
            )
            pause = min(2 * used * others, LONGEST_PAUSE) if stream in self._aside else 0.0
            self._computing[stream] = now + pause + LOOK_INTERVAL
        return pause

    def make_way(self, stream: Stream) -> None:
        """Let others have the place of `stream`, if they wait for one and if there is room."""
        if self.workers.pending and stream not in self._aside:
            with self._lock:
                if self._has_room:
                    self._step_aside(stream)

    def stalled(self, stream: Stream) -> None:
        """The thread of `stream` will wait for its reader."""
        with self._lock:
            victim = None if stream in self._aside or self._has_room else self._make_room(stream)
            if victim is not stream:
                self._step_aside(stream)
        if victim is not None:
            self.workers.post(victim.hang_up)

    def closed(self, stream: Stream) -> None:
        """The thread of `stream` has made the last of it."""
        with self._lock:
            self._open.pop(stream, None)
            self._computing.pop(stream, None)
            self._aside.discard(stream)

    # --- On the loop -----------------------------------------------------------------------

    @property
    def aside(self) -> int:
        """How many streams' threads stand aside."""
        return len(self._aside)

    def keeps_its_place(self, stream: Stream) -> bool:
        """Look whether `stream` is to leave its place among the threads, and return the answer."""
        is_long = time.monotonic() - stream.began > LONG_STREAM
        victim = None
        with self._lock:
            if stream not in self._open or stream in self._aside:
                return False
            if self._has_room:
                if not is_long and not self.workers.pending:
                    return True
            elif is_long and self.workers.pending:
                # The place is needed.
                victim = self._make_room(stream)
            else:
                return True
            if victim is not stream:
                self._step_aside(stream)
        if victim is not None:
            victim.hang_up()
        return False

    def stop(self) -> None:
        """End all streams at their next chunk, those not yet opened too."""
        with self._lock:
            self._stopping = True
            streams = list(self._open)
        for stream in streams:
            stream.cut()

    # --- Under the lock --------------------------------------------------------------------

    @property
    def _has_room(self) -> bool:
        return len(self._aside) < self._max_aside

    def _step_aside(self, stream: Stream) -> None:
        if stream not in self._aside and stream in self._open:
            self._aside.add(stream)
            self.workers.step_aside(self._open[stream])

    def _make_room(self, stream: Stream) -> Stream:
        """Choose who is cut off when `stream` is to stand aside: that one, perhaps.

        It is the stream whose reader has stalled longest. While none stalls it is the last to come.
        """
        now = time.monotonic()
        stalled = [
            other
            for other in (*self._aside, stream)
            if other.unread and now - other.last_read > LOOK_INTERVAL
        ]
        victim = min(stalled, key=lambda other: other.last_read, default=stream)
        # Its thread will be gone in a moment.
        self._aside.discard(victim)
        return victim


def _set_result(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
