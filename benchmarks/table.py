"""What was measured, as ratios, and how it is printed."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.measures import Column, Figures
from benchmarks.peers import OURS, PEERS, Peer
from benchmarks.rows import Limit, Titled

EVEN = 0.05  # A ratio as near to 1 as this is neither won nor lost.
WIDTH = 26  # characters of a peer's title


@dataclass(frozen=True)
class Result:
    """The rounds of a row: each has the figures of every peer that took part.

    known: all peers that there are, by name.
    """

    row: Titled
    rounds: Sequence[Mapping[str, Figures]]
    known: Mapping[str, Peer] = field(default_factory=lambda: PEERS)

    def title(self, peer: str) -> str:
        return self.known[peer].title

    @property
    def peers(self) -> list[str]:
        return list(self.rounds[0])

    def median(self, peer: str, column: Column) -> float:
        return statistics.median(figures[peer][column.title] for figures in self.rounds)

    def ratios(self, peer: str, column: Column) -> list[float]:
        """How many times better ours was, round by round: above 1 is won in every column."""
        pairs = [
            [max(figures[name][column.title], column.floor) for name in (OURS, peer)]
            for figures in self.rounds
        ]
        if column.more_is_better:
            return [ours / theirs for ours, theirs in pairs]
        return [theirs / ours for ours, theirs in pairs]

    def ratio(self, peer: str, column: Column) -> float:
        return statistics.median(self.ratios(peer, column))

    def verdicts(self) -> list[tuple[str, bool]]:
        """The row's goals that could be measured, each in words, and whether it was reached."""
        verdicts: list[tuple[str, bool]] = []
        if OURS not in self.peers:
            return verdicts
        for goal in self.row.goals:
            column = goal.column
            if isinstance(goal, Limit):
                value = self.median(OURS, column)
                text = f"{column.title} at most {goal.most:g}: {value:.{column.decimals}f}"
                verdicts.append(judged(text, value <= goal.most))
            elif goal.peer in self.peers:
                ratio = self.ratio(goal.peer, column)
                title = self.title(goal.peer)
                text = f"{column.title}, {goal.ratio:g} times as good as {title}: {ratio:.2f}"
                verdicts.append(judged(text, ratio >= goal.ratio))
        return verdicts


def judged(goal: str, reached: bool) -> tuple[str, bool]:
    return f"{goal}, {'reached' if reached else 'MISSED'}", reached


def outcome(ratio: float) -> str:
    if ratio > 1 + EVEN:
        return "won"
    return "even" if ratio >= 1 - EVEN else "lost"


def times(ratio: float) -> str:
    """In four or five characters."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def block(result: Result, absent: Mapping[str, str]) -> str:
    """One row in full: a line for each peer, with its figures, and how they compare with ours.

    absent: why a peer is not in it.
    """
    first, *others = result.row.columns
    heads = [f"{column.title:>9}" for column in result.row.columns]
    heads += ["   ratio   range    ", *(f"{column.title.split()[0]:>8}" for column in others)]
    lines = [f"{result.row.title}", f"{'':<{WIDTH}}" + "".join(heads)]
    for peer in result.peers:
        line = f"  {result.title(peer):<{WIDTH - 2}}"
        for column in result.row.columns:
            line += f"{result.median(peer, column):>9,.{column.decimals}f}"
        if peer != OURS and OURS in result.peers:
            ratios = result.ratios(peer, first)
            ratio = statistics.median(ratios)
            span = f"{times(min(ratios))}-{times(max(ratios))}"
            line += f"   {times(ratio):>5}   {span:<9}"
            line += "".join(f"{times(result.ratio(peer, column)):>8}" for column in others)
            line += f"   {outcome(ratio)}"
        lines.append(line)
    for why in dict.fromkeys(absent.values()):
        titles = [result.title(peer) for peer in absent if absent[peer] == why]
        lines.append(f"  -  {', '.join(titles)}: {why}")
    lines += [f"  goal: {text}" for text, _ in result.verdicts()]
    return "\n".join(lines) + "\n"


def summary(results: Sequence[Result], peers: Sequence[str]) -> str:
    """The rows side by side: how many times better ours is than each peer; and all goals."""
    compared = [peer for peer in peers if peer != OURS]
    width = max(len(result.row.title) for result in results) + 2
    cells = [max(len(peer) + 2, 8) for peer in compared]
    pairs = list(zip(compared, cells, strict=True))
    lines = [f"{'':<{width}}" + "".join(f"{peer:>{cell}}" for peer, cell in pairs)]
    for result in results:
        column = result.row.columns[0]
        line = f"{result.row.title:<{width}}"
        outcomes = {}
        for peer, cell in pairs:
            if peer in result.peers:
                ratio = result.ratio(peer, column)
                outcomes[peer] = outcome(ratio)
                line += f"{times(ratio):>{cell}}"
            else:
                line += f"{'-':>{cell}}"
        lines.append(f"{line}   {in_words(outcomes)}".rstrip())
    lines.append("")
    for result in results:
        lines += [f"{result.row.title}: {text}" for text, _ in result.verdicts()]
    return "\n".join(lines)


def in_words(outcomes: Mapping[str, str]) -> str:
    """Whether a row is won, from the outcome with each peer."""
    if lost := [peer for peer, word in outcomes.items() if word == "lost"]:
        return f"lost to {', '.join(lost)}"
    if even := [peer for peer, word in outcomes.items() if word == "even"]:
        return f"even with {', '.join(even)}"
    return "won" if outcomes else ""
