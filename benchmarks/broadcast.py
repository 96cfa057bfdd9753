"""Messages to open pages, beside others: python -m benchmarks.broadcast

Starts a Redis (and a PostgreSQL) of its own. Servers share one core; the clients, the brokers and
the servers that only publish have the other. A ratio says how many times better aiodjango is, in
any column: above 1 is won. Ends with 1 when a goal was missed.
"""

import argparse
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.broadcast_peers import (
    BACKENDS,
    LIMIT,
    OURS_POSTGRES,
    OURS_STREAM,
    OURS_UVLOOP,
    PEERS,
    STREAMS,
    page,
    running,
    setting_of,
)
from benchmarks.gateway import names_of
from benchmarks.harness import (
    CLIENT_CORE,
    SERVER_CORE,
    Server,
    check_cores,
    end_properly,
    take_turns,
)
from benchmarks.measures import CPU, KIB, MESSAGES, P50, P99, Column, Figures, Sockets, open_sockets
from benchmarks.peers import OURS, Setting
from benchmarks.rows import Goal, Limit
from benchmarks.table import Result, block
from tests.support.postgres import missing_part, running_cluster
from tests.system.example.hosts import running_redis

ROUNDS, QUICK_ROUNDS = 7, 2
RATE = 1_000  # messages a second across two processes
RECEIVERS = 10
# Messages, fewer than a process of ours keeps for its broker; and how often in a turn.
BURST, BURSTS = 500, 4
SAMPLE = 5_000  # connections whose memory is measured
SPARE = 200  # open files that are no connections

LAST = Column("last ms", False, 1)  # from publishing to the last receiver
LOST = Column("lost %", False, 1, floor=1)
CALL = Column("call us", False, 0)  # of the view that publishes
OVER = Column("KiB more", False, 2)  # for each subscriber, than a WebSocket that hears nothing
BELL = Column("with own", False, 2)  # the same with a second channel, of its own
EACH = Column("KiB each", False, 1)

WEB_SOCKETS = [name for name in PEERS if name not in STREAMS and BACKENDS.get(name) != "postgres"]
CHANNELS = [name for name in WEB_SOCKETS if PEERS[name].kind == "channels"]
# With daphne it takes minutes until so many are open.
MANY = [name for name in WEB_SOCKETS if not name.endswith("daphne")]
REMOTE = [name for name in PEERS if PEERS[name].kind != "aiohttp"]


@dataclass(frozen=True)
class Listening:
    """A peer's server, and the processes with the connections that it has open.

    publisher: another server of the same kind, where the row is about two.
    """

    name: str
    server: Server
    sockets: Sockets
    publisher: Server | None


@dataclass(frozen=True)
class Row:
    """measure: takes one turn, from what listens and its seconds; None for the memory.

    number: connections of each peer. is_remote: whether another process publishes.
    """

    title: str
    columns: tuple[Column, ...]
    measure: Callable[[Listening, int], Figures] | None
    peers: list[str]
    number: int
    is_remote: bool = False
    goals: tuple[Goal | Limit, ...] = ()


def fan_out(listening: Listening, seconds: int) -> Figures:
    """One event after another, each published when all have heard the one before."""
    begun = listening.server.cpu_time()
    report = listening.sockets.ask(f"fanout {seconds}")
    cpu = listening.server.cpu_time() - begun
    return {
        MESSAGES.title: report["rate"],
        CPU.title: cpu / report["messages"] * 1e6,
        LAST.title: report["last"],
    }


def other(listening: Listening) -> Server:
    if listening.publisher is None:
        raise RuntimeError("There is no server that publishes")
    return listening.publisher


def latency(listening: Listening, seconds: int) -> Figures:
    """From the publication in one process to the last receiver at another."""
    publisher = other(listening)
    listening.sockets.ask("collect")
    number = RATE * seconds
    begun = listening.server.cpu_time() + publisher.cpu_time()
    taken = float(publisher.ask(f"/paced/{RATE}/{number}/"))
    report = listening.sockets.ask(f"report {number}")
    cpu = listening.server.cpu_time() + publisher.cpu_time() - begun
    return {
        P99.title: report["p99"],
        P50.title: report["p50"],
        CPU.title: cpu / number * 1e6,
        MESSAGES.title: number / taken,
        LOST.title: report["lost"] * 100,
    }


