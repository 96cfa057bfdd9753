"""What lifting and falling through cost, against aiohttp alone: python -m benchmarks.routing

Prints one row a comparison: the median throughputs, the median ratio and its range, the ratio by
the server's processor time, and the goal for the first. Ends with 1 when a goal was missed.
"""

import argparse
import subprocess
import sys
from collections.abc import Collection
from functools import partial

from benchmarks.harness import SERVER_CORE, check_machine, on_core, running_module
from benchmarks.pairs import HEADER, TITLE, Comparison, Side, compare
from benchmarks.servers import FEW, MANY

BUILD_SECONDS = 2.0
ROUNDS, SECONDS = 9, 2
QUICK = "lifted", "setup", "unmatched"  # groups that say most in the least time

COMPARISONS = {
    "lifted": [
        Comparison(
            f"coroutine view / bare aiohttp handler: {path}",
            Side("lifted", path),
            Side("bare", path),
            0.95,
        )
        for path in ("/hello/", "/items/5/")
    ],
    "mounted": [
        Comparison(
            "the same, both in an application mounted under /site/",
            Side("lifted-mounted", "/site/hello/"),
            Side("bare-mounted", "/site/hello/"),
            None,
        )
    ],
    "setup": [
        Comparison(title, Side("host-with-setup", path), Side("host", path), 0.97)
        for title, path in [
            ("setup() on an application with middlewares: coroutine view", "/hello/"),
            ("setup() on an application with middlewares: its own route", "/own/"),
        ]
    ],
    "many": [
        Comparison(
            f"{MANY:,} patterns / {FEW}, {kind}: {what}",
            Side(f"{kind}-many", path.format(MANY - 1)),
            Side(f"{kind}-few", path.format(FEW - 1)),
            0.83,
        )
        for kind, what, path in [
            ("distinct", "lifted, the last one", "/dyn{}/5/"),
            ("distinct", "falls through, under a prefix", "/dyn{}/x/"),
            ("distinct", "falls through, elsewhere", "/nowhere/"),
            ("shared", "lifted, the last one", "/acme/5/act{}/"),
            ("shared", "falls through, under the prefix", "/acme/5/none/"),
            ("shared", "falls through, elsewhere", "/nowhere/"),
        ]
    ],
    "unmatched": [
        Comparison(
            "unmatched path: fallback_middleware() / catch-all route",
            Side("middleware", "/nowhere/"),
            Side("catch-all", "/nowhere/"),
            0.95,
        ),
        Comparison(
            "unmatched path: get_aio_application() / catch-all route",
            Side("lifted", "/nowhere/"),
            Side("catch-all", "/nowhere/"),
            0.95,
        ),
    ],
}


def build_seconds(kind: str) -> tuple[float, float]:
    """From a URLconf of many patterns to the first answer, in a fresh process.

    Returns seconds by the clock and of processor time.
    """
    command = on_core(SERVER_CORE, [sys.executable, "-m", "benchmarks.servers", kind])
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    taken, cpu = map(float, output.split())
    return taken, cpu


def run(groups: Collection[str], rounds: int, seconds: int) -> bool:
    """Measure and print these groups of comparisons; returns whether all goals were reached."""
    reached = True
    running = partial(running_module, "benchmarks.servers")
    print(HEADER, flush=True)
    for group in groups:
        for comparison in COMPARISONS[group]:
            result = compare(comparison, running, rounds, seconds)
            print(result, flush=True)
            reached &= result.reached
        if group == "many":
            for kind in "distinct", "shared":
                taken, cpu = build_seconds(kind)
                title = f"{MANY:,} patterns, {kind}: from URLconf to first answer"
                print(
                    f"{title:<{TITLE}} {taken:7.2f} s, cpu {cpu:.2f} s   goal {BUILD_SECONDS:g} s"
                )
                reached &= taken < BUILD_SECONDS
    return reached


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("groups", nargs="*", metavar="group", help=f"of: {', '.join(COMPARISONS)}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds a comparison")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="seconds a turn")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(COMPARISONS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    check_machine()
    groups = [group for group in COMPARISONS if group in options.groups or not options.groups]
    return 0 if run(groups, options.rounds, options.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
