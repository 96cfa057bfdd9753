"""Resident worker threads, fed by one queue, reporting to one event loop.

What costs in handing a request to a thread and back is waking threads and fighting for the GIL.
So the threads are resident, a second one is woken only when those awake have started nothing for
a while and the GIL is free, and what threads report is carried to the loop in bulk. While jobs
compute for long, one thread runs them, and the loop gets the GIL back from it soon.

Without a GIL (a free-threaded Python) it is cores that are shared: threads are woken while cores
are free, and while all are busy as many threads run jobs as there are cores besides what the loop
uses.
"""

import asyncio
import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from aiodjango.runtime.bridge import Bridge
from aiodjango.runtime.loopcalls import LoopCalls

from . import switching
from .load import Load

logger = logging.getLogger("aiodjango.gateway")

# How long (seconds) a job may wait for the threads that are awake before another is woken.
PATIENCE = 0.001
# How often (seconds) threads at work are looked after while jobs wait and compute for long: each
# look takes the GIL from one of them, so what they report waits as long for the loop …
LONG_PATIENCE = 0.005
# … and how often when no job waits.
CALM = 0.01
# A thread that is at one job for longer (seconds) does not stand for the others any more.
LONG_JOB = 0.025
# How long (seconds) wait_stopped() waits for threads that are at the end of their work …
FAREWELL = 1.0
# … and how often meanwhile it looks for coroutines that they have begun to wait for.
CUT_INTERVAL = 0.25


class NoThread(Exception):
    """The system lets us start no thread."""


class Job(Protocol):
    """What a worker runs. Every job that was submitted sees exactly one of run() and drop()."""

    def wanted(self) -> bool:
        """Whether somebody still waits for it; asked in the thread, right before it would run."""

    def surely_wanted(self) -> bool:
        """Whether somebody is known to wait for it; asked when others would have its place."""

    def run(self) -> None:
        """Do the work; must not raise."""

    def drop(self) -> None:
        """Clean up, instead of running; in any thread."""