def from_sync_code(listening: Listening, seconds: int) -> Figures:
    """Bursts out of a sync view, each until the other process has heard all of it."""
    publisher = other(listening)
    begun = publisher.cpu_time()
    called, heard, lost = 0.0, 0.0, 0.0
    for _ in range(BURSTS):
        listening.sockets.ask("collect")
        called += float(publisher.ask(f"/burst/{BURST}/"))
        report = listening.sockets.ask(f"report {BURST}")
        heard += report["took"]
        lost += report["lost"] / BURSTS
    number = BURST * BURSTS
    return {
        MESSAGES.title: number * (1 - lost) / heard,
        CALL.title: called / number * 1e6,
        CPU.title: (publisher.cpu_time() - begun) / number * 1e6,
        LOST.title: lost * 100,
    }


def memory(name: str, setting: Setting, number: int) -> Figures:
    """Resident memory of idle connections, each kind of them in a server started for it."""
    grown = []
    for path in ("/bare/{}/", page(name), "/bell/{}/"):
        with running(name, setting, SERVER_CORE) as server:
            with open_sockets(server, path, 100, by="listeners"):
                pass  # What the first ones load is not theirs.
            begun = server.memory()
            with open_sockets(server, path, number, by="listeners"):
                grown.append((server.memory() - begun) / KIB / number)
    bare, heard, bell = grown
    return {OVER.title: heard - bare, BELL.title: bell - bare, EACH.title: heard}


FAN_OUT_GOALS = (*(Goal(name, 5.0, MESSAGES) for name in CHANNELS), Goal(LIMIT, 0.8, MESSAGES))
FAN_OUT = (MESSAGES, CPU, LAST)
ROWS = {
    "fanout": Row(
        "one event to 1,000 WebSockets", FAN_OUT, fan_out, WEB_SOCKETS, 1_000, goals=FAN_OUT_GOALS
    ),
    "fanout-10000": Row(
        "one event to 10,000 WebSockets", FAN_OUT, fan_out, MANY, 10_000, goals=FAN_OUT_GOALS
    ),
    "streams": Row(
        "one event to 1,000 event streams",
        FAN_OUT,
        fan_out,
        [OURS, OURS_STREAM, "eventstream"],
        1_000,
    ),
    "latency": Row(
        f"{RATE:,} events a second from one process to {RECEIVERS} pages of another",
        (P99, P50, CPU, MESSAGES, LOST),
        latency,
        REMOTE,
        RECEIVERS,
        is_remote=True,
        goals=(Limit(10.0, P99),),
    ),
    "sync": Row(
        f"{BURST} events from a sync view to a page of another process",
        (MESSAGES, CALL, CPU, LOST),
        from_sync_code,
        REMOTE,
        1,
        is_remote=True,
    ),
    "memory": Row(
        f"{SAMPLE:,} idle WebSockets, memory of a subscription",
        (OVER, BELL, EACH),
        None,
        [OURS, OURS_UVLOOP, *CHANNELS],
        SAMPLE,
        goals=(Limit(2.0, OVER), Limit(2.0, BELL)),
    ),
}


class PeerFailed(Exception):
    """A peer that did not start, or lost what it should have delivered."""

    def __init__(self, name: str, reason: object) -> None:
        super().__init__(f"{PEERS[name].title} failed: {reason}")
        self.name = name


@contextmanager
def listening_at(name: str, setting: Setting, row: Row) -> Iterator[Listening]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running(name, setting, SERVER_CORE))
            publisher = None
            if row.is_remote:
                publisher = stack.enter_context(running(name, setting, CLIENT_CORE))
            opening = open_sockets(server, page(name), row.number, by="listeners")
            sockets = stack.enter_context(opening)
        except RuntimeError as error:
            raise PeerFailed(name, error) from error
        yield Listening(name, server, sockets, publisher)


