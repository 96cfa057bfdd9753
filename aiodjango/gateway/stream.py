"""Response bodies that are still being made, and the threads that make them.

A stream that takes long, or that waits for its reader, keeps its thread. The thread then steps
aside: another one takes its place and runs the requests that wait. Only so many may step aside at a
time; beyond that the stream whose reader has read nothing for longest is disconnected. Of several
streams that compute all the time, each gets its turn.
"""

import asyncio
import threading
import time

from .buffer import Buffer
from .spool import UNCOUNTED, MemoryBudget
from .threads import Job, Workers

# A stream that has taken so long steps aside, in seconds.
LONG_STREAM = 1.0
# How often it is checked whether a stream has to step aside, in seconds.
CHECK_INTERVAL = 0.1
# A reader that has read nothing for longer is not active, in seconds.
ACTIVE_READER = 0.1
# How long a stream waits for a fast reader before it uses a file, in seconds.
FAST_READER = 0.01
# How long a stream computes before others get their turn, in seconds.
TURN = 0.005
# The longest pause of a stream that computes, in seconds.
MAX_PAUSE = 0.5
# How long a stream counts as one that computes after its last turn, in seconds.
COMPUTING = 0.1


class Stream(Buffer):
    """The body of one response, made by one thread and read by one coroutine."""

    def __init__(
        self, streams: "Streams", transport: asyncio.Transport, limit: int, memory: int
    ) -> None:
        super().__init__(streams.workers, transport, streams.budget, limit, memory)
        self._streams = streams
        self.began = self._turn_began = time.monotonic()
        self._computed = time.thread_time()
        self._timer: asyncio.TimerHandle

    # ---- In the thread that makes the body ----

    def put(self, chunk: bytes) -> None:
        """Add a chunk. Waits for the reader if it is too far behind. Raises StreamCut."""
        self._take_turns()
        if self.keep(chunk):
            return
        is_fast = not self._in_file and self.wait(self._memory_limit // 2, FAST_READER)
        if is_fast and self.keep(chunk):
            return
        self._streams.make_way(self)
        rest = memoryview(chunk)
        while rest:
            room = self._limit - self.unread
            if not self._in_file and self.keep(bytes(rest[:UNCOUNTED])):
                rest = rest[UNCOUNTED:]
            elif room > 0:
                rest = rest[self.spill(rest[:room]) :]
            else:
                self._streams.step_aside(self, may_disconnect=True)
                self.wait(self._limit // 2)

    def pass_over(self) -> None:
        """Add nothing. The thread steps aside if requests wait for one. Raises StreamCut."""
        self.check()
        self._streams.make_way(self)

    def finish(self) -> None:
        """End a complete body."""
        self.end(complete=True)
        self._streams.closed(self)

    def fail(self) -> None:
        """End a body that is not complete."""
        self.end(complete=False)
        self._streams.closed(self)

    def _take_turns(self) -> None:
        """Pause, if this stream has computed for a while, for the others that compute."""
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
                self.wait(-1, pause)

    # ---- On the loop ----

    def start_reading(self) -> None:
        """To be called before the first read()."""
        self._timer = self._workers.loop.call_later(CHECK_INTERVAL, self._on_timer)

    def stop_reading(self) -> None:
        """To be called after the last read()."""
        self._timer.cancel()

    def _on_timer(self) -> None:
        if self._streams.check(self):
            self.start_reading()

    def disconnect(self) -> None:
        """End the stream and its connection."""
        self._transport.abort()
        self.cut()


class Streams:
    """The streams of a gateway on one event loop.

    limit: how far each may be ahead of its reader, in bytes.
    memory: how much of it stays in memory, in bytes.
    budget: how much all of them may take.
    max_aside: how many may have stepped aside at the same time.
    """

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
        # Until when each stream counts as one that computes (monotonic).
        self._computing: dict[Stream, float] = {}
        self._stopping = False

    # ---- In the threads ----

    def open(self, job: Job, transport: asyncio.Transport) -> Stream:
        """Return a new stream for a client, made by a job in its thread."""
        stream = Stream(self, transport, self._limit, self._memory)
        with self._lock:
            self._open[stream] = job
            if self._stopping:
                stream.cut()
        return stream

    def pause(self, stream: Stream, used: float) -> float:
        """Return how long a stream has to pause that has computed for `used` seconds.

        Each of the others that compute gets as much time, and the rest of the server as much as
        all of them. A stream that has not stepped aside does not pause, so that it ends sooner.
        """
        now = time.monotonic()
        with self._lock:
            others = sum(
                until > now for other, until in self._computing.items() if other is not stream
            )
            pause = min(2 * used * others, MAX_PAUSE) if stream in self._aside else 0.0
            self._computing[stream] = now + pause + COMPUTING
        return pause

    def make_way(self, stream: Stream) -> None:
        """Have a stream step aside if requests wait for a thread, and if the limit allows it."""
        if self.workers.pending and stream not in self._aside:
            self.step_aside(stream, may_disconnect=False)

    def closed(self, stream: Stream) -> None:
        """Forget a stream whose body has ended."""
        with self._lock:
            self._open.pop(stream, None)
            self._computing.pop(stream, None)
            self._aside.discard(stream)

    # ---- On the loop ----

    @property
    def aside(self) -> int:
        """How many streams have stepped aside."""
        return len(self._aside)

    def check(self, stream: Stream) -> bool:
        """Have a stream step aside if it takes long. Returns whether to check it again."""
        is_long = time.monotonic() - stream.began > LONG_STREAM
        is_needed = self.workers.pending > 0
        if is_long or is_needed:
            self.step_aside(stream, may_disconnect=is_long and is_needed)
        with self._lock:
            return stream in self._open and stream not in self._aside

    def stop(self) -> None:
        """End all streams at their next part, and those that are opened later."""
        with self._lock:
            self._stopping = True
            streams = list(self._open)
        for stream in streams:
            stream.cut()

    # ---- In any thread ----

    def step_aside(self, stream: Stream, *, may_disconnect: bool) -> None:
        """Have a stream step aside if possible.

        may_disconnect: whether a stream is disconnected where too many have stepped aside, which
            may be the same one.
        """
        excess = None
        with self._lock:
            if stream in self._aside or stream not in self._open:
                return
            if len(self._aside) >= self._max_aside:
                if not may_disconnect:
                    return
                excess = self._excess(stream)
                self._aside.discard(excess)  # its thread is going to end
            if excess is not stream:
                self._aside.add(stream)
                self.workers.step_aside(self._open[stream])
        if excess is not None:
            self.workers.post(excess.disconnect)

    def _excess(self, stream: Stream) -> Stream:
        """Return the stream that is disconnected if one more steps aside.

        That is the one whose reader has read nothing for longest. Where all readers are active it
        is the last one, so that no stream is interrupted for another.
        """
        now = time.monotonic()
        stalled = [
            other
            for other in (*self._aside, stream)
            if other.unread and now - other.last_read > ACTIVE_READER
        ]
        return min(stalled, key=lambda other: other.last_read, default=stream)
