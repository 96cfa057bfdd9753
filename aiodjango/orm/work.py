"""A piece of work: database calls that belong together, and what they keep of the ORM threads.

A piece of work is a request, a block of `django_context()`, or a call of `run_in_django()` outside
of both. Its calls are made one at a time, in their order. How it keeps a thread is one of three:

    free        It keeps none: its next call goes to the thread that has the least to do.
    shared      It keeps a thread that other pieces of work use too.
    exclusive   It has a thread, and the connections of that thread, to itself.

    free -> shared       It makes a call.
    shared -> free       It has ended. Or its end is not known, as with a WebSocket, and it has made
                         no call for 0.2 seconds. Or another piece of work becomes exclusive in its
                         thread. None of these while it has a cursor open there.
    shared -> exclusive  A call has left a transaction open, or has changed the session.
    exclusive -> shared  The transaction is over, and the session is as it was.
    exclusive -> free    It has ended, its connection broke, or it has made no call for
                         AIO_TRANSACTION_TIMEOUT: its connections are replaced. If it continues
                         nevertheless, its next call raises an error.

In code: `work.thread` is None, or the thread that it keeps; `thread.owner` is the work that is
exclusive there.
"""

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import web

from aiodjango.runtime.loopcalls import LoopCalls

from .sessions import Session

if TYPE_CHECKING:
    from .thread import OrmThread

# After so long (seconds) without a call, work whose end is not known keeps no thread.
PAUSE = 0.2


class Call:
    """A function to be called in a thread, and the future of its result."""

    __slots__ = ("_loop_calls", "function", "future")

    def __init__(
        self, function: Callable[[], Any], future: asyncio.Future[Any], loop_calls: LoopCalls
    ) -> None:
        self.function = function
        self.future = future
        self._loop_calls = loop_calls

    def report(self, result: Any, error: BaseException | None) -> None:
        """Resolve the future on its event loop; in any thread."""
        self._loop_calls.add(self._resolve, result, error)
        self._loop_calls.wake(self.future.get_loop())

    def _resolve(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return  # cancelled
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Work:
    """A piece of work.

    request: that it answers; None where the end of the work is not known.
    source: the view, or another function or name for the log.
    """

    # Class attributes, because most pieces of work use no database: then these cost nothing.
    # All are guarded by the lock of the pool.
    thread: "OrmThread | None" = None
    # The first one is being made, or is the next. (submit() replaces this empty one.)
    calls: deque[Call] = deque()
    check: Callable[[], None] | None = None  # of the connections, before the next call
    last_call = 0.0  # when it ended
    has_ended = False
    cursors: "tuple[weakref.ref[Any], ...]" = ()  # that are read in parts
    # The error of its next call: its transaction or its session is gone.
    loss: str | None = None
    # Closed connections whose atomic blocks it has not left yet.
    blocks: Sequence[Session] = ()

    def __init__(self, request: web.BaseRequest | None, source: Callable[..., Any] | str) -> None:
        self.request = request
        self._source = source

    @property
    def name(self) -> str:
        """Its name in the log."""
        source = self._source
        if isinstance(source, str):
            return source
        return f"{source.__module__}.{getattr(source, '__qualname__', source)}"

    def end(self) -> None:
        """Note that the view or the block is over. Tasks that it started may still make calls."""
        self.request = None
        self.has_ended = True
        if (thread := self.thread) is not None:
            thread.end(self)

    def set_free(self) -> None:
        """Keep no thread any more; under the lock of the pool."""
        if self.thread is not None:
            self.thread.works.discard(self)
            self.thread = None

    def is_open_ended(self) -> bool:
        """Whether its end is not known, or may be days away."""
        request = self.request
        # A response that has begun may be a WebSocket or a stream.
        return request is None or request.writer.output_size > 0

    def is_reading(self) -> bool:
        """Whether it has a cursor open in its thread."""
        return any(cursor() is not None for cursor in self.cursors)

    def has_paused(self, now: float) -> bool:
        """Whether it can be set free, unless it is exclusive or has a call."""
        return now - self.last_call >= PAUSE and self.is_open_ended() and not self.is_reading()
