"""An ORM thread: resident, with connections of its own, used by several pieces of work.

Most work waits for something else most of the time, so a thread serves several pieces of work at
once, as long as they leave the session of the database as it is. `aiodjango.orm.work` describes
how work keeps a thread.
"""

import contextvars
import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from aiodjango.runtime.exits import exit_as_error

from .caches import close_thread_caches, has_thread_caches
from .connections import Connections
from .work import PAUSE, Work

if TYPE_CHECKING:
    from .pool import OrmPool

logger = logging.getLogger("aiodjango.database")

# Times in seconds.
# After so long without a call, a thread closes its caches.
CACHE_PAUSE = 5.0
# A thread that has been busy for so long, and has connections past their age, gets no new work …
BUSY_LIMIT = 1.0
# … and if it is not idle after this time either, they are closed between two calls.
DRAIN_LIMIT = 5.0


class OrmThread(threading.Thread):
    """A thread with its connections, its queue of work, and the work that keeps it.

    owner_timeout: how long an owner whose end is not known may make no call, in seconds.
    """

    def __init__(self, pool: "OrmPool", name: str, owner_timeout: float) -> None:
        # A daemon never delays the end of the process.
        super().__init__(name=name, daemon=True)
        self._pool = pool
        self._owner_timeout = owner_timeout
        # Work with a call, or an owner that has ended; None last.
        self.queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        # Guarded by the lock of the pool:
        self.works: set[Work] = set()
        self.active = 0  # pieces of work in the queue, or with a call being made
        self.is_gone = False
        self.owner: Work | None = None  # changed in the thread alone
        # Used in the thread alone:
        self.connections: Connections
        self._owner_leaves_at_end = False
        self._current: Work | None = None
        self._is_tidy = True
        self._next_maintenance = 0.0
        self._last_call = 0.0
        self._busy_since = 0.0

    # --- Under the lock of the pool --------------------------------------------------------

    def load(self) -> tuple[bool, int, int]:
        """How busy it is: the thread with the smallest value gets the next piece of work."""
        is_draining = self._pool.draining is self and bool(self.works)
        return is_draining or self.owner is not None, self.active, len(self.works)

    def is_kept_by(self, work: Work) -> bool:
        """Whether the next call of work that was admitted here has to be made here."""
        if self.is_gone:
            return False
        if self.owner is None:
            return not work.has_paused(time.monotonic())
        return self.owner is work or work.is_reading()

    def admit(self, work: Work) -> None:
        """Let work that has a call keep this thread."""
        if work.thread is not self:
            work.check = self._close_broken if self.works else self._close_obsolete
            work.thread = self
            self.works.add(work)
        elif work.check is None and work.is_open_ended():
            work.check = self._close_broken
        self.active += 1

    def end(self, work: Work) -> None:
        """Set free work that has ended, unless it still has a call, or a cursor open."""
        with self._pool.lock:
            if work.thread is not self or work.calls:
                pass
            elif work is self.owner:
                self.queue.put(work)
            elif not work.is_reading():
                work.set_free()

    # --- In the thread ---------------------------------------------------------------------

    def run(self) -> None:
        """Make calls until the pool ends the thread."""
        # In an empty context: on a free-threaded Python a thread inherits that of its starter.
        contextvars.Context().run(self._make_calls)

    def _make_calls(self) -> None:
        self.connections = Connections(self._note_cursor, self._is_read)
        while (work := self._next()) is not None:
            self._perform(work)
        self.connections.close_all()
        self._attempt(close_thread_caches)

    def _next(self) -> Work | None:
        """Wait for the next call, and return its work; None at the end of the thread."""
        while True:
            if self.owner is None and (work := self._pool.next_waiting(self)) is not None:
                return work
            try:
                item = self.queue.get(timeout=None if self._is_tidy else PAUSE)
            except queue.Empty:
                self._maintain()
                continue
            if item is None:
                if self.owner is not None:
                    self._replace_session(self.owner, "the ORM threads were closed")
                elif self.queue.empty():
                    return None
                self.queue.put(None)  # behind what waits, and the next calls of the same work
            elif item.thread is not self or not item.calls:
                self._release_at_end()
            elif self.owner is None or self.owner is item:
                return item
            else:
                self._pool.pass_on(item, self)
                self._maintain_if_due()

    def _perform(self, work: Work) -> None:
        call = work.calls[0]
        self._is_tidy = False
        self.connections.close_unread()
        if work.check is not None:
            work.check()
            work.check = None
        self._current = work
        had_ended = work.has_ended
        result: Any = None
        error: BaseException | None = None
        if not call.future.cancelled():
            try:
                result = self._call(work, call.function)
            except BaseException as raised:
                # A StopIteration would end the coroutine that awaits it.
                is_plain = isinstance(raised, Exception) and not isinstance(raised, StopIteration)
                error = raised if is_plain else exit_as_error(raised)
            if isinstance(error, DatabaseError):
                self._attempt(self.connections.close_broken)
            self._note_state(work, had_ended, error)
        self._current = None
        self._finish(work)
        call.report(result, error)
        # The traceback of the error refers to this frame: the frame must not refer to the error.
        del call, result, error
        self._maintain_if_due()

    def _call(self, work: Work, function: Callable[[], Any]) -> Any:
        if work.loss is None:
            return function()
        loss, cause = work.loss, None
        if work.blocks:
            # Until it has left its atomic blocks, its calls see the closed connections only.
            try:
                self.connections.call_with(work.blocks, function)
            except Exception as error:
                cause = error
            work.blocks = [block for block in work.blocks if block.connection.in_atomic_block]
        if not work.blocks:
            work.loss = None
        raise TransactionManagementError(loss) from cause

    def _note_state(self, work: Work, had_ended: bool, error: BaseException | None) -> None:
        """Note whether work is exclusive here after a call."""
        is_changed = self.connections.are_changed()
        if is_changed or self.connections.in_transaction():
            if self.owner is not work:
                self._owner_leaves_at_end = not had_ended
                self._set_owner(work)
            if is_changed and isinstance(error, DatabaseError) and self.connections.are_broken():
                self._replace_session(work, "its connection broke")
        elif self.owner is not None:
            self._set_owner(None)

    def _finish(self, work: Work) -> None:
        """Remove the call that was made, and queue the next one."""
        with self._pool.lock:
            work.calls.popleft()
            work.last_call = self._last_call = time.monotonic()
            if work.calls:
                self.queue.put(work)
            else:
                self.active -= 1
        self._release_at_end()

    def _note_cursor(self, cursor: Any) -> None:
        work = self._current
        if work is not None:  # pragma: no branch - None while a back end checks a connection
            still_open = (other for other in work.cursors if other() is not None)
            work.cursors = (*still_open, weakref.ref(cursor))

    # --- Becoming and ceasing to be exclusive, in the thread -------------------------------

    def _set_owner(self, work: Work | None) -> None:
        # Under the lock, so that no work starts to wait for an owner that has just gone.
        with self._pool.lock:
            self.owner = work

    def _release_at_end(self) -> None:
        """Replace the session of an owner that has changed it and has ended."""
        owner = self.owner
        if (
            owner is not None
            and owner.has_ended
            and self._owner_leaves_at_end
            and not owner.calls
            and not self.connections.in_transaction()
        ):
            self._replace_session(owner)

    def _replace_session(self, owner: Work, reason: str = "") -> None:
        """Give the thread to other work, with new connections.

        reason: if it is not the end of the owner.
        """
        if self.connections.in_transaction():
            level, what = logging.ERROR, "Rolled back a transaction that %s left open: %s"
        else:
            level, what = logging.WARNING, "Closed a database session that %s had changed: %s"
        if reason:
            logger.log(level, what, owner.name, reason)
        loss = what % (owner.name, reason or "it has ended; a task that it started goes on")
        owner.cursors = ()
        blocks = self.connections.renew()
        with self._pool.lock:
            self.owner = None
            owner.loss, owner.blocks = loss, blocks
            if owner.thread is self and not owner.calls:
                owner.set_free()

    # --- Maintenance, in the thread --------------------------------------------------------

    def _maintain_if_due(self) -> None:
        if time.monotonic() >= self._next_maintenance:
            self._maintain()

    def _maintain(self) -> None:
        """Set free the work that has paused, and check the connections."""
        now = time.monotonic()
        self._next_maintenance = now + PAUSE
        owner = self.owner
        with self._pool.lock:
            for work in list(self.works):
                if work is not owner and not work.calls and work.has_paused(now):
                    work.set_free()
        self.connections.close_unread()
        if owner is not None:
            if (
                not owner.calls
                and owner.is_open_ended()
                and now - owner.last_call >= self._owner_timeout
            ):
                reason = f"no database call for {self._owner_timeout:g} seconds"
                self._replace_session(owner, reason)
        elif not self.works:
            self._close_obsolete()
            # The caches stay open for a while.
            self._is_tidy = not has_thread_caches() or now - self._last_call >= CACHE_PAUSE
            if self._is_tidy:
                self._attempt(close_thread_caches)
        elif self.connections.is_overdue():
            # Others may wait for a connection that is borrowed from a pool.
            limit = PAUSE if self.connections.is_pooled() else BUSY_LIMIT
            busy = now - self._busy_since
            if busy >= limit + DRAIN_LIMIT:
                self._close_obsolete()
            elif busy >= limit:
                self._pool.draining = self._pool.draining or self

    def _is_read(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether work has a cursor of a connection open."""
        with self._pool.lock:
            # Of a copy, because a garbage collection during the loop may end work.
            cursors = [cursor() for work in list(self.works) for cursor in work.cursors]
        return any(getattr(cursor, "db", None) is connection for cursor in cursors)

    def _close_obsolete(self) -> None:
        self._attempt(self.connections.close_obsolete)
        self._busy_since = time.monotonic()
        if self._pool.draining is self:
            self._pool.draining = None

    def _close_broken(self) -> None:
        if self.owner is None:
            self._attempt(self.connections.close_broken)

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            logger.exception("Could not check the connections of thread %s", self.name)