class Workers:
    """At most `threads` daemon threads at work, and beside them those that stepped aside.

    Each thread has one context (of `contextvars`) for its life, which is empty at first.
    Made on the event loop; no thread is started before the first job. Each thread calls
    `at_thread_end` when it has run its last job. Of the public methods `post` and `step_aside` may
    be called from any thread, the others on the loop.
    """

    def __init__(
        self,
        threads: int,
        *,
        name: str = "aiodjango",
        at_thread_end: Callable[[], object] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.bridge = Bridge()
        self._threads = threads
        self._name = name
        self._at_thread_end = at_thread_end
        # Guards everything up to the next blank line; held for moments only.
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._idle: list[threading.Lock] = []  # the gates of sleeping threads, warmest last
        self._alive: set[threading.Thread] = set()
        self._awake = 0  # threads awake and not aside: they take the next jobs
        self._aside: set[Job] = set()
        self._begun: dict[Job, float] = {}  # when (monotonic) each job of theirs was begun
        self._count = 0  # jobs begun since the last look
        self._load = Load()
        self._stopping = False

        self.abandoned = 0
        self._started = 0  # for the threads' names
        self._watch: asyncio.TimerHandle | None = None
        self._looking = False  # the watch comes soon, not in its own good time
        self._stopped = asyncio.Event()
        self._reports = LoopCalls()

    # --- On the loop -----------------------------------------------------------------------

    @property
    def busy(self) -> int:
        """Threads at work, those that stand aside included."""
        return self._awake + len(self._aside)

    @property
    def pending(self) -> int:
        """Jobs that wait for a thread."""
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Queue `job`. Raises NoThread when there is no thread for it and none can be started."""
        with self._lock:
            self._jobs.append(job)
            if self._awake == 0:
                if not self._wake():
                    self._jobs.pop()
                    raise NoThread
            elif self._awake < self._load.places:
                self._wake_for_free_core()
        if not self._looking:
            self._looking = True
            if self._watch is not None:
                self._watch.cancel()
            self._watch = self.loop.call_later(PATIENCE, self._look)

    def sweep(self) -> None:
        """Drop the queued jobs that nobody wants any more, or perhaps nobody."""
        unwanted = []
        with self._lock:
            for _ in range(len(self._jobs)):
                job = self._jobs.popleft()
                if job.surely_wanted():
                    self._jobs.append(job)
                else:
                    unwanted.append(job)
        for job in unwanted:
            self._abandon(job)

    def stop(self) -> None:
        """Drop what is queued; threads end, those at work when their job does."""
        with self._lock:
            self._stopping = True
            jobs, self._jobs = self._jobs, deque()
            for gate in self._idle:
                gate.release()
            self._awake += len(self._idle)
            self._idle.clear()
            switching.restore(self)
        for job in jobs:
            self._abandon(job)
        if self._watch is not None:
            self._watch.cancel()
            self._reports.wake(self.loop)  # for what threads have left to the watch

    async def wait_stopped(self) -> None:
        """Wait, after stop(), for threads at the end of their work, a moment long.

        The coroutines that threads wait for are cancelled: those that run now at once; those that
        begin later, to clean up perhaps, a moment later. A thread that is stuck in its job is left
        behind: it is a daemon, so it does not keep the process alive.
        """
        threads = list(self._alive)
        deadline = self.loop.time() + FAREWELL
        while self._alive and self.loop.time() < deadline:
            self.bridge.cut()
            try:
                await asyncio.wait_for(self._stopped.wait(), CUT_INTERVAL)
            except TimeoutError:
                pass
        if self._alive:
            logger.warning("%d worker threads are still busy: left behind", len(self._alive))
        for thread in threads:
            if thread not in self._alive:
                thread.join()  # it has said that it is at its very end

    def _look(self) -> None:
        """Look after the threads, while any is at work, and collect what was reported."""
        with self._lock:
            if self.busy:
                self._load.look(self._count)
                self._count = 0
                self._adapt()
                if self._jobs and self._awake < self._places() and self._is_stuck():
                    self._wake()
                self._looking = bool(self._jobs)
                self._watch = self.loop.call_later(self._interval(), self._look)
            else:
                self._load.forget()
                self._adapt()
                self._looking = False
                self._watch = None
        self._reports.make()

    def _adapt(self) -> None:
        if self._load.has_gil and self._load.computes_long:
            switching.shorten(self)
        else:
            switching.restore(self)

    def _interval(self) -> float:
        """Seconds until the next look."""
        if not self._jobs:
            return CALM
        is_costly = self._load.has_gil and self._load.computes_long
        return LONG_PATIENCE if is_costly else PATIENCE

    def _is_stuck(self) -> bool:
        """Whether all threads that are awake have been at their jobs for a while."""
        if len(self._begun) < self._awake:
            return False  # one is on its way
        limit = time.monotonic() - PATIENCE
        return all(begun < limit for begun in self._begun.values())

    def _abandon(self, job: Job) -> None:
        with self._lock:
            self.abandoned += 1
        job.drop()

    # --- In any thread ---------------------------------------------------------------------

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Call `callback(*args)` on the loop, soon; one wake-up carries what many threads post.

        While jobs wait the loop comes by itself (see `_look`). To wake it would be to lose the
        GIL to it: one switch for each report, where one for several will do.
        """
        self._reports.add(callback, *args)
        will_look = self._load.has_gil and self._jobs and self._watch is not None
        if not will_look:
            self._reports.wake(self.loop)

    def step_aside(self, job: Job) -> None:
        """The thread of `job`, which is running, no longer counts: another may be woken for it."""
        with self._lock:
            if job in self._aside:  # pragma: no cover - its stream was cut off just now
                return
            self._aside.add(job)
            self._begun.pop(job, None)
            self._awake -= 1
            if self._jobs and self._awake < self._places():
                self._wake()

    # --- In the threads, and helpers under the lock ----------------------------------------

    def _wake(self) -> bool:
        """Wake the thread that slept last, or start one; False if that fails (under the lock)."""
        if self._idle:
            self._idle.pop().release()
        else:
            thread = threading.Thread(
                # Explicitly empty: on a free-threaded Python a thread inherits its starter's.
                target=contextvars.Context().run,
                args=(self._work,),
                name=f"{self._name}-{self._started}",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError:  # the system has no more
                return False
            self._started += 1
            self._alive.add(thread)
        self._awake += 1
        return True

    def _wake_for_free_core(self) -> None:
        """Wake a thread if there are more jobs than threads on their way to one."""
        if len(self._jobs) > self._awake - len(self._begun) and self._awake < self._threads:
            self._wake()

    def _places(self) -> int:
        """How many threads may take jobs: all, or so many as can compute besides long ones."""
        if not self._load.is_full or (self._load.has_gil and not self._load.computes_long):
            return self._threads
        limit = time.monotonic() - LONG_JOB
        long_ones = sum(begun < limit for begun in self._begun.values())
        return min(self._threads, self._load.places + long_ones)

    def _work(self) -> None:
        gate = threading.Lock()
        gate.acquire()
        job: Job | None = None
        with self._lock:
            self._load.enter()
        while True:
            with self._lock:
                if job is not None and self._begun.pop(job, None) is None:
                    self._aside.discard(job)
                    self._awake += 1
                if self._jobs and self._awake <= self._places():
                    job = self._jobs.popleft()
                    self._begun[job] = time.monotonic()
                    self._count += 1
                else:
                    self._awake -= 1
                    # When a stream that stood aside has ended there is a thread too many.
                    is_surplus = self._awake + len(self._idle) >= self._threads
                    if self._stopping or is_surplus:
                        break
                    self._idle.append(gate)
                    job = None
            if job is None:
                gate.acquire()
            elif job.wanted():
                job.run()
            else:
                self._abandon(job)
        self._tidy_up()
        self._leave()

    def _tidy_up(self) -> None:
        if self._at_thread_end is not None:
            try:
                self._at_thread_end()
            except BaseException:  # an exit, too, must not hide that the thread ends
                logger.exception("A worker thread could not tidy up at its end")

    def _leave(self) -> None:
        with self._lock:
            self._load.leave()
            self._alive.discard(threading.current_thread())
            last = not self._alive
        if last:
            self.post(self._stopped.set)
