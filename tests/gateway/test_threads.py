"""Threads and queue: concurrency, order, overload, clients that leave before their turn."""

import asyncio
import sys
import threading
import time

import pytest

from aiodjango.gateway import Gateway
from tests.support.descriptors import open_descriptors
from tests.support.waiting import DEADLINE, LONGER


class Held:
    """An application whose requests wait until they are let go."""

    def __init__(self):
        self.lock = threading.Lock()
        self.go_on = threading.Event()
        self.paths = []
        self.threads = set()
        self.inside = 0
        self.most_inside = 0

    def runs(self):
        """Whether a thread that served it is still there."""
        return any(thread.ident in self.threads for thread in threading.enumerate())

    def __call__(self, environ, start_response):
        with self.lock:
            self.paths.append(environ["PATH_INFO"])
            self.threads.add(threading.get_ident())
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        self.go_on.wait(LONGER)
        with self.lock:
            self.inside -= 1
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]


@pytest.fixture
def held():
    application = Held()
    yield application
    application.go_on.set()


class TestConcurrency:
    async def test_as_many_as_there_are_threads(self, serve, held, until):
        server = await serve(held, threads=3)
        requests = [asyncio.ensure_future(server.get(f"/{number}")) for number in range(10)]
        await until(lambda: held.inside == 3 and server.gateway.pending == 7)
        assert server.gateway.busy == 3
        held.go_on.set()
        answers = await asyncio.gather(*requests)
        assert {answer.body for answer in answers} == {f"/{n}".encode() for n in range(10)}
        assert held.most_inside == 3
        assert len(held.threads) == 3
        await until(lambda: server.gateway.busy == 0)

    async def test_blocking_views_get_all_threads(self, serve, held, until):
        """Lazy waking must not cost concurrency."""
        server = await serve(held, threads=8)
        requests = [asyncio.ensure_future(server.get(f"/{number}")) for number in range(8)]
        await until(lambda: held.inside == 8)
        held.go_on.set()
        await asyncio.gather(*requests)

    async def test_in_order(self, serve, held, until):
        server = await serve(held, threads=1)
        requests = []
        for number in range(5):
            requests.append(asyncio.ensure_future(server.get(f"/{number}")))
            await until(lambda n=number: len(held.paths) + server.gateway.pending == n + 1)
        held.go_on.set()
        await asyncio.gather(*requests)
        assert held.paths == [f"/{number}" for number in range(5)]

    async def test_threads_are_started_by_requests_alone(self, serve, held):
        before = threading.active_count()
        await serve(held)
        assert threading.active_count() == before

    async def test_one_thread_serves_requests_that_follow_each_other(self, serve, held, until):
        held.go_on.set()
        server = await serve(held, threads=8)
        for _ in range(20):
            await server.get()
            await until(lambda: server.gateway.busy == 0)
        assert len(held.threads) == 1

    async def test_threads_are_daemons(self, serve, held, until):
        server = await serve(held)
        request = asyncio.ensure_future(server.get())
        await until(lambda: held.inside == 1)
        threads = [thread for thread in threading.enumerate() if thread.ident in held.threads]
        assert [thread.daemon for thread in threads] == [True]
        held.go_on.set()
        await request


class TestOverload:
    async def test_requests_beyond_max_pending_are_turned_away(
        self, serve, held, until, gateway_log
    ):
        server = await serve(held, threads=1, max_pending=2)
        requests = [asyncio.ensure_future(server.get("/first"))]
        await until(lambda: held.inside == 1)
        requests += [asyncio.ensure_future(server.get(f"/{number}")) for number in range(2)]
        await until(lambda: server.gateway.pending == 2)
        for _ in range(3):
            answer = await server.get("/shed")
            assert answer.status == 503
            assert answer.header("Retry-After") == "1"
        assert server.gateway.shed == 3
        held.go_on.set()
        assert [answer.status for answer in await asyncio.gather(*requests)] == [200] * 3
        assert (await server.get("/after")).status == 200
        assert held.paths.count("/shed") == 0
        assert gateway_log() == [
            "Overloaded: 2 requests wait, more are refused",
            "No longer overloaded: 3 requests were refused",
        ]

    @pytest.mark.parametrize("memory", [10, 10_000])
    async def test_a_body_that_is_turned_away_is_closed(self, serve, held, until, memory):
        server = await serve(held, threads=1, max_pending=1, body_memory_limit=memory)
        requests = [asyncio.ensure_future(server.get("/first"))]
        await until(lambda: held.inside == 1)
        requests.append(asyncio.ensure_future(server.get("/second")))
        await until(lambda: server.gateway.pending == 1)
        before = open_descriptors()
        assert (await server.post("/", b"x" * 1000)).status == 503
        await until(lambda: open_descriptors() <= before)
        held.go_on.set()
        await asyncio.gather(*requests)

    async def test_requests_for_which_no_thread_can_be_started(self, serve, gateway_log):
        def application(environ, start_response):
            start_response("200 OK", [])
            return []

        server = await serve(application)
        before = threading.stack_size(1 << 46)  # more than there is
        try:
            answer = await server.get()
        finally:
            threading.stack_size(before)
        assert (answer.status, answer.header("Retry-After")) == (503, "1")
        assert gateway_log() == ["Could not start a thread for a request, which is refused"]
        assert (await server.get()).status == 200


