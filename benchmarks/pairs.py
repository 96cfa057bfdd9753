"""Two servers compared: what one reaches of the other's throughput, and the goal for it."""

import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from benchmarks.harness import Load, Server, Turn, take_turns

TITLE = 66  # characters of a row's title
HEADER = (
    f"{'':<{TITLE}} {'req/s':>8} {'base':>8}   ratio   {'range':<11}     cpu     p99   goal\n"
    + "-" * (TITLE + 74)
)

# Starts a server by its name, and ends it.
Running = Callable[[str], AbstractContextManager[Server]]


@dataclass(frozen=True)
class Side:
    """A server by name, and the path to ask it for."""

    server: str
    path: str


@dataclass(frozen=True)
class Comparison:
    """`side` should reach at least `target` times the throughput of `base`.

    target: None where it is measured for information. p99: how many times the base's 99th
    percentile of the latency the side's may be.
    """

    title: str
    side: Side
    base: Side
    target: float | None
    p99: float | None = None


@dataclass(frozen=True)
class Result:
    comparison: Comparison
    rounds: Sequence[tuple[Turn, Turn]]  # side and base

    @property
    def ratios(self) -> list[float]:
        return [side.rate / base.rate for side, base in self.rounds]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def cpu_ratio(self) -> float:
        """The same by processor time: it says more on a machine that has other work as well."""
        return statistics.median(base.cpu / side.cpu for side, base in self.rounds)

    @property
    def p99_ratio(self) -> float:
        return statistics.median(side.p99 / base.p99 for side, base in self.rounds)

    @property
    def reached(self) -> bool:
        comparison = self.comparison
        if comparison.target is not None and self.ratio < comparison.target:
            return False
        return comparison.p99 is None or self.p99_ratio <= comparison.p99

    def __str__(self) -> str:
        side, base = (
            statistics.median(turn.rate for turn in turns)
            for turns in zip(*self.rounds, strict=True)
        )
        goal = ""
        if self.comparison.target is not None:
            goal = f"{self.comparison.target:.2f}   {'reached' if self.reached else 'MISSED'}"
        return (
            f"{self.comparison.title:<{TITLE}} {side:>8,.0f} {base:>8,.0f}   {self.ratio:5.2f}"
            f"   {min(self.ratios):5.2f}-{max(self.ratios):5.2f}   {self.cpu_ratio:5.2f}"
            f"   {self.p99_ratio:5.2f}   {goal}"
        )


def compare(comparison: Comparison, running: Running, rounds: int, seconds: int) -> Result:
    """Measure both sides in turns, `seconds` each a round, after a warm-up as long."""
    side_path, base_path = comparison.side.path, comparison.base.path
    with running(comparison.side.server) as side, running(comparison.base.server) as base:
        if side.ask(side_path) != base.ask(base_path):
            raise RuntimeError(f"{comparison.title}: the two answer differently")
        turns = [
            partial(side.measure, Load(side_path), seconds),
            partial(base.measure, Load(base_path), seconds),
        ]
        take_turns(turns, 1)
        measured = take_turns(turns, rounds)
    return Result(comparison, [(side_turn, base_turn) for side_turn, base_turn in measured])
