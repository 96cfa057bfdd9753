"""A piece of work: what belongs together among the database calls of a process."""

import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import web
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    from .thread import OrmThread

# Work whose end nothing tells (a WebSocket, a background task) leaves its thread after a pause, in
# seconds.
PAUSE = 0.2


class Work:
    """A piece of work, and where it stands.

    request: that it answers. None for work that may pause for long: nothing tells when it's over.
    source: the view, or what else to call the work in the log.
    """

    # As class attributes these cost nothing in the many pieces of work that use no database.
    # All are guarded by the lock of the threads.
    thread: "OrmThread | None" = None  # its latest; it's in thread.works while it counts there
    outstanding = 0  # calls
    last_call = 0.0
    has_ended = False
    cursors: "tuple[weakref.ref[Any], ...]" = ()  # that are read in parts
    # What its next call is to be told: that its transaction or its session is gone.
    loss: str | None = None
    # Closed connections whose atomic blocks it has not left yet.
    blocks: Sequence[BaseDatabaseWrapper] = ()

    def __init__(self, request: web.BaseRequest | None, source: Callable[..., Any] | str) -> None:
        self.request = request
        self._source = source

    @property
    def name(self) -> str:
        """What it is, for the log."""
        source = self._source
        if isinstance(source, str):
            return source
        return f"{source.__module__}.{getattr(source, '__qualname__', source)}"

    def end(self) -> None:
        """Say that it's over; what goes on in background tasks is still served."""
        self.request = None
        if self.thread is not None:
            self.thread.end(self)

    def is_open_ended(self) -> bool:
        request = self.request
        # What has begun to answer is a WebSocket or a stream, and can stay open for days.
        return request is None or request.writer.output_size > 0

    def is_paused(self) -> bool:
        """Whether it makes no calls at the moment, and perhaps never again."""
        return (
            not self.outstanding
            and self.is_open_ended()
            and time.monotonic() - self.last_call >= PAUSE
            and not self.is_reading()
        )

    def is_reading(self) -> bool:
        """Whether a cursor is open in its thread."""
        return any(cursor() is not None for cursor in self.cursors)