class TestAbandoned:
    async def test_a_request_whose_client_left_is_never_run(self, serve, held, until):
        server = await serve(held, threads=1)
        first = asyncio.ensure_future(server.get("/first"))
        await until(lambda: held.inside == 1)
        async with server.client() as client:
            await client.send(b"GET /abandoned HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: server.gateway.pending == 1)
            client.abort()
        await until(lambda: server.connections == 1)
        held.go_on.set()
        await first
        await until(lambda: server.gateway.abandoned == 1)
        assert held.paths == ["/first"]

    async def test_its_body_is_closed(self, serve, held, until):
        server = await serve(held, threads=1, body_memory_limit=10)
        first = asyncio.ensure_future(server.get("/first"))
        await until(lambda: held.inside == 1)
        before = open_descriptors()
        async with server.client() as client:
            await client.send(
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n" + b"x" * 20
            )
            await until(lambda: server.gateway.pending == 1)
            client.abort()
        await until(lambda: server.connections == 1)
        held.go_on.set()
        await first
        await until(lambda: server.gateway.abandoned == 1)
        await until(lambda: open_descriptors() <= before)

    async def test_a_cancelled_request_is_never_run(self, serve, held, until):
        server = await serve(held, threads=1, runner_options={"handler_cancellation": True})
        first = asyncio.ensure_future(server.get("/first"))
        await until(lambda: held.inside == 1)
        async with server.client() as client:
            await client.send(b"GET /cancelled HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: server.gateway.pending == 1)
            client.abort()
        await until(lambda: server.connections == 1)
        held.go_on.set()
        await first
        await until(lambda: server.gateway.abandoned == 1)
        assert held.paths == ["/first"]

    async def test_those_who_left_take_no_place_in_the_queue(self, serve, held, until):
        server = await serve(held, threads=1, max_pending=1)
        first = asyncio.ensure_future(server.get("/first"))
        await until(lambda: held.inside == 1)
        async with server.client() as client:
            await client.send(b"GET /abandoned HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: server.gateway.pending == 1)
            client.abort()
        await until(lambda: server.connections == 1)
        second = asyncio.ensure_future(server.get("/second"))
        await until(lambda: server.gateway.abandoned == 1 and server.gateway.pending == 1)
        held.go_on.set()
        assert (await first).status == (await second).status == 200
        assert held.paths == ["/first", "/second"]
        assert server.gateway.shed == 0


class TestEnd:
    async def test_queued_requests_are_finished(self, serve, held, until):
        server = await serve(held, threads=1)
        requests = [asyncio.ensure_future(server.get(f"/{number}")) for number in range(4)]
        await until(lambda: held.inside == 1 and server.gateway.pending == 3)
        cleanup = asyncio.ensure_future(server.runner.cleanup())
        held.go_on.set()
        assert [answer.status for answer in await asyncio.gather(*requests)] == [200] * 4
        await cleanup

    async def test_a_thread_that_is_stuck_does_not_delay_the_end(
        self, serve, held, until, gateway_log
    ):
        server = await serve(held, runner_options={"shutdown_timeout": 0.1})
        request = asyncio.ensure_future(server.get())
        await until(lambda: held.inside == 1)
        async with asyncio.timeout(DEADLINE):
            await server.runner.cleanup()
        assert gateway_log() == ["1 worker threads are still busy: left behind"]
        held.go_on.set()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await request
        await until(lambda: not held.runs())

    async def test_requests_in_the_queue_of_a_closed_gateway_are_dropped(self, serve, held, until):
        server = await serve(held, threads=1, runner_options={"shutdown_timeout": 0.1})
        requests = [asyncio.ensure_future(server.get(f"/{number}")) for number in range(3)]
        await until(lambda: held.inside == 1 and server.gateway.pending == 2)
        await server.runner.cleanup()
        held.go_on.set()
        results = await asyncio.gather(*requests, return_exceptions=True)
        assert all(isinstance(result, Exception) for result in results), results
        assert len(held.paths) == 1
        assert server.gateway.abandoned == 2
        await until(lambda: not held.runs())

    def test_used_again_on_another_loop(self):
        """A loop closed and opened again, with and without close() between."""
        from aiohttp import ClientSession, web

        threads = []

        def application(environ, start_response):
            threads.append(threading.current_thread())
            start_response("200 OK", [])
            return [b"again"]

        gateway = Gateway(application)

        async def once(close):
            app = web.Application()
            app.router.add_get("/", gateway.handle)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0]
            async with ClientSession() as session, session.get(f"http://{host}:{port}/") as answer:
                assert await answer.read() == b"again"
            await runner.cleanup()
            if close:
                await gateway.close()

        for close in (True, False, False, True):
            asyncio.run(once(close))
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()

    async def test_close_without_a_request(self):
        gateway = Gateway(lambda environ, start_response: [])
        await gateway.shutdown()
        await gateway.close()


async def test_under_load_nothing_is_lost_or_mixed_up(serve):
    """Many connections, many small requests, a body each, in threads that come and go."""

    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        if body.endswith(b"7"):
            time.sleep(0.002)
        start_response("200 OK", [])
        return [body] if body.endswith(b"1") else iter([body[:3], body[3:]])

    server = await serve(application, threads=4)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    async def connection(name):
        async with server.client() as client:
            for number in range(100):
                body = f"{name}-{number}".encode()
                assert (await client.request("POST", "/", body=body)).body == body

    try:
        await asyncio.gather(*(connection(name) for name in range(20)))
    finally:
        sys.setswitchinterval(interval)
    assert server.gateway.pending == 0
