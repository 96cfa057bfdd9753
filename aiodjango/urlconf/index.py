"""Which URL patterns could match a path, found in the depth of the path, not their number.

The index only leaves out what cannot match: each pattern is reduced to what is certain about its
paths, segment by segment: literal text, a value without a slash, or anything at all. Django's
own patterns then decide among the few that remain, so an imprecise index costs time, and never
gives a wrong answer.
"""

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from django.urls.resolvers import RegexPattern, RoutePattern

from aiodjango.converters import ROUTE_PARAMETER, Chain


class Part(Enum):
    """What a piece of a path can be, other than literal text."""

    VALUE = "any text without a slash, the empty one included"
    ANYTHING = "any text, and no more is known from here on"


VALUE: Final = Part.VALUE
ANYTHING: Final = Part.ANYTHING

# The segments of a path, between its slashes. ANYTHING can only be the last one; a segment with
# a value in it is a VALUE as a whole.
Shape = tuple[str | Part, ...]

# A regular expression of a converter that obviously matches no slash: of characters, groups,
# repetitions, `\\d` and `\\w`, and of sets of letters and digits.
_WITHOUT_SLASH = re.compile(r"(?:\\[dw]|\[\^/\]|\[-?(?:\w(?:-\w)?|\\[dw])+-?\]|[\w|():?*+,{}-])+")
# The literal text that an anchored regular expression starts with.
_LITERAL_START = re.compile(
    r"(?:\^|\\A)(?P<text>(?:(?:[^\\.^$*+?{}\[\]|()]|\\\W)(?![*+?{]))*)", re.DOTALL
)
_ESCAPES_AND_SETS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
# With these a character of the expression may match another text, or none.
_FLAGS = re.IGNORECASE | re.MULTILINE | re.VERBOSE


def shapes(chain: Chain) -> list[Shape]:
    """Return what the paths of a chain look like, in every language that it may be read in."""
    found = [_shape(chain.in_language(language)) for language in chain.languages()]
    return list(dict.fromkeys(found))


def _shape(patterns: list[Any]) -> Shape:
    segments: list[str | Part] = [""]
    for pattern in patterns:
        for part in _parts(pattern, is_endpoint=pattern is patterns[-1]):
            if part is ANYTHING:
                return (*segments[:-1], ANYTHING)
            if isinstance(part, Part):
                segments[-1] = part
                continue
            first, *others = part.split("/")
            if isinstance(segments[-1], str):
                segments[-1] += first
            segments += others
    return tuple(segments)


def _parts(pattern: Any, *, is_endpoint: bool) -> Iterator[str | Part]:
    if type(pattern) is RoutePattern:
        return _route_parts(pattern)
    if type(pattern) is RegexPattern:
        return _regex_parts(pattern.regex, is_endpoint=is_endpoint)
    return iter((ANYTHING,))


def _route_parts(pattern: RoutePattern) -> Iterator[str | Part]:
    text = str(pattern)
    position = 0
    for found in ROUTE_PARAMETER.finditer(text):
        yield text[position : found.start()]
        regex = pattern.converters[found["parameter"]].regex
        yield VALUE if _WITHOUT_SLASH.fullmatch(regex) else ANYTHING
        position = found.end()
    yield text[position:]


def _regex_parts(regex: re.Pattern[str], *, is_endpoint: bool) -> Iterator[str | Part]:
    """Yield the literal start of a regular expression, and ANYTHING for the rest."""
    start = _LITERAL_START.match(regex.pattern)
    if start is not None and not regex.flags & _FLAGS and not _has_branches(regex.pattern):
        yield re.sub(r"\\(.)", r"\1", start["text"], flags=re.DOTALL)
        rest = regex.pattern[start.end() :]
        # Without an end more may follow: of an include() its own patterns, of an endpoint a
        # rest that Django ignores.
        if rest in ("$", r"\Z") or (not rest and not is_endpoint):
            return
    yield ANYTHING


@lru_cache(maxsize=256)
def _has_branches(regex: str) -> bool:
    """Whether a regular expression has a `|` outside of all groups."""
    if "(?#" in regex:
        return True  # a comment may have any parenthesis
    text = _ESCAPES_AND_SETS.sub("", regex)
    while (shorter := re.sub(r"\([^()]*\)", "", text)) != text:
        text = shorter
    return "|" in text


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
        for segment in shape:
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
        """Return the numbers, in order, of the shapes that `path` (no leading slash) may have."""
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
        """Return the numbers of the shapes that some path of `shape` may have."""
        found: set[int] = set()
        nodes = [self._root]
        for segment in shape:
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
