"""One call of the WSGI application, by the rules of PEP 3333.

A call is made on the event loop, runs in one thread from the first line of the application to the
end of `close()`, and delivers one response to the loop.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any
from wsgiref.types import WSGIApplication
from wsgiref.util import FileWrapper

from aiohttp import web

from aiodjango.runtime.bridge import laid_over

from .body import ClientLeft
from .buffer import StreamCut
from .connection import sending_ended
from .head import Head, make_head
from .response import (
    complete_response,
    file_response,
    plain_file,
    stored_response,
    stream_response,
)
from .stream import Stream, Streams
from .threads import Workers

if TYPE_CHECKING:
    from _typeshed import OptExcInfo

logger = logging.getLogger("aiodjango.gateway")


class WsgiCall:
    """A call of an application for one request: a job for the worker threads."""

    def __init__(
        self,
        application: WSGIApplication,
        environ: dict[str, Any],
        transport: asyncio.Transport,
        workers: Workers,
        streams: Streams,
    ) -> None:
        self._application = application
        self._environ = environ
        # The application may change the environ, so what is needed later is kept here.
        self._input: IO[bytes] = environ["wsgi.input"]
        self._is_head = environ["REQUEST_METHOD"] == "HEAD"
        self._target = (environ["REQUEST_METHOD"], environ["SCRIPT_NAME"], environ["PATH_INFO"])
        self._transport = transport
        self._workers = workers
        self._streams = streams
        self._context = contextvars.copy_context()
        # Its exception is ClientLeft where the call is dropped.
        self.response: asyncio.Future[web.StreamResponse] = workers.loop.create_future()
        # Used by the thread only.
        self._head: Head | None = None
        self._stream: Stream | None = None
        self._responded = False  # a response was posted: the head cannot change any more
        self._complete = False  # all of the body was posted
        self._sent = 0  # bytes of the body that were posted
        self._had_empty_part = False
        self._began = 0.0  # when a stream was posted (monotonic)

    # ---- On the loop ----

    def _deliver(self, response: web.StreamResponse) -> None:
        if not self.response.done():
            self.response.set_result(response)

    def _deliver_stream(self, head: Head, stream: Stream) -> None:
        self._deliver(stream_response(head, stream))

    def _deliver_nothing(self) -> None:
        if not self.response.done():
            self.response.set_exception(ClientLeft())

    # ---- In the thread: the job ----

    def wanted(self) -> bool:
        return not self.response.cancelled() and not self._transport.is_closing()

    def surely_wanted(self) -> bool:
        return self.wanted() and sending_ended(self._transport) is None

    def drop(self) -> None:
        self._input.close()
        self._workers.post(self._deliver_nothing)

    def run(self) -> None:
        bridge = self._workers.bridge
        with laid_over(self._context):
            bridge.open()
            try:
                self._call()
            except StreamCut:
                self._break_off()
            except asyncio.CancelledError as error:
                # Raised by a coroutine that the application waited for.
                if bridge.was_cut:
                    self._break_off()
                else:
                    self._fail(error)
            except BaseException as error:
                # SystemExit and the like, too, end this request and not the thread.
                self._fail(error)
            finally:
                self._input.close()
                if self._stream is not None:
                    self._streams.closed(self._stream)

    def _call(self) -> None:
        environ = self._environ
        if not self._workers.has_gil:
            # CPython 3.13 needs some 20 us for each get() from a dictionary of another thread.
            environ = environ.copy()
        result = self._application(environ, self._start_response)
        try:
            self._send(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    # ---- In the thread: the application ----

    def _start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: "OptExcInfo | None" = None,
        /,
    ) -> Callable[[bytes], object]:
        if exc_info is not None:
            try:
                if self._responded and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # or this frame would be part of a reference cycle
        elif self._head is not None:
            raise RuntimeError("start_response() was called again without exc_info")
        self._head = make_head(status, headers)
        return self._add

    # ---- In the thread: the body ----

    def _send(self, result: Iterable[bytes]) -> None:
        if not self._responded:
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
        """Respond with a complete body and its length."""
        head = self._get_head()
        if head.length is None:
            self._head = head.with_length(len(body))
        if body:
            self._add(body)
        self._finish()

    def _add(self, chunk: bytes, /) -> bool:
        """Add a part of the body, also as `write()`. Returns whether more may follow."""
        if not isinstance(chunk, bytes):
            raise TypeError(f"the body must be made of bytes, not {type(chunk).__name__}")
        head = self._get_head()
        if not chunk:
            self._add_nothing(head)
            return True
        if self._complete:
            self._warn("more than its Content-Length")
            return False
        if self._is_bodyless(head):
            self._respond_without_body(head)
            return False
        excess = 0
        if head.length is not None:
            excess = self._sent + len(chunk) - head.length
            if excess > 0:
                self._warn("more than its Content-Length")
                chunk = chunk[:-excess]
            self._complete = excess >= 0
        self._sent += len(chunk)
        self._pass_on(head, chunk)
        return excess <= 0

    def _add_nothing(self, head: Head) -> None:
        """Check, as an empty part sends nothing, whether the client has left. Raises StreamCut."""
        if self._complete:
            return
        if self._stream is None:
            if self._transport.is_closing():
                raise StreamCut
            if not self._had_empty_part:
                self._had_empty_part = True  # which may be all of an empty body: no stream yet
                return
            self._stream = self._streams.open(self, self._transport)
        ended = sending_ended(self._transport)
        if ended is not None and not self._is_bodyless(head):
            if not self._responded:
                # The client may wait, or may have left: sending the headers will show it.
                self._begin(head, self._stream)
            elif ended > self._began:
                # Nothing can be sent to check it, but few clients do this and go on reading.
                self._workers.post(self._transport.abort)
                raise StreamCut
        self._stream.pass_over()

    def _pass_on(self, head: Head, chunk: bytes) -> None:
        stream = self._stream
        if stream is not None and self._responded:
            stream.put(chunk)
            if self._complete:
                stream.finish()
        elif self._complete:
            self._respond(stored_response(head, chunk, self._streams.budget))
        else:
            if stream is None:
                stream = self._stream = self._streams.open(self, self._transport)
            # First, so that a short body is complete when it arrives at the loop. But put() waits
            # for the reader, who has to know the stream then.
            is_kept = stream.keep(chunk)
            self._begin(head, stream)
            if not is_kept:
                stream.put(chunk)

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Respond with the file of a wrapper. Returns False where it cannot be sent as it is."""
        head = self._get_head()
        found = plain_file(wrapper.filelike)
        if found is None:
            return False
        descriptor, offset, left = found
        if head.length is None:
            head = head.with_length(left)
        count = min(left, head.length or 0)
        if self._is_bodyless(head):
            self._respond_without_body(head)
            return True
        self._complete = True
        if left < (head.length or 0):
            self._warn("less than its Content-Length")
        self._respond(file_response(head, descriptor, offset, count))
        return True

    def _finish(self) -> None:
        """End the body."""
        if self._complete:
            return
        head = self._get_head()
        if self._is_bodyless(head) and not self._responded:
            self._respond_without_body(head)
            return
        self._complete = True
        is_short = self._sent < (head.length or 0) and not self._is_bodyless(head)
        if is_short:
            self._warn("less than its Content-Length")
        if self._stream is None or not self._responded:
            self._respond(complete_response(head, b""))
        elif is_short:
            self._stream.fail()
        else:
            self._stream.finish()

    def _fail(self, error: BaseException) -> None:
        """Log an error of the application, and end the response."""
        logger.error("Error in the WSGI application: %s", self._name, exc_info=error)
        if not self._responded:
            self._respond_with_error(500, "Internal Server Error")
        elif self._stream is not None:
            self._stream.fail()

    def _break_off(self) -> None:
        """End the response because the client has left, or because the server shuts down."""
        if not self._responded:
            self._respond_with_error(503, "Service Unavailable")
        if self._stream is not None:
            self._stream.fail()

    def _begin(self, head: Head, stream: Stream) -> None:
        self._began = time.monotonic()
        self._responded = True
        self._workers.post(self._deliver_stream, head, stream)

    def _respond(self, response: web.StreamResponse) -> None:
        self._responded = True
        self._workers.post(self._deliver, response)

    def _respond_without_body(self, head: Head) -> None:
        self._complete = True
        self._respond(complete_response(head, None))

    def _respond_with_error(self, status: int, reason: str) -> None:
        response = web.Response(status=status, reason=reason, text=f"{status} {reason}\n")
        response.force_close()
        self._respond(response)

    def _get_head(self) -> Head:
        if self._head is None:
            raise RuntimeError("the application did not call start_response() before its body")
        return self._head

    def _is_bodyless(self, head: Head) -> bool:
        return self._is_head or head.status in (204, 304)

    def _warn(self, what: str) -> None:
        logger.warning("The WSGI application sent %s: %s", what, self._name)

    @property
    def _name(self) -> str:
        method, script_name, path_info = self._target
        # Escaped, because a path may contain line feeds.
        return f"{method} {script_name}{path_info}".encode("unicode_escape").decode("ascii")
