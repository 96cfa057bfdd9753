"""aiodjango beside the servers that people use: python -m benchmarks.gateway

Prints each row in full as soon as it is measured, and all of them side by side in the end. A ratio
says how many times better aiodjango is, in any column: above 1 is won. Ends with 1 when a goal was
missed.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from http.client import HTTPException
from pathlib import Path
from subprocess import SubprocessError

from benchmarks.harness import CLIENT_CORE, Server, check_machine, end_properly, take_turns
from benchmarks.measures import LARGE, MIB, Figures, Work
from benchmarks.peers import OURS, PEERS, Peer, Setting, running
from benchmarks.rows import ON_POSTGRES, ON_REDIS, ROWS, Row
from benchmarks.table import Result, block, summary
from tests.support.postgres import missing_part, running_cluster
from tests.system.example.hosts import running_redis

ROUNDS, QUICK_ROUNDS = 5, 2
FILES = 1, 10, LARGE  # MiB


class Fleet:
    """The peers, each started when it is first needed, and run until the end."""

    def __init__(self, setting: Setting, stack: ExitStack) -> None:
        self._setting = setting
        self._stack = stack
        self._servers: dict[tuple[str, bool, int], Server] = {}

    def server(self, peer: str, row: Row) -> Server:
        key = peer, row.pinned, row.workers
        if key not in self._servers:
            setting = replace(self._setting, workers=row.workers)
            context = running(PEERS[peer], setting, pinned=row.pinned)
            self._servers[key] = self._stack.enter_context(context)
        return self._servers[key]


def why_no_row(name: str) -> str | None:
    """What keeps a row from being measured here, if anything does."""
    if name in ON_POSTGRES:
        return missing_part()
    if name in ON_REDIS and shutil.which("redis-server") is None:
        return "needs redis-server"
    if name == "idle":
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        needed = ROWS[name].connections + 200
        if files != resource.RLIM_INFINITY and files < needed:
            return f"needs {needed:,} open files, the limit is {files:,}"
    return None


def why_absent(row: Row, peer: Peer) -> str | None:
    """What keeps a peer out of a row, if anything does."""
    if peer.kind not in row.paths:
        return "not their work"
    if row.workers > 1 and not peer.scales:
        return "one process alone"
    return peer.missing_part()


class PeerFailed(Exception):
    """A peer that did not start, or did not answer properly."""

    def __init__(self, peer: str, reason: Exception) -> None:
        super().__init__(f"{PEERS[peer].title} failed: {reason}")
        self.peer = peer


@contextmanager
def blaming(peer: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError, SubprocessError, HTTPException) as error:
        raise PeerFailed(peer, error) from error


def check_answers(row: Row, servers: Mapping[str, Server]) -> None:
    """Raise PeerFailed for a server that answers otherwise than the first."""
    first = None
    for peer, server in servers.items():
        with blaming(peer):
            answer = server.ask(row.paths[PEERS[peer].kind], row.body, row.content_type)
            first = answer if first is None else first
            if answer != first:
                raise RuntimeError(f"answered {answer[:100]!r} instead of {first[:100]!r}")


def take_turn(row: Row, peer: str, server: Server, work: Work) -> Figures:
    with blaming(peer):
        return row.measure(server, work)


def in_turns(
    row: Row, peers: Sequence[str], fleet: Fleet, setting: Setting, options: argparse.Namespace
) -> Result:
    """Measure all peers in rounds."""
    servers = {}
    for peer in peers:
        with blaming(peer):
            servers[peer] = fleet.server(peer, row)
    if row.checked:
        check_answers(row, servers)
    turns = []
    for peer, server in servers.items():
        work = row.work(PEERS[peer].kind, options.seconds, setting.folder)
        turns.append(partial(take_turn, row, peer, server, work))
    if row.longer == 1 and not options.quick:
        take_turns(turns, 1)  # to warm up
    rounds = -(-options.rounds // row.longer)
    taken = take_turns(turns, rounds)
    return Result(row, [dict(zip(peers, figures, strict=True)) for figures in taken])


def fresh(row: Row, peers: Sequence[str], setting: Setting) -> Result:
    """Measure turns of each peer, each in a server of its own."""
    setting = replace(setting, workers=row.workers)

    def turn(peer: str) -> Figures:
        work = row.work(PEERS[peer].kind, 1, setting.folder)
        with blaming(peer), running(PEERS[peer], setting) as server:
            return row.measure(server, work)

    taken = take_turns([partial(turn, peer) for peer in peers], row.fresh)
    return Result(row, [dict(zip(peers, figures, strict=True)) for figures in taken])


def measure(row: Row, fleet: Fleet, setting: Setting, options: argparse.Namespace) -> Result | None:
    """Measure a row and print it. When a peer fails, begin again without it."""
    reasons = {peer: why_absent(row, PEERS[peer]) for peer in options.peers}
    absent = {peer: reason for peer, reason in reasons.items() if reason is not None}
    while peers := [peer for peer in options.peers if peer not in absent]:
        try:
            if row.fresh:
                result = fresh(row, peers, setting)
            else:
                result = in_turns(row, peers, fleet, setting, options)
        except PeerFailed as failure:
            print(f"{row.title}: {failure}\n", flush=True)
            absent[failure.peer] = "failed"
        else:
            print(block(result, absent), flush=True)
            return result
    return None


@contextmanager
def prepared(rows: Collection[str], loop: str) -> Iterator[Setting]:
    """Make the files, the databases and the cache that these rows need."""
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="aiodjango-bench-"))
        folder = Path(name)
        for size in FILES:
            with open(folder / f"{size}MiB", "wb") as file:
                file.write(b"0123456789abcdef" * (10 * MIB // 16))
                # The rest is a hole: to write so much would keep the disk busy for a while.
                file.truncate(size * MIB)
        environ = {"BENCHMARK_FOLDER": name}
        # PostgreSQL and Redis inherit the core. The servers bind themselves to theirs.
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, [CLIENT_CORE])
        if not ON_POSTGRES.isdisjoint(rows):
            environ["BENCHMARK_POSTGRES"] = str(stack.enter_context(running_cluster()).folder)
        if not ON_REDIS.isdisjoint(rows):
            environ["BENCHMARK_REDIS"] = stack.enter_context(running_redis("redis-server")).url
        os.sched_setaffinity(0, cores)
        subprocess.run(
            [sys.executable, "-m", "benchmarks.project.create"],
            env={**os.environ, **environ},
            check=True,
        )
        yield Setting(folder, environ, loop)


def run(options: argparse.Namespace) -> bool:
    """Measure and print the rows; returns whether all goals were reached."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    reasons = {name: why_no_row(name) for name in options.rows}
    names = [name for name, reason in reasons.items() if reason is None]
    results = []
    with prepared(names, options.loop) as setting, ExitStack() as stack:
        fleet = Fleet(setting, stack)
        for name in names:
            if (result := measure(ROWS[name], fleet, setting, options)) is not None:
                results.append(result)
    for name, reason in reasons.items():
        if reason is not None:
            print(f"{ROWS[name].title}: left out, it {reason}\n")
    if OURS not in options.peers:
        return True
    # Where it isn't in the results it has failed.
    results = [result for result in results if OURS in result.peers]
    if results:
        print(summary(results, options.peers), flush=True)
    return len(results) == len(names) and all(
        reached for result in results for _, reached in result.verdicts()
    )


