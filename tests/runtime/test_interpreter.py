"""How much of the interpreter threads use: measured by another thread."""

import hashlib
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from aiodjango.runtime import interpreter
from aiodjango.runtime.interpreter import InterpreterUse, has_gil
from tests.support.waiting import DEADLINE

has_clocks = pytest.mark.skipif(
    not hasattr(time, "pthread_getcpuclockid"), reason="no clocks of threads here"
)
# Time passes only while this process computes: as if nothing else used the cores.
ALONE = SimpleNamespace(**{**vars(time), "monotonic": time.process_time})
with_gil = pytest.mark.skipif(not has_gil(), reason="one thread does not use all cores")


def wait(end):
    end.wait()


def compute_on(end):
    compute()


def compute(seconds=0.01):
    """Use the GIL, whenever it is free, for some processor time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(200))


def compute_without_gil(end):
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 20_000)


class Measured:
    """A thread that does one thing again and again, measured."""

    def __init__(self, use, work):
        self._use = use
        self._work = work
        self._begun, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._begun.wait()

    def _run(self):
        self._use.add_thread()
        self._begun.set()
        while not self._end.is_set():
            self._work(self._end)
        self._use.remove_thread()

    def stop(self):
        self._end.set()
        self._thread.join()


@pytest.fixture
def used_by():
    """The use of the interpreter by threads that do something."""
    use = InterpreterUse()
    threads = []

    def start(work):
        threads.append(Measured(use, work))
        return use

    yield start
    for thread in threads:
        thread.stop()
    use.reset()


def measurements(use, jobs=0):
    """Measure again and again, until a deadline."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        time.sleep(0.001)
        use.measure(jobs)
        yield use


def few(iterator, number=50):
    return [next(iterator) for _ in range(number)]


@with_gil
@has_clocks
def test_a_thread_that_computes(used_by, monkeypatch):
    monkeypatch.setattr(interpreter, "time", ALONE)
    use = used_by(compute_on)
    assert any(each.computes_long and each.is_full for each in measurements(use))


def test_a_thread_that_waits(used_by):
    for use in few(measurements(used_by(wait))):
        assert not use.computes_long
        assert not use.is_full


@has_clocks
def test_a_thread_that_computes_without_the_gil(used_by):
    """A password hash: other threads are not in its way."""
    use = used_by(compute_without_gil)
    assert any(each.computes_long and not each.is_full for each in measurements(use))


@with_gil
def test_many_jobs_are_short_ones(used_by):
    for use in few(measurements(used_by(compute_on), jobs=1_000_000)):
        assert not use.computes_long
        assert not use.is_full


@with_gil
@has_clocks
def test_it_begins_anew(used_by, monkeypatch):
    monkeypatch.setattr(interpreter, "time", ALONE)
    use = used_by(compute_on)
    assert any(each.is_full for each in measurements(use))
    use.reset()
    assert not use.computes_long
    assert not use.is_full


@has_clocks
def test_a_thread_that_ends_takes_nothing_from_the_figures(used_by):
    """What it has computed in its life is not subtracted from what the others do."""
    use = used_by(compute_on)
    other = Measured(use, compute_on)
    assert any(compute(0.5) or each.computes_long for each in measurements(use))
    other.stop()
    assert all(each.computes_long for each in few(measurements(use)))


@with_gil
@has_clocks
def test_the_switch_interval_is_short_while_one_of_several_computes_long(used_by):
    usual = sys.getswitchinterval()
    use, other_use = used_by(compute_on), InterpreterUse()
    other = Measured(other_use, compute_on)
    try:
        for each in (use, other_use):
            assert any(each.computes_long for each in measurements(each))
        assert sys.getswitchinterval() < usual
        use.reset()
        assert sys.getswitchinterval() < usual
        other_use.reset()
        assert sys.getswitchinterval() == usual
        other_use.reset()
    finally:
        other.stop()


# --- Without a GIL: the rules, tried with one as well ---


@pytest.fixture
def without_gil(monkeypatch):
    """Have the rules without a GIL applied on a number of cores."""

    def apply(cores):
        monkeypatch.setattr(interpreter, "has_gil", lambda: False)
        monkeypatch.setattr(interpreter, "_core_count", lambda: cores)

    return apply


@has_clocks
def test_the_capacity_is_what_the_event_loop_leaves_of_the_cores(without_gil, monkeypatch):
    without_gil(2)
    use = InterpreterUse()
    thread = Measured(use, wait)
    try:
        assert use.capacity == 2
        # This thread computes, as the loop's does at times, and then it does not.
        monkeypatch.setattr(interpreter, "time", ALONE)
        assert any(compute() or each.capacity == 1 for each in measurements(use))
        monkeypatch.setattr(interpreter, "time", time)
        assert any(each.capacity == 2 for each in measurements(use))
        assert not use.is_full
    finally:
        thread.stop()


@has_clocks
def test_short_jobs_fill_cores_too(without_gil, monkeypatch):
    monkeypatch.setattr(interpreter, "time", ALONE)
    without_gil(1)
    use = InterpreterUse()
    thread = Measured(use, compute_on)
    try:
        usual = sys.getswitchinterval()
        assert any(each.is_full for each in measurements(use, jobs=1_000_000))
        assert not use.computes_long
        assert sys.getswitchinterval() == usual
    finally:
        thread.stop()
