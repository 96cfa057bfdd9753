"""An ORM thread: resident, with connections of its own, shared by pieces of work.

A piece of work is what belongs together: a request, a block of `django_context()`, the calls that
a WebSocket makes between two pauses. Its calls run in one thread, in their order. Since most work
waits for something else most of the time, a thread serves several pieces at once, as long as they
leave the session of the database as it is. One that has a transaction open, or has changed the
session, is the holder of the thread: it has the thread and its connections for itself.
"""

import asyncio
import contextvars
import logging
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from django.db import Error as DatabaseError
from django.db.transaction import TransactionManagementError

from aiodjango.runtime.exits import exit_as_error
from aiodjango.runtime.loopcalls import LoopCalls

from .caches import close_thread_caches, has_thread_caches
from .connections import Connections
from .work import PAUSE, Work

logger = logging.getLogger("aiodjango.database")

# Times in seconds.
# Caches of a thread that has been idle for so long are closed.
CACHE_PAUSE = 5.0
# A thread that was not idle for so long, and has connections past their age, gets no new work …
BUSY_LIMIT = 1.0
# … and if it is not idle after so long either, they are closed between two calls.
DRAIN_LIMIT = 5.0


class Call:
    """A function to be called in a thread, and the future that waits for it."""

    __slots__ = ("begins_idle", "checks", "function", "future", "reports", "work")

    def __init__(
        self,
        work: Work,
        function: Callable[[], Any],
        future: asyncio.Future[Any],
        reports: LoopCalls,
    ) -> None:
        self.work = work
        self.function = function
        self.future = future
        self.reports = reports
        self.begins_idle = False  # the first in a thread that nothing else uses
        self.checks = False  # the first of a piece of work, or the first after a moment's pause

    def report(self, result: Any, error: BaseException | None) -> None:
        """Resolve the future, on its event loop; in any thread."""
        self.reports.add(self._resolve, result, error)
        self.reports.wake(self.future.get_loop())

    def _resolve(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return  # cancelled
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Shared:
    """What all ORM threads of a process have in common."""

    def __init__(self) -> None:
        # Held for moments only. One that can be taken again: the garbage collector may close a
        # coroutine at any moment, and that may end its work.
        self.lock = threading.RLock()
        # The one that gets no new work until it is idle; never two at a time.
        self.draining: OrmThread | None = None


class OrmThread:
    """A thread with its connections, its queue and the work that counts on them.

    move: gives a call to another thread without a holder; returns whether there is one.
    holder_timeout: how long a holder whose end is not in sight may make no call, in seconds.
    """

    def __init__(
        self,
        shared: Shared,
        name: str,
        move: "Callable[[Call, OrmThread], bool]",
        holder_timeout: float,
    ) -> None:
        self._shared = shared
        self.name = name
        self._move = move
        self._holder_timeout = holder_timeout
        # Of calls; of work that has ended as holder; at last None.
        self.queue: queue.SimpleQueue[Call | Work | None] = queue.SimpleQueue()
        # Guarded by the shared lock:
        self.works: set[Work] = set()
        self.outstanding = 0  # calls
        self.is_started = False
        self.is_gone = False
        # Written in the thread alone:
        self.connections: Connections
        self.holder: Work | None = None
        self._holds_until_end = False  # for what it did before its end
        self.busy_since = 0.0
        self._held: deque[Call] = deque()  # of other work, while there is a holder
        self._current: Work | None = None
        self._is_tidy = True
        self._next_look = 0.0
        self._last_call = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. A daemon: it never delays the end of the process."""
        # Explicitly empty: on a free-threaded Python a thread inherits its starter's context.
        run = contextvars.Context().run
        thread = threading.Thread(target=run, args=(self._run,), name=self.name, daemon=True)
        thread.start()  # or RuntimeError
        self._thread = thread
        self.is_started = True

    def join(self, timeout: float) -> bool:
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    def end(self, work: Work) -> None:
        """Let work go that is over, unless something of it goes on."""
        with self._shared.lock:
            work.has_ended = True
            if work is self.holder:
                self.queue.put(work)
            elif not work.outstanding and not work.is_reading():
                self.works.discard(work)

    # --- In the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        self.connections = Connections(self._note_cursor)
        while (call := self._next()) is not None:
            self._perform(call)
            del call  # with its result, which may be large
        self.connections.close_all()
        self._upkeep(close_thread_caches)

    def _next(self) -> Call | None:
        while True:
            if self._held and self.holder is None:
                return self._held.popleft()
            try:
                item = self.queue.get(timeout=None if self._is_tidy else PAUSE)
            except queue.Empty:
                self._look()
                continue
            if isinstance(item, Work):
                self._release_if_over()
            elif self.holder is None or (item is not None and item.work is self.holder):
                return item
            elif item is None:
                self._release(self.holder, "the ORM threads were closed")
                self.queue.put(None)  # behind those that are held
            elif not self._move(item, self):
                self._held.append(item)
                self._look_again()

    def _perform(self, call: Call) -> None:
        self._is_tidy = False
        if call.begins_idle:
            self._close_obsolete()
        elif call.checks and self.holder is None:
            self._upkeep(self.connections.close_broken)
        work = self._current = call.work
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
                self._upkeep(self.connections.close_broken)
            self._find_holder(work, had_ended, error)
        self._current = None
        with self._shared.lock:
            work.last_call = self._last_call = time.monotonic()
            work.outstanding -= 1
            self.outstanding -= 1
        if self.holder is not None:
            self._release_if_over()
        call.report(result, error)
        # An error holds this frame by its traceback: let it not hold the error.
        del result, error
        self._look_again()

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
            work.blocks = [block for block in work.blocks if block.in_atomic_block]
        if not work.blocks:
            work.loss = None
        raise TransactionManagementError(loss) from cause

    def _find_holder(self, work: Work, had_ended: bool, error: BaseException | None) -> None:
        is_changed = self.connections.are_changed()
        if not is_changed and not self.connections.in_transaction():
            self.holder = None
            return
        if self.holder is not work:
            self._holds_until_end = not had_ended
        self.holder = work
        if is_changed and isinstance(error, DatabaseError) and self.connections.are_broken():
            self._release(work, "its connection broke")

    def _note_cursor(self, cursor: Any) -> None:
        work = self._current
        if work is not None:  # pragma: no branch - but for a backend's own upkeep
            still_open = (other for other in work.cursors if other() is not None)
            try:
                work.cursors = (*still_open, weakref.ref(cursor))
            except TypeError:  # pragma: no cover
                pass  # a backend's own kind of cursor, of which nothing can be known

    # --- Now and then, in the thread -------------------------------------------------------

    def _look_again(self) -> None:
        if time.monotonic() >= self._next_look:
            self._look()

    def _look(self) -> None:
        """Let work go that pauses, and find an occasion to tidy up."""
        now = time.monotonic()
        self._next_look = now + PAUSE
        holder = self.holder
        with self._shared.lock:
            for work in list(self.works):
                if work is not holder and work.is_paused():
                    self.works.discard(work)
            is_idle = not self.works
            is_read = self._is_read()
            is_left = (
                holder is not None
                and not holder.outstanding
                and holder.is_open_ended()
                and now - holder.last_call >= self._holder_timeout
            )
        if not is_read:
            self._upkeep(self.connections.close_retired)
        if holder is not None and is_left:
            self._release(holder, f"no database call for {self._holder_timeout:g} seconds")
        elif is_idle:
            self._close_obsolete()
            self._is_tidy = self._close_caches(now)
        elif self.connections.is_overdue():
            self._seek_idleness(now)
        if self._held and self.holder is not None:
            self._held = deque(call for call in self._held if not self._move(call, self))

    def _is_read(self, apart_from: Work | None = None) -> bool:
        """Whether a cursor of some work is open (under the lock)."""
        # Of a copy: a garbage collection in the midst may end work, in this thread as well.
        return any(work is not apart_from and work.is_reading() for work in list(self.works))

    def _seek_idleness(self, now: float) -> None:
        # Others may wait for a connection that is borrowed from a pool.
        limit = PAUSE if self.connections.is_pooled() else BUSY_LIMIT
        busy = now - self.busy_since
        if busy < limit:
            return
        if busy < limit + DRAIN_LIMIT:
            with self._shared.lock:
                if self._shared.draining is None:
                    self._shared.draining = self
            return
        with self._shared.lock:
            if self._shared.draining is self:  # pragma: no branch - as other threads have it
                self._shared.draining = None
            is_closable = self.holder is None and not self._is_read()
        if is_closable:  # pragma: no branch - as its work has it
            self._close_obsolete()
        self.busy_since = now

    def _close_caches(self, now: float) -> bool:
        """Close the caches of the thread after a long pause; returns whether that is done."""
        if has_thread_caches():
            if now - self._last_call < CACHE_PAUSE:
                return False
            self._upkeep(close_thread_caches)
        return True

    def _close_obsolete(self) -> None:
        self._upkeep(self.connections.close_obsolete)
        self.busy_since = time.monotonic()

    def _release_if_over(self) -> None:
        """Let a holder go that changed the session and has ended."""
        holder = self.holder
        if (
            holder is not None
            and holder.has_ended
            and self._holds_until_end
            and not holder.outstanding
            and not self.connections.in_transaction()
        ):
            self._release(holder)

    def _release(self, holder: Work, reason: str = "") -> None:
        """Give the thread to other work, with new connections.

        reason: where it is not for the end of the holder.
        """
        if self.connections.in_transaction():
            level, what = logging.ERROR, "Rolled back the transaction that %s left open: %s."
        else:
            level, what = logging.WARNING, "Closed the database session that %s had changed: %s."
        if reason:
            logger.log(level, what, holder.name, reason)
        loss = what % (holder.name, reason or "it has ended; a task that it started goes on")
        with self._shared.lock:
            is_read = self._is_read(apart_from=holder)
        blocks = self.connections.renew(is_read=is_read)
        with self._shared.lock:
            self.holder = None
            holder.loss, holder.blocks = loss, blocks
            self.works.discard(holder)

    def _upkeep(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            logger.exception("The database connections of %s can't be looked after", self.name)
