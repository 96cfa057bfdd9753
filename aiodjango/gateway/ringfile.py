"""A temporary file of bounded size, written at one end and read at the other."""

import asyncio
import os
import tempfile


class RingFile:
    """A temporary file that holds at most `capacity` bytes.

    One thread writes, another reads; neither may pass the other, of which the user keeps count.
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

    def free_off_loop(self) -> None:
        """Have the space freed, after the last use, in a thread: the kernel takes its time."""
        descriptor = os.dup(self._descriptor)
        try:
            _ = asyncio.get_running_loop().run_in_executor(None, os.close, descriptor)
        except RuntimeError:  # not on the loop, or it is about to close
            os.close(descriptor)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
