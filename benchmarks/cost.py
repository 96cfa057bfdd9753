"""Where the processor time of a request that falls through goes: python -m benchmarks.cost

Servers that do ever more of what is done for a plain GET, from a protocol that answers without
looking to Django behind the gateway, are asked by wrk, in turns; what one costs more than the one
before is the step between them.

All figures are microseconds of processor time. Of many short measurements the least counts, since
whatever else goes on can only add to it; the steps' shares are the medians of the rounds.
"""

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import aiohttp
import django
from aiohttp import web

from aiodjango import get_aio_application
from benchmarks.harness import CONNECTIONS, SERVER_CORE, Load, check_machine
from benchmarks.project import coroutines, entry
from benchmarks.servers import trivial

ROUNDS = 30
# How long (seconds) wrk has with a server; every WINDOW is a measurement, unless the machine was
# busy with something else. It shares the server's core: to wake it on another one would cost a
# server more the longer wrk has to wait for it.
TURN = 1
WINDOW = 0.25
FEWEST = 100  # requests


class Cost(NamedTuple):
    """Microseconds of processor time: of the event loop's thread, and of all the others."""

    loop: float
    threads: float

    @property
    def total(self) -> float:
        return self.loop + self.threads


def least(costs: Iterable[Cost]) -> Cost:
    return min(costs, key=lambda cost: cost.total)


# --- Servers that do ever more ---------------------------------------------------------------


class Blind(asyncio.Protocol):
    """Answers without looking at the question: what asyncio and the sockets cost."""

    answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        Blind.answered += 1
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def alone() -> web.Application:
    """aiohttp alone: the same answer, by a handler that takes every path."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", coroutines.hello)
    return app


# --- Under load ----------------------------------------------------------------------------


class Served(NamedTuple):
    """A server that runs."""

    port: int
    count: Callable[[], int]  # of requests, until now


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[Served]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server = runner.server
        assert server is not None
        yield Served(runner.addresses[0][1], lambda: server.requests_count)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_blindly() -> AsyncIterator[Served]:
    server = await asyncio.get_running_loop().create_server(Blind, "127.0.0.1", 0)
    async with server:
        yield Served(server.sockets[0].getsockname()[1], lambda: Blind.answered)


async def cost_under_load(served: Served) -> Cost:
    """What a request costs while wrk asks."""
    url = f"http://127.0.0.1:{served.port}/"
    command = Load("/", CONNECTIONS, core=SERVER_CORE).command(url, TURN)
    client = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL)
    ended = asyncio.ensure_future(client.wait())
    costs = []
    while not ended.done():
        count, own, all_ = served.count(), time.thread_time(), time.process_time()
        await asyncio.wait([ended], timeout=WINDOW)
        count = served.count() - count
        own, all_ = time.thread_time() - own, time.process_time() - all_
        if count >= FEWEST and not ended.done():
            costs.append(Cost(own / count * 1e6, (all_ - own) / count * 1e6))
    if ended.result() != 0 or not costs:
        raise RuntimeError("wrk has failed, or the machine is too busy")
    return least(costs)


def print_steps(costs: dict[str, list[Cost]]) -> None:
    """Print what each server costs more than the one before, by the medians of the rounds."""
    wholes = list(costs.values())[-1]
    whole = least(wholes).total
    before = [Cost(0.0, 0.0)] * len(wholes)
    together = Cost(0.0, 0.0)
    print(f"{'':<44} {'loop':>6} {'threads':>8} {'both':>6} {'share':>6}")
    for title, found in costs.items():
        # As a machine's speed drifts, what is compared is of one round, and a part of its whole.
        shares = [
            Cost((cost.loop - less.loop) / all_.total, (cost.threads - less.threads) / all_.total)
            for cost, less, all_ in zip(found, before, wholes, strict=True)
        ]
        loop = whole * statistics.median(share.loop for share in shares)
        threads = whole * statistics.median(share.threads for share in shares)
        print_step(title, Cost(loop, threads), whole)
        together = Cost(together.loop + loop, together.threads + threads)
        before = found
    print_step("together", together, whole)


def print_step(title: str, cost: Cost, whole: float) -> None:
    share = cost.total / whole
    print(f"{title:<44} {cost.loop:6.1f} {cost.threads:8.1f} {cost.total:6.1f} {share:6.0%}")


async def measure(rounds: int) -> None:
    application = entry.wsgi()
    print(
        f"Python {platform.python_version()}, Django {django.__version__}, "
        f"aiohttp {aiohttp.__version__}; microseconds of processor time for a plain GET\n"
    )
    async with AsyncExitStack() as stack:
        steps = {
            "asyncio and the socket": serving_blindly(),
            "aiohttp": serving(alone()),
            "the gateway: environ, thread, PEP 3333": serving(get_aio_application(trivial)),
            "Django": serving(get_aio_application(application)),
        }
        servers = {name: await stack.enter_async_context(one) for name, one in steps.items()}
        costs: dict[str, list[Cost]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, served in servers.items():
                costs[name].append(await cost_under_load(served))
    print_steps(costs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    check_machine()
    # The project's settings name a folder; nothing is written for a plain GET.
    os.environ.setdefault("BENCHMARK_FOLDER", tempfile.gettempdir())
    os.sched_setaffinity(0, [SERVER_CORE])
    asyncio.run(measure(options.rounds))


if __name__ == "__main__":
    main()
