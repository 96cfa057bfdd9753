"""Which URL patterns could match a path, found in the depth of the path, not their number.

The index only leaves out what cannot match: each chain is reduced to what is certain about its
paths (literal text, a value without a slash, or anything at all), segment by segment. Django's
own patterns then decide among the few that remain, so an index that knows too little costs
time, never a wrong answer.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

from django.urls.resolvers import RegexPattern, RoutePattern

from aiodjango.converters import ROUTE_PARAMETER, Chain

try:
    # The parser of the standard library's regular expressions is private. Without it a regular
    # expression is merely not indexed.
    from re import _constants as op  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
except ImportError:  # pragma: no cover
    parser = None


class _Part:
    """What a piece of a path can be, other than the literal text that a str stands for."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:  # pragma: no cover - for debuggers
        return self.text


VALUE: Final = _Part("<value>")  # any text without a slash, the empty one included
ANYTHING: Final = _Part("<anything>")  # and no more is known from here on

# The certain parts of a path in order; a shape that doesn't end in ANYTHING is complete.
Shape = tuple[str | _Part, ...]


def shapes(chain: Chain) -> list[Shape]:
    """What the paths of a chain look like, in every language that it may be read in."""
    shapes_ = (_shape(chain.in_language(language)) for language in chain.languages())
    return list(dict.fromkeys(shapes_))


def literal_prefix(shape: Shape) -> str:
    """The text that every path of a shape starts with."""
    return shape[0] if shape and isinstance(shape[0], str) else ""


def _shape(patterns: list[Any]) -> Shape:
    """The parts of all levels in a row, up to the first ANYTHING, neighbouring texts joined."""
    shape: list[str | _Part] = []
    for pattern in patterns:
        for part in _parts(pattern, is_endpoint=pattern is patterns[-1]):
            if part is ANYTHING:
                return (*shape, ANYTHING)
            if isinstance(part, str) and shape and isinstance(shape[-1], str):
                shape[-1] += part
            elif part:
                shape.append(part)
    return tuple(shape)


def _parts(pattern: Any, *, is_endpoint: bool) -> Iterator[str | _Part]:
    if type(pattern) is RoutePattern:
        return _route_parts(pattern)
    if type(pattern) is RegexPattern:
        return _regex_parts(pattern.regex, is_endpoint)
    return iter((ANYTHING,))


def _route_parts(pattern: RoutePattern) -> Iterator[str | _Part]:
    text = str(pattern)
    position = 0
    for found in ROUTE_PARAMETER.finditer(text):
        yield text[position : found.start()]
        converter = pattern.converters[found["parameter"]]
        yield VALUE if _is_value(converter.regex) else ANYTHING
        position = found.end()
    yield text[position:]


@lru_cache(maxsize=256)
def _is_value(regex: str) -> bool:
    return parser is not None and all(map(_without_slash, parser.parse(regex)))


def _regex_parts(regex: re.Pattern[str], is_endpoint: bool) -> Iterator[str | _Part]:
    """The parts of a regular expression as Django applies it (see RegexPattern.match())."""
    if parser is None or regex.flags & (re.IGNORECASE | re.MULTILINE):
        return iter((ANYTHING,))
    tokens = list(parser.parse(regex.pattern, regex.flags))
    if not tokens or tokens[0] not in ((op.AT, op.AT_BEGINNING), (op.AT, op.AT_BEGINNING_STRING)):
        return iter((ANYTHING,))
    # Without an end, or with a bare `$` inside, more may follow: of an include() its own
    # patterns, of an endpoint a rest that Django ignores.
    ends = regex.pattern.endswith("$") or tokens[-1] == (op.AT, op.AT_END_STRING)
    rest = (ANYTHING,) if is_endpoint and not ends else ()
    return itertools.chain(_token_parts(tokens[1:]), rest)


