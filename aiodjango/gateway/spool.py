"""Where bodies are stored: in memory as long as there is room, else in temporary files.

Each body has a memory limit of its own, but hundreds of slow clients have hundreds of bodies. So
the memory of all bodies of a gateway is counted: a body that would exceed the total goes to a file
before it reaches its own limit.
"""

import asyncio
import io
import logging
import os
import tempfile
import threading
from collections import deque
from typing import IO

logger = logging.getLogger("aiodjango.gateway")

# What each body may keep in memory without being counted, in bytes: too little for a file.
UNCOUNTED = 64 * 1024
# Buffer of each open file, in bytes: Python 3.14 and later would take 128 KiB.
FILE_BUFFER = 8 * 1024


class MemoryBudget:
    """Counts the memory of bodies. Thread-safe.

    limit: how much they may take together, in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._taken = 0
        # Filled without the lock: a garbage collection while it is held may do so.
        self._returned: deque[int] = deque()

    @property
    def taken(self) -> int:
        """How many bytes are taken now."""
        with self._lock:
            return self._balance()

    def take(self, size: int) -> bool:
        """Take so many bytes. Returns False if fewer are left."""
        with self._lock:
            fits = self._balance() + size <= self._limit
            if fits:
                self._taken += size
        return fits

    def give_back(self, size: int) -> None:
        self._returned.append(size)

    def _balance(self) -> int:
        while self._returned:
            self._taken -= self._returned.popleft()
        return self._taken


class Share:
    """The part of a budget that one body has taken, given back at the body's end.

    Not thread-safe.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._taken = 0

    def resize(self, size: int) -> bool:
        """Have the body take so many bytes of memory. Returns False if that exceeds the budget."""
        wanted = max(0, size - UNCOUNTED)
        if wanted > self._taken:
            if not self._budget.take(wanted - self._taken):
                return False
        elif wanted < self._taken:
            self._budget.give_back(self._taken - wanted)
        self._taken = wanted
        return True

    def __del__(self) -> None:
        self.resize(0)


class MemoryFile(io.BytesIO):
    """A body in memory that gives its share of the budget back when it is closed."""

    def __init__(self, content: bytes, share: Share) -> None:
        super().__init__(content)
        self._share = share

    def close(self) -> None:
        super().close()
        self._share.resize(0)


class BodyFile(io.FileIO):
    """A file with the body of a response. It closes itself: some responses are never sent."""

    def __del__(self) -> None:
        if not self.closed:
            close_off_loop(self)


def store(content: bytes, budget: MemoryBudget) -> IO[bytes]:
    """Store a complete body. Called in a thread."""
    share = Share(budget)
    if not share.resize(len(content)):
        try:
            with tempfile.TemporaryFile() as file:
                file.write(content)
                file.seek(0)
                # Another object: closing this one must not raise what a full disk raised before.
                return BodyFile(os.dup(file.fileno()))
        except OSError as error:
            logger.warning("No file for a large response, which stays in memory: %s", error)
    return MemoryFile(content, share)


def close_off_loop(file: IO[bytes]) -> None:
    """Close a file that may be large: it takes the system some time to free a temporary one."""
    if isinstance(file, io.BytesIO):
        file.close()
        return
    try:
        _ = asyncio.get_running_loop().run_in_executor(None, file.close)
    except RuntimeError:  # not on the loop, or the loop is about to close
        file.close()


class Spool:
    """Stores a body that arrives in chunks on the event loop; a file is written in a thread.

    `tempfile.SpooledTemporaryFile` is not used: it would write the file on the event loop, and its
    limit could not depend on the budget.

    memory_limit: how large a body in memory may be, in bytes.
    """

    def __init__(self, memory_limit: int, budget: MemoryBudget) -> None:
        self.length = 0
        self._share = Share(budget)
        self._memory_limit = memory_limit
        self._file: IO[bytes] = MemoryFile(b"", self._share)
        self._writing: asyncio.Future[None] | None = None

    async def write(self, chunk: bytes) -> None:
        self.length += len(chunk)
        if (
            isinstance(self._file, MemoryFile)
            and self.length <= self._memory_limit
            and self._share.resize(self.length)
        ):
            self._file.write(chunk)
            return
        chunks = [chunk]
        if isinstance(self._file, MemoryFile):
            chunks.insert(0, self._file.getvalue())
            self._file = tempfile.TemporaryFile(buffering=FILE_BUFFER)  # noqa: SIM115
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._file.writelines, chunks)
        # Shielded: after a cancellation discard() has to wait for the thread that uses the file.
        await asyncio.shield(self._writing)
        self._writing = None
        self._share.resize(0)

    def finish(self) -> IO[bytes]:
        """Return the complete body, to be read from its start and closed by the caller."""
        self._file.seek(0)
        return self._file

    def discard(self) -> None:
        """Close the file, after a write that may still be running in its thread."""
        self._share.resize(0)
        if self._writing is None:
            close_off_loop(self._file)
        else:
            self._writing.add_done_callback(lambda _: self.discard())
            self._writing = None


class RingFile:
    """A temporary file of limited size, written at one end and read at the other.

    One thread writes, another reads, and the caller counts the bytes in between: neither may
    overtake the other. The descriptor is closed with the last reference to the object, so a thread
    that still uses it cannot lose it.

    capacity: the limit, in bytes.
    """

    _descriptor = -1

    def __init__(self, capacity: int) -> None:
        with tempfile.TemporaryFile() as file:
            self._descriptor = os.dup(file.fileno())
        self._capacity = capacity
        self._write_at = 0
        self._read_at = 0

    def write(self, data: memoryview) -> int:
        """Write what fits before the end of the file. Returns how many bytes that was."""
        data = data[: self._capacity - self._write_at]
        written = os.pwrite(self._descriptor, data, self._write_at)
        self._write_at = (self._write_at + written) % self._capacity
        return written

    def read(self, size: int) -> bytes:
        """Read up to so many bytes, but not beyond the end of the file."""
        size = min(size, self._capacity - self._read_at)
        data = os.pread(self._descriptor, size, self._read_at)
        self._read_at = (self._read_at + len(data)) % self._capacity
        return data

    def free_off_loop(self) -> None:
        """Have the space freed in a thread, once the object is no longer used."""
        close_off_loop(io.FileIO(os.dup(self._descriptor)))

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
