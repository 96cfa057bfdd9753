"""What worker threads do with their time: compute, or wait. Seen from outside."""

import os
import sys
import threading
import time

# What remains of a look's figures at the next one: the last few looks count.
MEMORY = 0.7
# From this part of the time on (0 to 1) the interpreter counts as busy.
FULL = 0.9
# A job that computes for longer (seconds) is a long one.
LONG_COMPUTATION = 0.001


def has_gil() -> bool:
    """Whether one thread at a time runs Python: not so in a free-threaded build."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    return os.cpu_count() or 1  # pragma: no cover


class Load:
    """How busy some threads keep the interpreter, as another thread (the event loop's) sees it.

    places: how many of the threads can compute at a time; 1 with a GIL, without one the cores of
        this process less what the looking thread uses.

    Not safe for threads: the owner's lock guards it. Where the system shows no thread's processor
    time, threads always seem to wait.
    """

    def __init__(self) -> None:
        self.has_gil = has_gil()
        self._cores = 1 if self.has_gil else _cores()
        self._clocks: dict[int, int] = {}
        self._last = 0.0  # when the last look was
        self.forget()

    # --- In the threads --------------------------------------------------------------------

    def enter(self) -> None:
        """Count this thread, until it leaves."""
        if hasattr(time, "pthread_getcpuclockid"):  # pragma: no branch - not macOS, Windows
            ident = threading.get_ident()
            self._clocks[ident] = time.pthread_getcpuclockid(ident)

    def leave(self) -> None:
        """Count this thread no longer."""
        self._clocks.pop(threading.get_ident(), None)

    # --- In the thread that looks ----------------------------------------------------------

    def look(self, jobs: int) -> None:
        """Take in what has happened since the last look, in which `jobs` jobs were begun."""
        now = time.monotonic()
        if self.has_gil and jobs * LONG_COMPUTATION > now - self._last:
            # So many jobs can't be long ones: no need to ask the clocks, which cost a system call.
            self.forget()
        else:
            self._ask_clocks(now, jobs)
        self._last = now

    def forget(self) -> None:
        """Begin anew."""
        self._clocks_then: tuple[float, float] | None = None
        # Seconds of the last few looks: by the clock, of processor time, and that of the threads.
        self._elapsed = self._used = self._used_by_threads = 0.0
        self._jobs = 0.0
        self.computes_long = False
        self.is_full = False
        self.places = self._cores

    def _ask_clocks(self, now: float, jobs: int) -> None:
        own, threads = time.thread_time(), self._read()
        if self._clocks_then is not None:
            own_then, threads_then = self._clocks_then
            used = threads - threads_then
            self._elapsed = self._elapsed * MEMORY + now - self._last
            self._used = self._used * MEMORY + used + own - own_then
            self._used_by_threads = self._used_by_threads * MEMORY + used
            self._jobs = self._jobs * MEMORY + jobs
            # At least so long, if none was begun lately.
            self.computes_long = self._used_by_threads > LONG_COMPUTATION * max(self._jobs, 1.0)
            self.is_full = self._used > self._elapsed * FULL * self._cores
            if self.has_gil:
                self.is_full = self.is_full and not self._is_free(threads)
            else:
                used_here = (self._used - self._used_by_threads) / self._elapsed
                self.places = max(1, round(self._cores - used_here))
        self._clocks_then = own, threads

    def _is_free(self, threads: float) -> bool:
        """Whether threads get on now, while this one holds the GIL: they compute without it."""
        begun = time.monotonic()
        return self._read() - threads > (time.monotonic() - begun) / 2

    def _read(self) -> float:
        return sum(map(time.clock_gettime, self._clocks.values()))
