"""`wsgi.file_wrapper`: an iterable over a file-like object, and the file behind it, if any."""

import io
import os
import stat
from typing import Any, Protocol


class FileLike(Protocol):
    """What PEP 3333 asks of the object: `read(size)`; `close()` is optional."""

    def read(self, size: int, /) -> bytes: ...


class FileWrapper:
    """Iterates over `filelike` in blocks; the gateway sends a plain file without reading it."""

    def __init__(self, filelike: FileLike, block_size: int = 8192) -> None:
        self.filelike = filelike
        self.block_size = block_size
        # PEP 3333: a close() of the object must be called as that of any iterable.
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> "FileWrapper":
        return self

    def __next__(self) -> bytes:
        block = self.filelike.read(self.block_size)
        if not block:
            raise StopIteration
        return block


def plain_file(filelike: Any) -> tuple[int, int, int] | None:
    """The (descriptor, offset, bytes left) of the regular file that `filelike` reads.

    None when there is no such file, or when something stands between it and `read()`: a gzip
    file has a descriptor too, of what is compressed. The descriptor belongs to the file-like.
    """
    # Who answers read()? Wrappers (temporary files, Django's File) pass on the file's own method.
    read = getattr(filelike, "read", None)
    read = getattr(read, "__wrapped__", read)
    file: Any = getattr(read, "__self__", None)
    if type(file) in (io.BufferedReader, io.BufferedRandom):
        if type(file.raw) is not io.FileIO:
            return None
    elif type(file) is not io.FileIO:
        return None
    try:
        # Of a file that was written to, what is sent must be what read() would give.
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
