"""The body of a request, received on the event loop: in memory first, then in a temporary file."""

import asyncio
import io
import tempfile
from typing import IO, NamedTuple

from aiohttp import web
from aiohttp.http import HttpProcessingError

from .decoding import DecodedBody, as_sent, bound_decoded, check_ratio
from .memory import UNCOUNTED, MemoryBudget, Share

# How often (seconds) a body that takes long is looked after.
WATCH_INTERVAL = 1.0
# How long (seconds) a body may bring nothing, unless an option says otherwise …
BODY_TIMEOUT = 60.0
# … and how much (bytes) one for Django brings at least in that time: there it is of no use before
# it is complete. A coroutine view may take what comes as it comes.
LEAST_PROGRESS = 1024
# Memory (bytes) of each open file: from Python 3.14 on it would be 128 KiB.
FILE_BUFFER = 8 * 1024


class BodyTooLarge(Exception):
    """The body is, or says that it will be, larger than the limit."""


class BodyMalformed(Exception):
    """The body breaks its own framing or coding."""


class BodyStalled(web.HTTPRequestTimeout):
    """For whoever reads a body: no more of it has arrived for too long."""


class BodyInterrupted(web.HTTPServiceUnavailable):
    """For whoever reads a body: the server ends, and receives no more of it."""


class ClientLeft(Exception):
    """The connection ended before the request did."""


class Body(NamedTuple):
    """A complete body, ready to be read from its start, to be closed by whoever gets it."""

    file: IO[bytes]
    length: int
    # aiohttp has undone the Content-Encoding.
    decoded: bool


async def receive_body(
    request: web.BaseRequest,
    *,
    max_size: int,
    memory_limit: int,
    budget: MemoryBudget,
    stall_limit: float,
) -> Body:
    """Receive the whole body of `request`.

    At most `memory_limit` bytes stay in memory (beside the connection's own buffer), and less when
    `budget` is used up; the rest is written to a temporary file off the loop. aiohttp's
    `client_max_size` plays no part.

    Raises BodyTooLarge above `max_size` bytes (as soon as that is known) and for a body that the
    server has decoded and that grows out of proportion, BodyMalformed, BodyStalled when less than
    `LEAST_PROGRESS` has arrived for `stall_limit` seconds, BodyInterrupted, and ClientLeft when the
    connection ends first.
    """
    if request.content_length is not None and request.content_length > max_size:
        raise BodyTooLarge
    content = request.content
    if isinstance(content, DecodedBody) and content.is_untouched:
        content = content.sent
    bound_decoded(request)
    spool = _Spool(memory_limit, budget)
    try:
        check_ratio(content)  # of what was decoded before
        if content.at_eof() and content is request.content:
            # A middleware has read it already: aiohttp keeps what request.read() gave.
            await spool.write(await request.read())
        with BodyWatch(request, stall_limit, LEAST_PROGRESS):
            while chunk := await content.readany():
                length = spool.length + len(chunk)
                if length > max_size:
                    raise BodyTooLarge
                await spool.write(chunk)
                del chunk  # or it stays in memory until the next one comes
        file = await spool.finish()
    except BaseException as error:
        spool.discard()
        if isinstance(error, web.RequestPayloadError | HttpProcessingError):
            raise BodyMalformed from error
        if isinstance(error, web.HTTPRequestEntityTooLarge):
            raise BodyTooLarge from error
        # aiohttp reports a lost connection as whatever ended it, or as its own RuntimeError.
        if isinstance(error, Exception) and request.transport is None:
            raise ClientLeft from error
        raise
    return Body(file, spool.length, content.total_compressed_bytes is not None)


def close_off_loop(file: IO[bytes]) -> None:
    """Close a file that may be large: the kernel takes its time to free a temporary one."""
    if isinstance(file, io.BytesIO):
        file.close()
        return
    try:
        _ = asyncio.get_running_loop().run_in_executor(None, file.close)
    except RuntimeError:  # the loop is about to close, its executor has gone
        file.close()


class BodyWatch:
    """Breaks off a body that will never be complete, for whoever waits for more of it.

    timeout: how long it may take, in seconds, for more to arrive.
    least: how much that is, in bytes.
    """

    def __init__(self, request: web.BaseRequest, timeout: float, least: int = 1) -> None:
        self._request = request
        self._timeout = timeout
        self._least = least
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._content = as_sent(self._request)
        if not self._content.is_eof():
            self._note_progress()
            self._look_later()

    def __exit__(self, *exc_info: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _note_progress(self) -> None:
        self._received = self._content.total_raw_bytes
        self._since = self._loop.time()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(min(WATCH_INTERVAL, self._timeout / 4), self._look)

    def _look(self) -> None:
        if self._content.is_eof():
            return
        error = self._error()
        if error is None:
            self._look_later()
        else:
            # From now on aiohttp ignores what arrives.
            self._request.protocol.close()
            self._content.set_exception(error)

    def _error(self) -> Exception | None:
        # There is no public way to see these three.
        protocol = self._request.protocol
        if protocol._messages:
            # aiohttp's parser in C leaves a body that breaks its framing waiting for ever; its
            # complaint is queued as the connection's next message, which cannot have come yet.
            return web.RequestPayloadError("malformed")
        if protocol._close or protocol._force_close:
            return BodyInterrupted(text="The server is about to end")
        is_waited_for = self._content._waiter is not None
        if not is_waited_for or self._content.total_raw_bytes - self._received >= self._least:
            self._note_progress()
        elif self._loop.time() - self._since >= self._timeout:
            return BodyStalled(text="The body of the request did not arrive in time")
        return None


class _Spool:
    """Gathers chunks; hands them to a temporary file, in a thread, when they weigh too much.

    That is more than `memory_limit`, or more than `budget` has left.
    """

    def __init__(self, memory_limit: int, budget: MemoryBudget) -> None:
        self.length = 0
        self._share = Share(budget)
        self._memory_limit = memory_limit
        self._chunks: list[bytes] = []
        self._held = 0
        self._file: IO[bytes] | None = None
        self._writing: asyncio.Future[None] | None = None

    async def write(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._held += len(chunk)
        self.length += len(chunk)
        if self._held > self._memory_limit or not self._share.resize(self._held):
            await self._flush()

    async def finish(self) -> IO[bytes]:
        if self._file is None:
            content = b"".join(self._chunks)
            if len(content) <= UNCOUNTED:
                return io.BytesIO(content)
            return _MemoryFile(content, self._share)
        await self._flush()
        self._file.seek(0)
        return self._file

    def discard(self) -> None:
        """Close the file, after a write that may still be under way in its thread."""
        self._chunks.clear()
        self._share.resize(0)
        if self._file is None:
            return
        if self._writing is None:
            close_off_loop(self._file)
        else:
            self._writing.add_done_callback(lambda _: self.discard())
            self._writing = None

    async def _flush(self) -> None:
        if self._file is None:
            # Whoever gets the body closes it.
            self._file = tempfile.TemporaryFile(buffering=FILE_BUFFER)  # noqa: SIM115
        chunks, self._chunks, self._held = self._chunks, [], 0
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._file.writelines, chunks)
        # Shielded: a cancelled request must not lose sight of a thread that uses its file.
        await asyncio.shield(self._writing)
        self._writing = None
        self._share.resize(self._held)


class _MemoryFile(io.BytesIO):
    """A file in memory that gives back its share of that when it is closed."""

    def __init__(self, content: bytes, share: Share) -> None:
        super().__init__(content)
        self._share = share

    def close(self) -> None:
        super().close()
        self._share.resize(0)