def _token_parts(tokens: Iterable[tuple[Any, Any]]) -> Iterator[str | _Part]:
    for kind, value in tokens:
        if kind is op.LITERAL:
            yield chr(value)
        elif kind is op.SUBPATTERN and not value[1] & re.IGNORECASE:
            yield from _token_parts(value[3])
        elif kind in (op.AT, op.ASSERT, op.ASSERT_NOT):
            continue  # these take up no text
        else:
            yield VALUE if _without_slash((kind, value)) else ANYTHING


def _without_slash(token: tuple[Any, Any]) -> bool:
    """Whether a part of a regular expression can never match a slash."""
    kind, value = token
    if kind is op.LITERAL:
        return bool(value != ord("/"))
    if kind is op.NOT_LITERAL:
        return bool(value == ord("/"))
    if kind is op.IN:
        return not _set_has_slash(value)
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return all(map(_without_slash, value[2]))
    if kind is op.SUBPATTERN:
        return all(map(_without_slash, value[3]))
    if kind is op.BRANCH:
        return all(_without_slash(token) for branch in value[1] for token in branch)
    return kind in (op.AT, op.ASSERT, op.ASSERT_NOT)


def _set_has_slash(items: list[tuple[Any, Any]]) -> bool:
    negated = items[0][0] is op.NEGATE
    for kind, value in items:
        if kind is op.LITERAL:
            found = value == ord("/")
        elif kind is op.RANGE:
            found = value[0] <= ord("/") <= value[1]
        elif kind is op.CATEGORY:
            found = value in (op.CATEGORY_NOT_DIGIT, op.CATEGORY_NOT_SPACE, op.CATEGORY_NOT_WORD)
        else:
            found = False
        if found:
            return not negated
    return negated


def segments(shape: Shape) -> list[str | _Part]:
    """A shape cut at its slashes; ANYTHING can only be the last segment.

    A segment with a value in it is a VALUE as a whole, one that may hold slashes ANYTHING.
    """
    found: list[str | _Part] = [""]
    for part in shape:
        if not isinstance(part, str):
            found[-1] = part
            continue
        head, *others = part.split("/")
        if isinstance(found[-1], str):
            found[-1] += head
        found += others
    return found


class _Node:
    """A place in the tree of segments."""

    __slots__ = ("ends", "literal", "open", "value")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.value: _Node | None = None
        self.ends: list[int] = []  # shapes that end here
        self.open: list[int] = []  # shapes of which no more is known

    def children(self) -> "Iterator[_Node]":
        yield from self.literal.values()
        if self.value is not None:
            yield self.value

    def below(self) -> Iterator[int]:
        yield from self.ends
        yield from self.open
        for child in self.children():
            yield from child.below()


class PathIndex:
    """Finds the shapes that a path may have, by the numbers they were added with."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, shape: Shape, number: int) -> None:
        node = self._root
        for segment in segments(shape):
            if isinstance(segment, str):
                node = node.literal.setdefault(segment, _Node())
            elif segment is VALUE:
                if node.value is None:
                    node.value = _Node()
                node = node.value
            else:
                node.open.append(number)
                return
        node.ends.append(number)

    def candidates(self, path: str) -> list[int]:
        """The numbers, in order, of the shapes that `path` (no leading slash) doesn't rule out."""
        found: list[int] = []
        nodes = [self._root]
        for segment in path.split("/"):
            following = []
            for node in nodes:
                if node.open:
                    found += node.open
                if (literal := node.literal.get(segment)) is not None:
                    following.append(literal)
                if node.value is not None:
                    following.append(node.value)
            nodes = following
            if not nodes:
                break
        for node in nodes:
            found += node.ends
        return sorted(set(found)) if len(found) > 1 else found

    def overlapping(self, shape: Shape) -> set[int]:
        """The numbers of the shapes that some path of `shape` may have."""
        found: set[int] = set()
        nodes = [self._root]
        for segment in segments(shape):
            following: list[_Node] = []
            for node in nodes:
                found.update(node.open)
                if segment is ANYTHING:
                    found.update(node.below())
                elif segment is VALUE:
                    following += node.children()
                else:
                    children = (node.literal.get(str(segment)), node.value)
                    following += [child for child in children if child is not None]
            nodes = following
        for node in nodes:
            found.update(node.ends)
        return found
