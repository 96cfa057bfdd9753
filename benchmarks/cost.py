"""Where the processor time of a request that falls through goes: python -m benchmarks.cost

The first table has servers that do ever more of what is done for a plain GET, from a protocol that
answers without looking to Django behind the gateway. All are asked by wrk, in turns; what one costs
more than the one before is the step between them. The second has single parts, run by themselves
again and again over a request that came in through a connection: warm as they are then, they
cost less than within a request.

All figures are microseconds of processor time. Of many short measurements the least counts, since
whatever else goes on can only add to it; for the steps that holds within a round, and their shares
are the medians of the rounds.
"""

import argparse
import asyncio
import contextvars
import os
import platform
import statistics
import tempfile
from contextlib import AsyncExitStack

import aiohttp
import django

from aiodjango import get_aio_application
from benchmarks.cost_parts import Parts
from benchmarks.cost_steps import (
    Cost,
    alone,
    cost_under_load,
    least,
    prepared,
    serving,
    serving_blindly,
    trivial,
)
from benchmarks.harness import SERVER_CORE, check_machine
from benchmarks.project import entry

ROUNDS = 30


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


def print_parts(parts: Parts) -> None:
    print(f"{'by themselves':<44} {'loop':>6} {'threads':>8}")
    for name, cost in parts.loop.items():
        print(f"{name:<44} {cost:6.1f}")
    for name, cost in parts.threads.items():
        print(f"{name:<44} {'':>6} {cost:8.1f}")


async def measure(rounds: int) -> None:
    application = entry.wsgi()
    parts = Parts()
    print(
        f"Python {platform.python_version()}, Django {django.__version__}, "
        f"aiohttp {aiohttp.__version__}; microseconds of processor time for a plain GET\n"
    )
    async with AsyncExitStack() as stack:
        steps = {
            "asyncio and the socket": serving_blindly(),
            "aiohttp": serving(alone()),
            "environ and call": serving(prepared(application)),
            "to a thread and back, checks of PEP 3333": serving(get_aio_application(trivial)),
            "Django": serving(get_aio_application(application)),
        }
        servers = {name: await stack.enter_async_context(one) for name, one in steps.items()}
        costs: dict[str, list[Cost]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, served in servers.items():
                costs[name].append(await cost_under_load(served))
            # In a context of its own: Django keeps things there, and a call copies it.
            await asyncio.create_task(parts.measure(application), context=contextvars.Context())
    print_steps(costs)
    print()
    print_parts(parts)


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
