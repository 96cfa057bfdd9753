"""Resident worker threads: one queue of jobs feeds them, and they report to one event loop.

The cost of handing a request to a thread and back is waking threads and competition for the GIL.
So the threads are resident, another one is woken only when those awake have begun nothing for a
while and the GIL is free, and the event loop is woken once for several reports. While jobs compute
for long, one thread runs them, and the event loop soon gets the GIL back from it.

Without a GIL (a free-threaded Python) threads share the cores: they are woken while cores are
free, and while all are busy as many threads run jobs as the event loop leaves cores.
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
from aiodjango.runtime.interpreter import InterpreterUse
from aiodjango.runtime.loopcalls import LoopCalls

logger = logging.getLogger("aiodjango.gateway")

# How often (seconds) the threads are checked while jobs wait. This is also how long a job may wait
# for the threads that are awake before another one is woken.
SHORT_CHECK_INTERVAL = 0.001
# How often (seconds) while no job waits, or while jobs compute for long: a check then takes the GIL
# from one of them.
CHECK_INTERVAL = 0.005
# A thread that has run one job for longer (seconds) does not count among those that compute.
LONG_JOB = 0.025
# How long (seconds) wait_stopped() waits for threads to end their jobs …
STOP_TIMEOUT = 1.0
# … and how often meanwhile it cancels coroutines that they have begun to wait for.
CANCEL_INTERVAL = 0.25


class NoThread(Exception):
    """The system cannot start a thread."""


class Job(Protocol):
    """What a thread runs. For each job that was submitted, run() or drop() is called once."""

    def wanted(self) -> bool:
        """Whether its result may be needed; asked in the thread, right before it would run."""

    def surely_wanted(self) -> bool:
        """Whether its result is known to be needed; asked when the queue is full."""

    def run(self) -> None:
        """Do the work; must not raise."""

    def drop(self) -> None:
        """Clean up, instead of running; in any thread."""


class Workers:
    """At most `threads` daemon threads at work, not counting those that stepped aside.

    To be made on the event loop. No thread is started before the first job. Each has one context
    (of `contextvars`) for its life, which is empty at first. `post` and `step_aside` may be called
    from any thread, the other public methods on the event loop.

    at_thread_end: called in each thread after its last job.
    """

    def __init__(self, threads: int, *, at_thread_end: Callable[[], object] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.bridge = Bridge()
        self._threads = threads
        self._at_thread_end = at_thread_end
        # Guards everything up to the next blank line; held for moments only.
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._idle: list[threading.Lock] = []  # what sleeping threads wait for, the last one last
        self._alive: set[threading.Thread] = set()
        self._awake = 0  # threads awake and not aside: they take the next jobs
        self._begun: dict[Job, float] = {}  # when (monotonic) each job of theirs was begun
        self._aside = 0  # threads at work besides them
        self._begun_since_check = 0
        self._use = InterpreterUse()
        self._stopping = False
        self.abandoned = 0

        self.has_gil = self._use.has_gil
        self._started = 0  # for the threads' names
        self._timer: asyncio.TimerHandle | None = None
        self._timer_is_short = False
        self._ending: list[threading.Thread] = []
        self._stopped = asyncio.Event()
        self._reports = LoopCalls()

    # ---- On the loop ----

    @property
    def busy(self) -> int:
        """Threads at work, including those that stepped aside."""
        return self._awake + self._aside

    @property
    def pending(self) -> int:
        """Jobs that wait for a thread."""
        return len(self._jobs)

    def submit(self, job: Job) -> None:
        """Queue `job`. Raises NoThread when there is no thread for it and none can be started."""
        with self._lock:
            self._jobs.append(job)
            if self._awake < self._use.capacity and not self._wake_for_jobs():
                self._jobs.pop()
                raise NoThread
        if not (self._timer_is_short or self._use.computes_long):
            self._set_timer(is_short=True)

    def sweep(self) -> None:
        """Drop the queued jobs whose result is not surely wanted."""
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
        """Drop the queued jobs. The threads end, those at work after their job."""
        with self._lock:
            self._stopping = True
            self._ending = list(self._alive)
            jobs, self._jobs = self._jobs, deque()
            for gate in self._idle:
                gate.release()
            self._awake += len(self._idle)
            self._idle.clear()
            self._use.reset()
        for job in jobs:
            self._abandon(job)
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_is_short = None, False
            self._reports.wake(self.loop)  # for what threads have left to the timer

    async def wait_stopped(self) -> None:
        """Wait, after stop(), until the threads have ended: at most STOP_TIMEOUT.

        The coroutines that threads wait for are cancelled: those that run now at once, those that
        begin later, perhaps to clean up, at the next CANCEL_INTERVAL. A thread whose job does not
        end is left behind: it is a daemon, so it does not keep the process alive.
        """
        deadline = self.loop.time() + STOP_TIMEOUT
        while self._alive and self.loop.time() < deadline:
            self.bridge.cut()
            try:
                await asyncio.wait_for(self._stopped.wait(), CANCEL_INTERVAL)
            except TimeoutError:
                pass
        if self._alive:
            logger.warning("%d worker threads are still busy: left behind", len(self._alive))
        for thread in self._ending:
            if thread not in self._alive:
                thread.join()  # it has only to return

    def _set_timer(self, *, is_short: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        interval = SHORT_CHECK_INTERVAL if is_short else CHECK_INTERVAL
        self._timer = self.loop.call_later(interval, self._check)
        self._timer_is_short = is_short

    def _check(self) -> None:
        """Wake a thread if those awake make no progress; make the calls that were posted."""
        with self._lock:
            if self.busy:
                self._use.measure(self._begun_since_check)
                self._begun_since_check = 0
                if self._jobs and self._awake < self._limit() and self._is_stuck():
                    self._wake()
                self._set_timer(is_short=bool(self._jobs) and not self._use.computes_long)
            else:
                self._use.reset()
                self._timer, self._timer_is_short = None, False
        self._reports.make()

    def _is_stuck(self) -> bool:
        """Whether no thread that is awake has begun a job lately."""
        if len(self._begun) < self._awake:
            return False  # one is on its way
        latest = time.monotonic() - SHORT_CHECK_INTERVAL
        return all(begun < latest for begun in self._begun.values())

    def _abandon(self, job: Job) -> None:
        with self._lock:
            self.abandoned += 1
        job.drop()

    # ---- In any thread ----

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Call `callback(*args)` on the event loop, soon.

        While jobs wait, the next check makes the calls. Waking the event loop would give it the
        GIL: one switch for each report instead of one for several.
        """
        self._reports.add(callback, *args)
        if not (self._jobs and self._timer_is_short and self.has_gil):
            self._reports.wake(self.loop)

    def step_aside(self, job: Job) -> None:
        """Do not count the thread of a running job any longer: another may be woken."""
        with self._lock:
            if self._begun.pop(job, None) is None:  # pragma: no cover - its stream was just cut off
                return
            self._aside += 1
            self._awake -= 1
            if self._jobs and self._awake < self._limit():
                self._wake()

    # ---- In the threads, and helpers under the lock ----

    def _wake(self) -> bool:
        """Wake the thread that slept last, or start one; False if that fails (under the lock)."""
        if self._idle:
            self._idle.pop().release()
        else:
            thread = threading.Thread(
                # Explicitly empty: on a free-threaded Python a thread inherits its starter's.
                target=contextvars.Context().run,
                args=(self._work,),
                name=f"aiodjango-{self._started}",
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

    def _wake_for_jobs(self) -> bool:
        """Wake a thread if more jobs wait than threads are on their way to one.

        Returns whether any thread is awake (under the lock).
        """
        if self._awake < self._threads and len(self._jobs) > self._awake - len(self._begun):
            self._wake()
        return self._awake > 0

    def _limit(self) -> int:
        """How many threads may take jobs."""
        if not self._use.is_full:
            return self._threads
        earliest = time.monotonic() - LONG_JOB
        long_jobs = sum(begun < earliest for begun in self._begun.values())
        return min(self._threads, self._use.capacity + long_jobs)

    def _work(self) -> None:
        gate = threading.Lock()
        gate.acquire()
        job: Job | None = None
        with self._lock:
            self._use.add_thread()
        while True:
            with self._lock:
                if job is not None and self._begun.pop(job, None) is None:
                    self._aside -= 1
                    self._awake += 1
                if self._jobs and self._awake <= self._limit():
                    job = self._jobs.popleft()
                    self._begun[job] = time.monotonic()
                    self._begun_since_check += 1
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
        self._leave()

    def _leave(self) -> None:
        try:
            if self._at_thread_end is not None:
                self._at_thread_end()
        except BaseException:  # an exit, too, must not hide that the thread ends
            logger.exception("The clean-up at the end of a worker thread failed")
        with self._lock:
            self._use.remove_thread()
            self._alive.discard(threading.current_thread())
            last = not self._alive
        if last:
            self.post(self._stopped.set)