def names_of(of: Mapping[str, object]) -> Callable[[str], list[str]]:
    """A type of argparse's: some of these names, separated by commas."""

    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(of):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}")
        return [name for name in of if name in chosen]

    return names


def parse_arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=names_of(ROWS), help=f"of: {','.join(ROWS)}")
    parser.add_argument(
        "--peers", type=names_of(PEERS), default=list(PEERS), help=f"of: {','.join(PEERS)}"
    )
    parser.add_argument("--quick", action="store_true", help="few rounds, and fewer rows")
    parser.add_argument(
        "--rounds", type=int, help=f"rounds a row; default {ROUNDS}, quick {QUICK_ROUNDS}"
    )
    parser.add_argument("--seconds", type=int, default=1, help="seconds a turn; default 1")
    parser.add_argument(
        "--loop",
        choices=["asyncio", "uvloop"],
        default="asyncio",
        help="the event loop of what runs on aiohttp; uvicorn always has uvloop",
    )
    options = parser.parse_args()
    options.all_rows = options.rows is None
    if options.rows is None:
        options.rows = [name for name, row in ROWS.items() if row.quick or not options.quick]
    if options.rounds is None:
        options.rounds = QUICK_ROUNDS if options.quick else ROUNDS
    return options


def main() -> int:
    options = parse_arguments(__doc__)
    check_machine()
    end_properly()
    return 0 if run(options) else 1


if __name__ == "__main__":
    sys.exit(main())