def take_turn(
    measure: Callable[[Listening, int], Figures], listening: Listening, seconds: int
) -> Figures:
    try:
        return measure(listening, seconds)
    except (RuntimeError, OSError) as error:
        raise PeerFailed(listening.name, f"{error}\n{listening.server.log()}") from error


def in_turns(
    row: Row, names: Sequence[str], setting: Setting, options: argparse.Namespace
) -> list[list[Figures]]:
    """All servers have their connections open, and take turns."""
    if row.measure is None:
        return [[memory(name, setting, row.number) for name in names]]
    with ExitStack() as stack:
        turns = []
        for name in names:
            listening = stack.enter_context(listening_at(name, setting, row))
            turns.append(partial(take_turn, row.measure, listening, options.seconds))
        take_turns(turns, 1)  # to warm up
        return take_turns(turns, options.rounds)


def measure(row: Row, setting: Setting, options: argparse.Namespace) -> Result | None:
    """Measure a row and print it. When a peer fails, begin again without it."""
    reasons = {name: why_absent(name, setting) for name in row.peers if name in options.peers}
    absent = {name: reason for name, reason in reasons.items() if reason is not None}
    while names := [name for name in reasons if name not in absent]:
        try:
            rounds = in_turns(row, names, setting, options)
        except PeerFailed as failure:
            print(f"{row.title}: {failure}\n", flush=True)
            absent[failure.name] = "failed"
        else:
            taken = [dict(zip(names, figures, strict=True)) for figures in rounds]
            result = Result(row, taken, PEERS)
            print(block(result, absent), flush=True)
            return result
    return None


def why_absent(name: str, setting: Setting) -> str | None:
    if BACKENDS.get(name) == "postgres" and not setting.environ["BROADCAST_POSTGRES"]:
        return missing_part()
    return PEERS[name].missing_part()


@contextmanager
def prepared(rows: list[str]) -> Iterator[Setting]:
    """Start the brokers that these rows need, on the clients' core."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("This benchmark needs redis-server.")
    cores = os.sched_getaffinity(0)
    with ExitStack() as stack:
        os.sched_setaffinity(0, [CLIENT_CORE])  # which they inherit
        redis = stack.enter_context(running_redis(program)).url.removeprefix("unix://")
        postgres = ""
        if missing_part() is None and any(OURS_POSTGRES in ROWS[name].peers for name in rows):
            postgres = str(stack.enter_context(running_cluster()).folder)
        os.sched_setaffinity(0, cores)
        yield setting_of(redis, postgres)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=names_of(ROWS), help=f"of: {','.join(ROWS)}")
    parser.add_argument(
        "--peers", type=names_of(PEERS), default=list(PEERS), help=f"of: {','.join(PEERS)}"
    )
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, quick {QUICK_ROUNDS}")
    parser.add_argument("--seconds", type=int, default=1, help="of each turn; default 1")
    options = parser.parse_args(arguments)
    options.rows = options.rows or list(ROWS)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    return options


def limited(row: Row, files: int) -> Row:
    """The row with fewer connections where the system allows fewer open files."""
    most = files - SPARE
    if row.number <= most:
        return row
    print(f"{row.title}: only {most:,}, as {files:,} files may be open")
    return replace(row, number=most)


def run(options: argparse.Namespace) -> bool:
    """Measure and print the rows; returns whether all goals were reached."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with prepared(options.rows) as setting:
        results = [measure(limited(ROWS[name], hard), setting, options) for name in options.rows]
    measured = [result for result in results if result is not None]
    reached = all(reached for result in measured for _, reached in result.verdicts())
    return reached and len(measured) == len(results)


def main() -> int:
    options = parse_arguments()
    check_cores()
    end_properly()
    return 0 if run(options) else 1


if __name__ == "__main__":
    sys.exit(main())
