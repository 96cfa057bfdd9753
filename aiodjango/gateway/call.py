"""One request's call of the WSGI application, and all of PEP 3333 that happens inside it.

A call is made on the loop, runs in one thread from the first line of the application to the end of
`close()`, and reports one reply (see `aiodjango.gateway.response`) back to the loop.
"""

import asyncio
import contextvars
import io
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any
from wsgiref.types import WSGIApplication
from wsgiref.util import is_hop_by_hop

from aiodjango.runtime.overlay import laid_over

from .body import ClientLeft
from .connection import sending_ended
from .filewrapper import FileWrapper, plain_file
from .response import FileReply, Head, Reply, StreamReply, WholeReply, whole_reply
from .stream import Stream, StreamCut, Streams

if TYPE_CHECKING:
    from _typeshed import OptExcInfo

logger = logging.getLogger("aiodjango.gateway")

# A longer status line is not remembered: its reason may hold text of a client.
MAX_REMEMBERED_STATUS = 128

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STATUS = re.compile(r"([2-9][0-9]{2})(?: (.*))?")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS = re.compile(r"[0-9]+")

# A file up to this size (bytes) is read in the thread: cheaper than what goes with sendfile().
SMALL_FILE = 64 * 1024

_PLAIN_TEXT = [("Content-Type", "text/plain; charset=utf-8")]
_SERVER_ERROR = WholeReply(
    Head(500, "Internal Server Error", _PLAIN_TEXT, None, close=True),
    b"500 Internal Server Error\n",
)
_UNAVAILABLE = WholeReply(
    Head(503, "Service Unavailable", _PLAIN_TEXT, None, close=True),
    b"503 Service Unavailable\n",
)


