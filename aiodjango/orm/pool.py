"""The ORM threads of a process, and which of them does which work."""

import asyncio
import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from aiodjango.runtime.loopcalls import LoopCalls

from .process import prepare_process
from .thread import OrmThread
from .work import Call, Work

logger = logging.getLogger("aiodjango.database")

# How long (seconds) the end of the process waits for threads to close their connections.
EXIT_LIMIT = 0.5


class OrmPool:
    """The ORM threads of the process, started as they are needed.

    count: returns how many there are at most; called at the first call.
    owner_timeout: returns how long exclusive work whose end is not known may make no call, in
        seconds.

    All event loops of the process use them; as a rule there is one.
    """

    def __init__(self, count: Callable[[], int], owner_timeout: Callable[[], float]) -> None:
        self._count = count
        self._owner_timeout = owner_timeout
        # Held for moments only. Reentrant, because the garbage collector may close a coroutine, and
        # so end its work, at any moment.
        self.lock = threading.RLock()
        self._threads: list[OrmThread] = []
        # The thread that gets no new work until it is idle; never two at a time.
        self.draining: OrmThread | None = None
        # Work whose call no thread can make now: all threads have owners, or the one in which it
        # has a cursor open has another owner.
        self._waiting: deque[Work] = deque()
        self._loop_calls: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopCalls] = (
            weakref.WeakKeyDictionary()
        )
        self._is_registered = False

    def _prepare(self) -> None:
        timeout = self._owner_timeout()
        self._threads = [
            OrmThread(self, f"aiodjango-orm-{n}", timeout) for n in range(self._count())
        ]
        prepare_process()
        if not self._is_registered:
            atexit.register(self.close, EXIT_LIMIT)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._begin_anew)
        self._is_registered = True

    def _begin_anew(self) -> None:
        """Forget the threads after a fork: they exist in the parent only."""
        for work in [*self._waiting, *(w for thread in self._threads for w in list(thread.works))]:
            work.calls.clear()
            work.set_free()
        self._waiting.clear()
        self._threads, self.draining = [], None
        # A thread of the parent may hold the old one.
        self.lock = threading.RLock()

    # --- On an event loop ------------------------------------------------------------------

    def submit(self, work: Work, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Call a function in a thread, as the next call of a piece of work.

        Raises RuntimeError if no thread is running or can be started, and on an event loop that
        runs in the thread of the work.
        """
        loop = asyncio.get_running_loop()
        loop_calls = self._loop_calls.get(loop)
        if loop_calls is None:
            loop_calls = self._loop_calls.setdefault(loop, LoopCalls())
        call = Call(function, loop.create_future(), loop_calls)
        with self.lock:
            if not work.calls:
                thread = self._thread_for(work)
                work.calls = deque((call,))
                self._hand_over(work, thread)
            elif work.thread is threading.current_thread():
                raise RuntimeError(
                    "This database call would wait for the function that it is made in, for ever: "
                    "in functions that run in an ORM thread use async_to_sync(), not asyncio.run()."
                )
            else:
                work.calls.append(call)
        return call.future

    def _thread_for(self, work: Work) -> OrmThread | None:
        """The thread that makes the next call of work; None while all have other owners."""
        thread = work.thread
        if thread is not None and thread.is_kept_by(work):
            return thread
        work.set_free()  # before the choice: load() counts the work of each thread
        if not self._threads:
            self._prepare()
        # min() returns the first of equals, so that no more threads are started than needed.
        thread = self._started(min(self._threads, key=OrmThread.load))
        return thread if thread.owner is None else None

    def _hand_over(self, work: Work, thread: OrmThread | None) -> None:
        if thread is None:
            self._waiting.append(work)
        else:
            thread.admit(work)
            # Under the lock, so that the queue has the order in which work was admitted.
            thread.queue.put(work)

    def _started(self, thread: OrmThread) -> OrmThread:
        """A thread, or another one if it cannot be started."""
        if thread.ident is None:
            try:
                thread.start()
            except RuntimeError:
                started = [other for other in self._threads if other.ident is not None]
                if not started:
                    raise
                logger.warning("Could not start an ORM thread: %d are running", len(started))
                return min(started, key=OrmThread.load)
        return thread

    # --- In a thread -----------------------------------------------------------------------

    def pass_on(self, work: Work, thread: OrmThread) -> None:
        """Move work from its thread, which now has another owner, to another one."""
        with self.lock:
            thread.active -= 1
            if not work.is_reading():
                work.set_free()
            # While the threads end, there may be no other.
            may_move = work.thread is None and not thread.is_gone
            self._hand_over(work, self._thread_for(work) if may_move else None)

    def next_waiting(self, thread: OrmThread) -> Work | None:
        """Return work that waits for a thread without an owner; None if there is none."""
        if not self._waiting:
            return None
        with self.lock:
            for work in self._waiting:
                if work.thread is None or work.thread is thread:
                    self._waiting.remove(work)
                    thread.admit(work)
                    return work
        return None

    # --- Anywhere --------------------------------------------------------------------------

    def close(self, timeout: float) -> bool:
        """End the threads and close their connections; the next call starts new ones.

        timeout: for the calls being made, in seconds.

        Returns whether all have ended.
        """
        with self.lock:
            threads, self._threads, self.draining = self._threads, [], None
            for thread in threads:
                thread.is_gone = True
                thread.queue.put(None)
        deadline = time.monotonic() + timeout
        started = [thread for thread in threads if thread.ident is not None]
        for thread in started:
            thread.join(max(0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in started)
