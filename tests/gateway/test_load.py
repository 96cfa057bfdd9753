"""Threads that compute for long: coroutines get their turn, and no request is starved."""

import asyncio
import hashlib
import sys
import threading
import time

import pytest

from aiodjango.gateway import load as load_module
from aiodjango.gateway.load import Load, has_gil
from aiodjango.gateway.threads import Workers
from tests.support.waiting import DEADLINE


class Worker:
    """A thread that does one thing again and again, counted in a load."""

    def __init__(self, load, work):
        self.load = load
        self.entered, self.end = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run, args=[work])
        self.thread.start()
        self.entered.wait()

    def run(self, work):
        self.load.enter()
        self.entered.set()
        while not self.end.is_set():
            work(self.end)
        self.load.leave()

    def stop(self):
        self.end.set()
        self.thread.join()


def wait(end):
    end.wait()


def compute_on(end):
    compute()


def compute(seconds=0.01):
    """Hold the GIL, whenever it is to be had, for some processor time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(200))


def compute_without_gil(end):
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 20_000)


@pytest.fixture
def load_of():
    """A load with one thread that does something."""
    workers = []

    def make(work):
        load = Load()
        workers.append(Worker(load, work))
        return load

    yield make
    for worker in workers:
        worker.stop()


def looks(load, jobs=0):
    """What a load says in many looks, until a deadline."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        time.sleep(0.001)
        load.look(jobs)
        yield load


has_clocks = pytest.mark.skipif(
    not hasattr(time, "pthread_getcpuclockid"), reason="no clocks of threads here"
)


with_gil = pytest.mark.skipif(not has_gil(), reason="one thread does not keep all cores busy")


@with_gil
@has_clocks
def test_a_thread_that_computes(load_of):
    load = load_of(compute_on)
    assert any(each.computes_long and each.is_full for each in looks(load))


def test_a_thread_that_waits(load_of):
    load = load_of(wait)
    for number, each in enumerate(looks(load)):
        assert not each.computes_long
        if number == 50:
            break


@has_clocks
def test_a_thread_that_computes_without_the_gil(load_of):
    """A password hash: other threads are not in its way."""
    load = load_of(compute_without_gil)
    assert any(each.computes_long and not each.is_full for each in looks(load))


@with_gil
def test_many_jobs_are_short_ones(load_of):
    load = load_of(compute_on)
    for number, each in enumerate(looks(load, jobs=1_000_000)):
        assert not each.computes_long
        if number == 20:
            break


@has_clocks
def test_it_begins_anew(load_of):
    load = load_of(compute_on)
    next(each for each in looks(load) if each.computes_long)
    load.forget()
    assert not load.computes_long
    assert not load.is_full


# --- Without a GIL: the rules, tried with one as well ---


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(load_module, "has_gil", lambda: False)
    monkeypatch.setattr(load_module, "_cores", lambda: 2)


@has_clocks
def test_places_are_what_the_loop_leaves_of_the_cores(two_cores, load_of):
    load = load_of(wait)
    assert load.places == 2
    # This thread computes, as the loop's does at times, and then it does not.
    assert any(compute() or each.places == 1 for each in looks(load))
    assert any(each.places == 2 for each in looks(load))
    assert not load.is_full


@has_clocks
def test_short_jobs_are_counted_too(two_cores, monkeypatch, load_of):
    monkeypatch.setattr(load_module, "_cores", lambda: 1)
    load = load_of(compute_on)
    assert any(each.is_full for each in looks(load, jobs=1_000_000))
    assert not load.computes_long


class Waiting:
    """A job that waits until it is told to end."""

    def __init__(self):
        self.begun, self.end = threading.Event(), threading.Event()

    def wanted(self):
        return True

    def run(self):
        self.begun.set()
        self.end.wait(DEADLINE)

    def drop(self):
        raise AssertionError("not reached: each is run")


@pytest.mark.parametrize(("threads", "awake"), [(8, 2), (1, 1)])
async def test_a_thread_for_each_core_is_woken_at_once(two_cores, threads, awake):
    workers = Workers(threads)
    jobs = [Waiting() for _ in range(4)]
    try:
        for job in jobs:
            workers.submit(job)
        # The loop had no time to look for threads that are stuck.
        assert workers.busy == awake
        for job in jobs[:awake]:
            await asyncio.to_thread(job.begun.wait, DEADLINE)
    finally:
        for job in jobs:
            job.end.set()
        for job in jobs:
            await asyncio.to_thread(job.begun.wait, DEADLINE)
        workers.stop()
        await workers.wait_stopped()


@with_gil
async def test_with_a_gil_one_is_woken():
    workers = Workers(8)
    jobs = [Waiting() for _ in range(4)]
    for job in jobs:
        workers.submit(job)
    assert workers.busy == 1
    for job in jobs:
        job.end.set()
        await asyncio.to_thread(job.begun.wait, DEADLINE)
    workers.stop()
    await workers.wait_stopped()


class Site:
    """An application whose /long computes until it is told to stop, and whose /short does not."""

    def __init__(self):
        self.enough = threading.Event()

    def __call__(self, environ, start_response):
        while environ["PATH_INFO"] == "/long" and not self.enough.is_set():
            compute()
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]


@has_clocks
@with_gil
async def test_the_loop_gets_the_gil_back_soon_while_requests_compute(serve, until):
    usual = sys.getswitchinterval()
    site, other_site = Site(), Site()
    servers = [await serve(site), await serve(other_site)]
    requests = [asyncio.ensure_future(server.get("/long")) for server in servers]
    await until(lambda: sys.getswitchinterval() < usual)
    site.enough.set()
    await requests[0]
    await until(lambda: servers[0].gateway.busy == 0)
    assert sys.getswitchinterval() < usual  # for the other one
    other_site.enough.set()
    await requests[1]
    await until(lambda: sys.getswitchinterval() == usual)


@has_clocks
@with_gil
async def test_the_usual_interval_is_back_after_the_end(serve, until):
    usual, threads = sys.getswitchinterval(), set(threading.enumerate())
    site = Site()
    server = await serve(site, runner_options={"shutdown_timeout": 0.1})
    request = asyncio.ensure_future(server.get("/long"))
    await until(lambda: sys.getswitchinterval() < usual)
    await server.runner.cleanup()
    assert sys.getswitchinterval() == usual
    site.enough.set()
    await asyncio.gather(request, return_exceptions=True)
    await until(lambda: not set(threading.enumerate()) - threads)


async def test_a_request_that_computes_for_long_keeps_no_other_from_a_thread(serve, until):
    site = Site()
    server = await serve(site, threads=3)
    long = [asyncio.ensure_future(server.get("/long")) for _ in range(2)]
    await until(lambda: server.gateway.busy == 2)
    for _ in range(20):
        assert (await server.get("/short")).body == b"/short"
    site.enough.set()
    await asyncio.gather(*long)


async def test_requests_that_compute_are_all_answered(serve):
    def application(environ, start_response):
        compute(0.004)
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    server = await serve(application)
    paths = [f"/{number}" for number in range(100)]
    answers = await asyncio.gather(*map(server.get, paths))
    assert [answer.body.decode() for answer in answers] == paths
