"""How the threads of a process share the Python interpreter: measured, and adjusted.

With a GIL one thread at a time runs Python. The event loop gives the GIL away with each system
call. While another thread computes, the loop waits a switch interval to get it back, several times
for each request: with Python's default of 5 ms all coroutines become slow. A short interval avoids
that, but reduces the rate of requests that take a fraction of a millisecond by a quarter. So the
interval is short only while threads compute for long.

Without a GIL (a free-threaded Python) threads share the cores.
"""

import os
import sys
import threading
import time

# The part of the figures of one measurement that is kept in those of the next.
DECAY = 0.7
# The part of the time (0 to 1) from which the GIL counts as always taken, …
BUSY_GIL = 0.9
# … and the part of the capacity from which cores do. It is lower, as other processes use them too,
# and because locks inside a free-threaded interpreter cost most when threads wait for a core.
BUSY_CORES = 0.6
# The computing time (seconds) from which a job is a long one.
LONG_COMPUTATION = 0.001
# The switch interval (seconds) while threads compute for long.
SHORT_SWITCH_INTERVAL = 0.0005


def has_gil() -> bool:
    """Whether only one thread at a time can run Python."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def _core_count() -> int:
    """How many cores this process may use."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    return os.cpu_count() or 1  # pragma: no cover


class InterpreterUse:
    """How much of the interpreter a group of threads uses, measured by the event loop's thread.

    capacity: how many of the threads can compute at a time. With a GIL this is 1, otherwise the
        cores of this process less what the event loop uses.
    computes_long: whether jobs compute for long.
    is_full: whether another thread would only take time from those that compute.

    Not thread-safe: the owner's lock guards it. Where the system has no clocks of the processor
    time of threads (macOS, Windows), all threads seem to wait.
    """

    def __init__(self) -> None:
        self.has_gil = has_gil()
        self._cores = 1 if self.has_gil else _core_count()
        self._clocks: dict[int, float] = {}  # of the threads: clock, and its last reading
        self._measured = 0.0  # when (monotonic)
        self.reset()

    # ---- In the threads ----

    def add_thread(self) -> None:
        """Measure the current thread as well."""
        if hasattr(time, "pthread_getcpuclockid"):  # pragma: no branch - not macOS, Windows
            clock = time.pthread_getcpuclockid(threading.get_ident())
            self._clocks[clock] = time.clock_gettime(clock)

    def remove_thread(self) -> None:
        """Stop measuring the current thread, which is about to end."""
        if hasattr(time, "pthread_getcpuclockid"):  # pragma: no branch - not macOS, Windows
            del self._clocks[time.pthread_getcpuclockid(threading.get_ident())]

    # ---- In the event loop's thread ----

    def reset(self) -> None:
        """Forget what was measured."""
        self._last_loop_time: float | None = None  # processor time of the event loop
        # Seconds in the last few measurements.
        self._elapsed = self._used = self._used_by_loop = 0.0
        self._jobs = 0.0
        self.computes_long = False
        self.is_full = False
        self.capacity = self._cores
        _switch_interval.restore(self)

    def measure(self, jobs: int) -> None:
        """Update the figures.

        jobs: how many the threads have begun since the last measurement.
        """
        now = time.monotonic()
        elapsed, self._measured = now - self._measured, now
        if self.has_gil and jobs * LONG_COMPUTATION > elapsed:
            # So many jobs cannot be long ones. Reading the clocks takes a system call for each.
            self.reset()
            return
        used, used_by_loop = self._read_clocks(), time.thread_time()
        if self._last_loop_time is not None:
            self._add(elapsed, used, used_by_loop - self._last_loop_time, jobs)
            self._conclude()
        self._last_loop_time = used_by_loop

    def _add(self, elapsed: float, used: float, used_by_loop: float, jobs: int) -> None:
        self._elapsed = self._elapsed * DECAY + elapsed
        self._used = self._used * DECAY + used
        self._used_by_loop = self._used_by_loop * DECAY + used_by_loop
        self._jobs = self._jobs * DECAY + jobs

    def _conclude(self) -> None:
        used_by_loop = self._used_by_loop / self._elapsed
        # Of jobs that were begun before, at least one goes on.
        self.computes_long = self._used > LONG_COMPUTATION * max(self._jobs, 1.0)
        if not self.has_gil:
            self.capacity = max(1, round(self._cores - used_by_loop))
            self.is_full = self._used > self._elapsed * BUSY_CORES * self.capacity
            return
        is_taken = self._used / self._elapsed + used_by_loop > BUSY_GIL
        self.is_full = is_taken and self.computes_long and not self._run_without_gil()
        if self.computes_long:
            _switch_interval.shorten(self)
        else:
            _switch_interval.restore(self)

    def _read_clocks(self) -> float:
        """Return how long the threads have computed since the last reading."""
        used = 0.0
        for clock, before in self._clocks.items():
            self._clocks[clock] = reading = time.clock_gettime(clock)
            used += reading - before
        return used

    def _run_without_gil(self) -> bool:
        """Whether threads compute now, while this one holds the GIL: in C code that released it."""
        begun = time.monotonic()
        used = self._read_clocks()
        self._used += used
        return used > (time.monotonic() - begun) / 2


class _SwitchInterval:
    """The interval after which a thread that computes has to give the GIL to another.

    It belongs to the process, which may have several users.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: set[object] = set()
        self._usual = 0.0

    def shorten(self, user: object) -> None:
        """Let threads switch often, until all users that asked for it have called restore()."""
        if user in self._users:
            return
        with self._lock:
            if not self._users:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(SHORT_SWITCH_INTERVAL, self._usual))
            self._users.add(user)

    def restore(self, user: object) -> None:
        """Withdraw what this user asked for, if anything."""
        if user not in self._users:
            return
        with self._lock:
            self._users.remove(user)
            if not self._users:
                sys.setswitchinterval(self._usual)


_switch_interval = _SwitchInterval()
