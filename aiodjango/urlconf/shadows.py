"""Paths of sync patterns that go to coroutine views, because those are tried first."""

import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice, product
from typing import NamedTuple

from .index import ANYTHING, VALUE, PathIndex, Shape, shapes
from .patterns import UrlconfPattern

# Values that between them match Django's converters and usual regular expressions.
SAMPLES = ("1", "a", "2026", "a-b", "a.b", "00000000-0000-4000-8000-000000000000", "12", "")
# How many paths are tried for two patterns.
MAX_TRIES = 500


class Shadow(NamedTuple):
    """The pattern of a coroutine view, a sync one before it, and a path that both match.

    path: without its leading slash.
    """

    coroutine: UrlconfPattern
    sync: UrlconfPattern
    path: str


def find_shadows(patterns: Sequence[UrlconfPattern]) -> list[Shadow]:
    """Return the sync patterns, given in URLconf order, that lose paths to a later one.

    Each is proved by a path. Patterns that only overlap in paths hard to guess are not found.
    """
    index = PathIndex()
    earlier: list[tuple[UrlconfPattern, Shape]] = []  # the sync patterns so far, in each shape
    found = []
    for pattern in patterns:
        if pattern.is_coroutine_view:
            found += _shadows_of(pattern, index, earlier)
            continue
        for shape in shapes(pattern.chain):
            index.add(shape, len(earlier))
            earlier.append((pattern, shape))
    return found


def _shadows_of(
    pattern: UrlconfPattern, index: PathIndex, earlier: list[tuple[UrlconfPattern, Shape]]
) -> list[Shadow]:
    found: dict[UrlconfPattern, Shadow] = {}
    for shape in shapes(pattern.chain):
        for number in sorted(index.overlapping(shape)):
            sync, sync_shape = earlier[number]
            if sync in found:
                continue
            guesses = chain(_paths(shape, sync_shape), _filled(pattern), _filled(sync))
            for path in islice(guesses, MAX_TRIES):
                if _matches(pattern, path) and _matches(sync, path):
                    found[sync] = Shadow(pattern, sync, path)
                    break
    return list(found.values())


def _matches(pattern: UrlconfPattern, path: str) -> bool:
    return any(pattern.chain.match(path, language) for language in pattern.chain.languages())


def _paths(one: Shape, other: Shape) -> Iterator[str]:
    """Yield paths that have both shapes."""
    choices: list[Sequence[str]] = []
    for position in range(max(len(one), len(other))):
        pair = [
            shape[position] if position < len(shape) else ANYTHING
            for shape in (one, other)
            if position < len(shape) or shape[-1] is ANYTHING
        ]
        texts = [segment for segment in pair if isinstance(segment, str)]
        if len(pair) < 2 or len(set(texts)) > 1:
            return  # one has more segments, or they differ
        if texts:
            choices.append(texts[:1])
        elif VALUE in pair:
            choices.append(SAMPLES)
        else:
            choices.append((*SAMPLES, "a/", "a/b", "1/"))  # both can be anything
            break
    for chosen in product(*choices):
        yield "/".join(chosen)


def _filled(pattern: UrlconfPattern) -> Iterator[str]:
    """Yield the text of a pattern with samples for its values."""
    text = pattern.chain.canonical().removeprefix("/")
    for sample in SAMPLES:
        yield re.sub(r"<[^>]*>|\{[^}]*\}", sample, text)
