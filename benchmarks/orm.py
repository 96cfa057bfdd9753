"""What the ORM costs in coroutine views, over PostgreSQL: python -m benchmarks.orm

Starts a PostgreSQL of its own, and compares servers as benchmarks.routing does, in turns. The
servers share one core; wrk and PostgreSQL have the other. Besides the throughput, the 99th
percentile of the latency counts: it must not be above the base's.
"""

import argparse
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from functools import partial

from benchmarks.harness import CLIENT_CORE, Server, check_machine, end_properly, running_module
from benchmarks.pairs import HEADER, Comparison, Side, compare
from tests.support.postgres import missing_part, running_cluster

COMPARISONS = {
    "aget": Comparison(
        "aget: coroutine view / plain aiohttp handler",
        Side("lifted", "/aget/"),
        Side("plain", "/aget/"),
        1.25,
        p99=1.0,
    ),
    "uvicorn": Comparison(
        "aget: coroutine view / Django's async view, uvicorn, psycopg pool",
        Side("lifted", "/aget/"),
        Side("uvicorn-pool", "/aget/"),
        3.5,
        p99=1.0,
    ),
    "slow": Comparison(
        "queries of 20 ms: coroutine view / plain aiohttp handler",
        Side("lifted", "/slow/"),
        Side("plain", "/slow/"),
        7.0,
        p99=1.0,
    ),
    "run": Comparison(
        "run_in_django(get): coroutine view / aget in a plain handler",
        Side("lifted", "/in_django/"),
        Side("plain", "/aget/"),
        1.5,
        p99=1.0,
    ),
    "none": Comparison(
        "no database: coroutine view / plain aiohttp handler",
        Side("lifted", "/nothing/"),
        Side("plain", "/nothing/"),
        0.95,
    ),
}


def running_server(folder: str, name: str) -> AbstractContextManager[Server]:
    return running_module("benchmarks.orm_servers", name, folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("only", nargs="*", help=f"of {', '.join(COMPARISONS)}; default: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=3, help="of each turn")
    options = parser.parse_args()
    if unknown := set(options.only) - set(COMPARISONS):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    check_machine()
    if reason := missing_part():
        sys.exit(f"The benchmark {reason}.")
    print(HEADER, flush=True)
    end_properly()
    # PostgreSQL inherits this; the servers and wrk bind themselves to theirs.
    os.sched_setaffinity(0, [CLIENT_CORE])
    with running_cluster() as cluster:
        folder = str(cluster.folder)
        command = [sys.executable, "-m", "benchmarks.orm_servers", "create", folder]
        subprocess.run(command, check=True)
        reached = True
        for name, comparison in COMPARISONS.items():
            if options.only and name not in options.only:
                continue
            running = partial(running_server, folder)
            result = compare(comparison, running, options.rounds, options.seconds)
            print(result, flush=True)
            reached &= result.reached
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