class Call:
    """A call of `application`, to be submitted to the workers as a job."""

    def __init__(
        self,
        application: WSGIApplication,
        environ: dict[str, Any],
        transport: asyncio.Transport,
        streams: Streams,
    ) -> None:
        self._application = application
        self._environ = environ
        # The environ is the application's, to change as it likes: what we need later is kept here.
        self._input: IO[bytes] = environ["wsgi.input"]
        self._is_head = environ["REQUEST_METHOD"] == "HEAD"
        self._where = (environ["REQUEST_METHOD"], environ["SCRIPT_NAME"], environ["PATH_INFO"])
        self._transport = transport
        self._streams = streams
        self._context = contextvars.copy_context()
        self._reply: asyncio.Future[Reply] = streams.workers.loop.create_future()
        # From here on the thread's own.
        self._head: Head | None = None
        self._stream: Stream | None = None
        self._replied = False  # a reply was handed over: the head can no longer change
        self._complete = False  # the whole body was handed over
        self._sent = 0  # bytes of the body that were handed over
        self._was_empty = False  # a part of the body was
        self._began = 0.0  # when (monotonic) a stream was handed over

    # --- On the loop -----------------------------------------------------------------------

    async def reply(self) -> Reply:
        """Wait for the reply. Raises ClientLeft when the call was dropped."""
        return await self._reply

    def _deliver(self, reply: Reply) -> None:
        if self._reply.done():
            reply.discard()
        else:
            self._reply.set_result(reply)

    def _deliver_nothing(self) -> None:
        if not self._reply.done():
            self._reply.set_exception(ClientLeft())

    # --- In the thread: the job ------------------------------------------------------------

    def wanted(self) -> bool:
        return not self._reply.cancelled() and not self._transport.is_closing()

    def surely_wanted(self) -> bool:
        return self.wanted() and sending_ended(self._transport) is None

    def drop(self) -> None:
        self._input.close()
        self._streams.workers.post(self._deliver_nothing)

    def run(self) -> None:
        with laid_over(self._context):
            self._run()

    def _run(self) -> None:
        bridge = self._streams.workers.bridge
        bridge.open()
        try:
            self._call()
        except StreamCut:
            self._break_off()
        except asyncio.CancelledError as error:
            # Of a coroutine that the application waited for.
            if bridge.was_cut:
                self._break_off()
            else:
                self._fail(error)
        except BaseException as error:
            # Also SystemExit and the like: they end this request, not the server's thread.
            self._fail(error)
        finally:
            self._input.close()
            if self._stream is not None:
                self._streams.closed(self._stream)

    def _call(self) -> None:
        result = self._application(self._environ, self._start_response)
        try:
            self._send(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    # --- In the thread: what the application gets ------------------------------------------

    def _start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: "OptExcInfo | None" = None,
        /,
    ) -> Callable[[bytes], object]:
        if exc_info is not None:
            try:
                if self._replied and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no reference cycle through this frame
        elif self._head is not None:
            raise RuntimeError("start_response() was called again without exc_info")
        self._head = make_head(status, headers)
        return self._add

    # --- In the thread: what becomes of the result -----------------------------------------

    def _send(self, result: Iterable[bytes]) -> None:
        if not self._replied:
            if type(result) is FileWrapper and self._send_file(result):
                return
            if type(result) in (list, tuple):
                self._send_whole(b"".join(result))
                return
        for chunk in result:
            if not self._add(chunk):
                break
        self._finish()

    def _send_whole(self, body: bytes) -> None:
        """Hand over all of the body at once, with its length."""
        head = self._get_head()
        if head.length is None:
            self._head = head.with_length(len(body))
        if body:
            self._add(body)
        self._finish()

    def _add(self, chunk: bytes, /) -> bool:
        """Hand over one part of the body (as `write()` does); returns whether more may follow."""
        if not isinstance(chunk, bytes):
            raise TypeError(f"the body must be made of bytes, not {type(chunk).__name__}")
        head = self._get_head()
        if not chunk:
            self._add_nothing(head)
            return True
        if self._complete:
            self._complain("more than its Content-Length")
            return False
        if self._is_bodyless(head):
            self._complete = True
            self._hand_over(WholeReply(head, None))
            return False
        excess = 0
        if head.length is not None:
            excess = self._sent + len(chunk) - head.length
            if excess > 0:
                self._complain("more than its Content-Length")
                chunk = chunk[:-excess]
            self._complete = excess >= 0
        self._sent += len(chunk)
        self._pass_on(head, chunk)
        return excess <= 0

    def _add_nothing(self, head: Head) -> None:
        """An empty part sends nothing, and is an occasion to notice that nobody waits any more.

        Raises StreamCut.
        """
        if self._complete:
            return
        if self._stream is None:
            if self._transport.is_closing():
                raise StreamCut
            if not self._was_empty:
                self._was_empty = True  # perhaps all of an empty body: nothing to be opened for
                return
            self._stream = self._streams.open(self, self._transport)
        ended = sending_ended(self._transport)
        if ended is not None and not self._is_bodyless(head):
            if not self._replied:
                # The client may wait, or have left: sending the head will show it.
                self._begin(head, self._stream)
            elif ended > self._began:
                # It was reading: nothing can be sent to find out, but few do that and stay.
                self._streams.workers.post(self._transport.abort)
                raise StreamCut
        self._stream.pass_over()

    def _pass_on(self, head: Head, chunk: bytes) -> None:
        stream = self._stream
        if stream is not None and self._replied:
            stream.put(chunk)
            if self._complete:
                stream.finish()
        elif self._complete:
            self._hand_over(whole_reply(head, chunk, self._streams.budget))
        else:
            if stream is None:
                stream = self._stream = self._streams.open(self, self._transport)
            # First of all, so that a short body is whole when it arrives. But only a reader who
            # knows of the stream can be waited for.
            is_kept = stream.keep(chunk)
            self._begin(head, stream)
            if not is_kept:
                stream.put(chunk)

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Hand over the file behind `wrapper`; returns False if there is none to be sent as it is.

        The reply gets a descriptor of its own, so that the application's file can be closed, in
        this thread and at once.
        """
        head = self._get_head()
        found = plain_file(wrapper.filelike)
        if found is None:
            return False
        descriptor, offset, left = found
        if head.length is None:
            head = head.with_length(left)
        count = min(left, head.length or 0)
        self._complete = True
        if self._is_bodyless(head):
            self._hand_over(WholeReply(head, None))
            return True
        if left < (head.length or 0):
            self._complain("less than its Content-Length")
        if count <= SMALL_FILE:
            self._hand_over(WholeReply(head, os.pread(descriptor, count, offset)))
        else:
            self._hand_over(FileReply(head, io.FileIO(os.dup(descriptor)), offset, count))
        return True

    def _finish(self) -> None:
        """The application has no more to say."""
        if self._complete:
            return
        head = self._get_head()
        self._complete = True
        is_short = self._sent < (head.length or 0) and not self._is_bodyless(head)
        if is_short:
            self._complain("less than its Content-Length")
        if self._stream is None or not self._replied:
            self._hand_over(WholeReply(head, None if self._is_bodyless(head) else b""))
        elif is_short:
            self._stream.fail()
        else:
            self._stream.finish()

    def _fail(self, error: BaseException) -> None:
        """The application raised `error`."""
        logger.error("Error in the WSGI application: %s", self._name, exc_info=error)
        if not self._replied:
            self._hand_over(_SERVER_ERROR)
        elif self._stream is not None:
            self._stream.fail()

    def _break_off(self) -> None:
        """The stream was cut: because of the client, or because the server shuts down."""
        if not self._replied:
            self._hand_over(_UNAVAILABLE)
        if self._stream is not None:
            self._stream.fail()

    def _begin(self, head: Head, stream: Stream) -> None:
        self._began = time.monotonic()
        self._hand_over(StreamReply(head, stream))

    def _hand_over(self, reply: Reply) -> None:
        self._replied = True
        self._streams.workers.post(self._deliver, reply)

    def _get_head(self) -> Head:
        if self._head is None:
            raise RuntimeError("the application did not call start_response() before its body")
        return self._head

    def _is_bodyless(self, head: Head) -> bool:
        return self._is_head or head.status in (204, 304)

    def _complain(self, what: str) -> None:
        logger.warning("The WSGI application sent %s: %s", what, self._name)

    @property
    def _name(self) -> str:
        method, script_name, path_info = self._where
        # Escaped: the path is the client's to choose, line feeds included.
        return f"{method} {script_name}{path_info}".encode("unicode_escape").decode("ascii")


def make_head(status: str, headers: Iterable[tuple[str, str]]) -> Head:
    """Check what an application gave to start_response().

    Headers that belong to the connection are left out. Raises TypeError and ValueError for what
    cannot be sent as it is.
    """
    if isinstance(status, str) and len(status) > MAX_REMEMBERED_STATUS:
        code, reason = _parse_status.__wrapped__(status)
    else:
        code, reason = _parse_status(status)
    pairs: list[tuple[str, str]] = []
    length: int | None = None
    close = False
    for name, value in headers:
        kind = _classify(name)
        if not isinstance(value, str):
            raise TypeError(f"header {name}: the value must be str, not {type(value).__name__}")
        if kind == "connection":
            close = close or value.lower() == "close"
        elif kind != "hop-by-hop":
            if kind == "content-length":
                if length is not None:
                    raise ValueError("Content-Length was given twice")
                length = _parse_length(value)
            pairs.append((name, value))
    text = "".join([value for _, value in pairs])
    if _CONTROL.search(text):
        raise ValueError("a header's value contains a control character")
    if not text.isascii():
        pairs = [(name, _recode(name, value)) for name, value in pairs]
    return Head(code, reason, pairs, length, close)


@lru_cache(maxsize=256)
def _parse_status(status: str) -> tuple[int, str]:
    if not isinstance(status, str):
        raise TypeError(f"the status must be str, not {type(status).__name__}")
    match = _STATUS.fullmatch(status)
    if match is None or _CONTROL.search(status):
        raise ValueError(f"not the status of a response: {status!r}")
    return int(match[1]), match[2] or ""


@lru_cache(maxsize=1024)
def _classify(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a header's name must be str, not {type(name).__name__}")
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not a header's name: {name!r}")
    lower = name.lower()
    if lower in ("connection", "content-length"):
        return lower
    return "hop-by-hop" if is_hop_by_hop(lower) else ""


def _parse_length(value: str) -> int:
    if not _DIGITS.fullmatch(value):
        raise ValueError(f"not a Content-Length: {value!r}")
    return int(value)


def _recode(name: str, value: str) -> str:
    """Text that aiohttp, which encodes as UTF-8, sends as the bytes that PEP 3333 means.

    A WSGI string stands for Latin-1 bytes. Where those are not UTF-8 the characters are kept
    instead, as aiohttp cannot send the bytes.
    """
    try:
        data = value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"header {name}: characters outside Latin-1: {value!r}") from None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return value
