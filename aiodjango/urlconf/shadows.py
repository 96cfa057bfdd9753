"""Which paths lifting takes away from the sync patterns before a lifted one."""

import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice, product
from typing import NamedTuple

from .index import ANYTHING, VALUE, PathIndex, Shape, shapes
from .patterns import UrlconfPattern

# Values that between them satisfy Django's converters and usual regular expressions.
SAMPLES = ("1", "a", "2026", "a-b", "a.b", "00000000-0000-4000-8000-000000000000", "12", "")
# How many paths are tried for two patterns before they count as apart.
MAX_TRIES = 500


class Shadow(NamedTuple):
    """A lifted pattern, a sync one before it, and a path (no leading slash) that both match."""

    lifted: UrlconfPattern
    sync: UrlconfPattern
    path: str


def find_shadows(patterns: Sequence[UrlconfPattern]) -> list[Shadow]:
    """Return the pairs of patterns, given in URLconf order, of which lifting changes the order.

    Each is proved by a path. Patterns that only overlap in paths hard to guess are not found.
    """
    index = PathIndex()
    earlier: list[tuple[UrlconfPattern, Shape]] = []  # the sync patterns so far, in each shape
    found = []
    for pattern in patterns:
        if pattern.is_lifted:
            found += _shadows_of(pattern, index, earlier)
            continue
        for shape in shapes(pattern.chain):
            index.add(shape, len(earlier))
            earlier.append((pattern, shape))
    return found


def _shadows_of(
    lifted: UrlconfPattern, index: PathIndex, earlier: list[tuple[UrlconfPattern, Shape]]
) -> list[Shadow]:
    found: dict[UrlconfPattern, Shadow] = {}
    for shape in shapes(lifted.chain):
        for number in sorted(index.overlapping(shape)):
            sync, sync_shape = earlier[number]
            if sync in found:
                continue
            guesses = chain(_paths(shape, sync_shape), _filled(lifted), _filled(sync))
            for path in islice(guesses, MAX_TRIES):
                if _matches(lifted, path) and _matches(sync, path):
                    found[sync] = Shadow(lifted, sync, path)
                    break
    return list(found.values())


def _matches(pattern: UrlconfPattern, path: str) -> bool:
    return any(pattern.chain.match(path, language) for language in pattern.chain.languages())


def _filled(pattern: UrlconfPattern) -> Iterator[str]:
    """Paths that a regular expression may have, which are not known from its shape."""
    text = pattern.chain.canonical().removeprefix("/")
    for sample in SAMPLES:
        yield re.sub(r"<[^>]*>|\{[^}]*\}", sample, text)


def _paths(one: Sequence[object], other: Sequence[object]) -> Iterator[str]:
    """Paths that both rows of segments may have."""
    choices: list[Sequence[str]] = []
    for position in range(max(len(one), len(other))):
        pair = [
            row[position] if position < len(row) else ANYTHING
            for row in (one, other)
            if position < len(row) or row[-1] is ANYTHING
        ]
        texts = [segment for segment in pair if isinstance(segment, str)]
        if len(pair) < 2 or len(set(texts)) > 1:
            return  # one is longer, or they differ
        if texts:
            choices.append(texts[:1])
        elif VALUE in pair:
            choices.append(SAMPLES)
        else:
            choices.append((*SAMPLES, "a/", "a/b", "1/"))  # both open: some paths to try
            break
    for chosen in product(*choices):
        yield "/".join(chosen)
