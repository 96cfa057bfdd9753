"""Threads share the interpreter: coroutines get their turn, and no request is starved."""

import asyncio
import sys
import threading

import pytest

from aiodjango.gateway.threads import Workers
from aiodjango.runtime import interpreter
from tests.runtime.test_interpreter import compute, has_clocks, with_gil
from tests.support.waiting import DEADLINE


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
async def test_without_a_gil_a_thread_for_each_core_is_woken_at_once(monkeypatch, threads, awake):
    monkeypatch.setattr(interpreter, "has_gil", lambda: False)
    monkeypatch.setattr(interpreter, "_core_count", lambda: 2)
    workers = Workers(threads)
    jobs = [Waiting() for _ in range(4)]
    try:
        for job in jobs:
            workers.submit(job)
        # The loop had no time for a check of the threads.
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
