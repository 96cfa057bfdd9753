"""The ORM threads of a process, and which of them does what."""

import asyncio
import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from aiodjango.runtime.loopcalls import LoopCalls

from .caches import share_caches
from .forks import prepare_for_forks
from .thread import Call, OrmThread, Shared
from .work import Work

logger = logging.getLogger("aiodjango.database")

# How long (seconds) the end of the process waits for threads to close their connections.
EXIT_LIMIT = 0.5


class OrmThreads:
    """The ORM threads of the process, started as they are needed.

    count: tells how many at most, at the first call.
    holder_timeout: tells how long a holder whose end is not in sight may make no call, in seconds.

    All event loops of the process use them; as a rule there is one.
    """

    def __init__(self, count: Callable[[], int], holder_timeout: Callable[[], float]) -> None:
        self._count = count
        self._holder_timeout = holder_timeout
        self._shared = Shared()
        self._threads: list[OrmThread] = []
        self._reports: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopCalls] = (
            weakref.WeakKeyDictionary()
        )
        self._is_prepared = False

    def _prepare(self) -> None:
        timeout = self._holder_timeout()
        self._threads = [
            OrmThread(self._shared, f"aiodjango-orm-{n}", self._move, timeout)
            for n in range(self._count())
        ]
        prepare_for_forks()
        share_caches()
        if not self._is_prepared:
            atexit.register(self.close, EXIT_LIMIT)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._begin_anew)
        self._is_prepared = True

    def _begin_anew(self) -> None:
        """Forget, after a fork, the threads that stayed in the parent."""
        for thread in self._threads:
            thread.is_gone = True
        self._threads, self._shared.draining = [], None
        # In the parent, a thread that is not here may hold it now.
        self._shared.lock = threading.RLock()

    # --- On an event loop ------------------------------------------------------------------

    def submit(self, work: Work, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Call a function in the thread of a piece of work.

        Raises RuntimeError when there is no thread, and none can be started.
        """
        loop = asyncio.get_running_loop()
        reports = self._reports.get(loop)
        if reports is None:
            reports = self._reports.setdefault(loop, LoopCalls())
        call = Call(work, function, loop.create_future(), reports)
        with self._shared.lock:
            thread = work.thread
            if thread is None or work not in thread.works or self._may_move(work, thread):
                thread = self._started(self._choose(work.thread))
                self._bind(work, call, thread)
            elif not work.outstanding and work.is_open_ended():
                call.checks = True
            work.outstanding += 1
            thread.outstanding += 1
            # Under the lock, so that begins_idle is true of the order in the queue.
            thread.queue.put(call)
        return call.future

    def _may_move(self, work: Work, thread: OrmThread) -> bool:
        """Whether work that counts in a thread may go on in another one, if that is busy."""
        if thread.is_gone:
            return True
        if work is thread.holder:
            return False
        if thread.holder is not None:
            return not work.outstanding and not work.is_reading()
        return thread.outstanding > 0 and work.is_paused()

    def _bind(self, work: Work, call: Call, thread: OrmThread) -> None:
        if work.thread is not None:
            work.thread.works.discard(work)
        if thread.works:
            call.checks = True
        else:
            call.begins_idle = True
            if thread is self._shared.draining:
                self._shared.draining = None
        thread.works.add(work)
        work.thread = thread

    def _choose(self, home: OrmThread | None) -> OrmThread:
        """The thread that has least to do, rather one that has been used already."""
        if (
            home is not None
            and not home.outstanding
            and home.holder is None
            and not home.is_gone
            and home is not self._shared.draining
        ):
            return home
        if not self._threads:
            self._prepare()
        chosen, least = self._threads[0], None
        for thread in self._threads:
            is_draining = thread is self._shared.draining and bool(thread.works)
            load = (is_draining or thread.holder is not None, thread.outstanding, len(thread.works))
            if least is None or load < least:
                chosen, least = thread, load
        return chosen

    def _started(self, thread: OrmThread) -> OrmThread:
        """A thread, or another one if it can't be started."""
        if not thread.is_started:
            try:
                thread.start()
            except RuntimeError:
                started = [other for other in self._threads if other.is_started]
                if not started:
                    raise
                logger.warning("Can't start an ORM thread: %d go on", len(started))
                return min(started, key=lambda other: other.outstanding)
        return thread

    # --- In a thread -----------------------------------------------------------------------

    def _move(self, call: Call, thread: OrmThread) -> bool:
        """Give a call to a thread without a holder; returns whether there is one."""
        work = call.work
        with self._shared.lock:
            if thread.is_gone or work.outstanding > 1 or work.is_reading():
                return False
            other = self._started(self._choose(None))
            if other.holder is not None:
                return False
            thread.outstanding -= 1
            self._bind(work, call, other)
            other.outstanding += 1
            other.queue.put(call)
        return True

    # --- Anywhere --------------------------------------------------------------------------

    def close(self, timeout: float) -> bool:
        """End the threads and close their connections; the next call starts new ones.

        timeout: in seconds, for what is still being called. Returns whether all have ended.
        """
        with self._shared.lock:
            threads, self._threads, self._shared.draining = self._threads, [], None
            for thread in threads:
                thread.is_gone = True
                thread.queue.put(None)
        deadline = time.monotonic() + timeout
        have_ended = [thread.join(max(0, deadline - time.monotonic())) for thread in threads]
        return all(have_ended)
