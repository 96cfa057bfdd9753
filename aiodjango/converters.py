"""A chain of Django URL patterns: matched and reversed exactly as Django would.

Django resolves a path level by level: each include() consumes the start of the path and hands
the rest down, without ever going back. A chain is therefore not one long regular expression
(which would backtrack across its levels) but a list of Django's own patterns, matched in turn.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.contrib.admindocs.utils import (
    remove_non_capturing_groups,
    replace_metacharacters,
    replace_named_groups,
    replace_unnamed_groups,
)
from django.urls.resolvers import (
    LocalePrefixPattern,
    RegexPattern,
    RoutePattern,
    URLPattern,
    URLResolver,
)
from django.utils import translation
from django.utils.encoding import repercent_broken_unicode
from django.utils.functional import Promise

# <converter:parameter> or <parameter>, as in Django's path().
ROUTE_PARAMETER = re.compile(r"<(?:(?P<converter>[^>:]+):)?(?P<parameter>[^>]+)>")


class Level(NamedTuple):
    """A pattern of a URLconf, with the extra options that path() or include() was given."""

    pattern: Any
    extra: Mapping[str, Any]


# The result of a match: the rest of the path, the positional and keyword values that Django would
# pass to a view, and the strings in the path before their conversion. A plain tuple, for speed.
Matched = tuple[str, tuple[str | None, ...], dict[str, Any], dict[str, str]]
Matcher = Callable[[str], Matched | None]


def django_path(raw_path: str) -> str:
    """Return the path Django sees for the path of a request target, as it was sent.

    The bytes are decoded by PEP 3333's rule, then as Django's WSGIRequest does.
    """
    if "%" not in raw_path and raw_path.isascii():
        return raw_path
    path = unquote_to_bytes(raw_path.encode("utf-8", "surrogateescape"))
    return repercent_broken_unicode(path).decode()


class Chain:
    """A URL pattern with the include()s above it, the outermost first."""

    def __init__(self, levels: Iterable[Level]) -> None:
        self.levels = tuple(levels)
        self.has_language_prefix = any(
            isinstance(pattern, LocalePrefixPattern) for pattern, _ in self.levels
        )
        self.is_translated = any(_is_translated(pattern) for pattern, _ in self.levels)
        self.is_localized = self.has_language_prefix or self.is_translated
        self._matchers: dict[str | None, Matcher] = {}

    def __str__(self) -> str:
        """Return the patterns of the URLconf, joined as Django joins a match's route."""
        first, *others = (str(pattern) for pattern, _ in self.levels)
        return first + "".join(text.removeprefix("^") for text in others)

    @property
    def literal(self) -> str | None:
        """The only path that matches, without its leading slash, where there is just one."""
        patterns = [pattern for pattern, _ in self.levels]
        if self.is_translated or any(type(p) is not RoutePattern or p.converters for p in patterns):
            return None
        return "".join(map(str, patterns))

    def languages(self) -> list[str | None]:
        """Return all languages in which the chain may be read, as get_language() names them.

        One None for a chain that does not depend on the language.
        """
        if not self.is_localized:
            return [None]
        codes = [settings.LANGUAGE_CODE, *(code for code, _ in settings.LANGUAGES)]
        return list(dict.fromkeys([settings.LANGUAGE_CODE, *map(translation.to_language, codes)]))

    def in_language(self, language: str | None) -> list[Any]:
        """Return Django's patterns, those that depend on the language with their text in it."""
        last = len(self.levels) - 1
        return [
            _in_language(pattern, language, is_endpoint=position == last)
            for position, (pattern, _) in enumerate(self.levels)
        ]

    def match(self, path: str, language: str | None = None) -> Matched | None:
        """Match as Django's resolver would if the URLconf had no other pattern.

        path: decoded, without its leading slash. language: what a localized chain is read in.
        """
        return self.matcher(language)(path)

    def matcher(self, language: str | None = None) -> Matcher:
        """Return the function that matches in a language."""
        found = self._matchers.get(language)
        if found is None:
            patterns = self.in_language(language)
            found = self._matchers[language] = _joined(
                [(_matcher(p), extra) for p, (_, extra) in zip(patterns, self.levels, strict=True)]
            )
        return found

    def arguments(self) -> tuple[int, set[str]]:
        """Return how many positional values a match has, and the names of its keyword values."""
        found = [_arguments(pattern, extra) for pattern, extra in self.levels]
        positional, names = found.pop()
        for outer_positional, outer_names in reversed(found):
            names = names | outer_names
            if not names:
                positional += outer_positional
        return positional, names

    def canonical(self) -> str:
        """Return the path as aiohttp writes one: with a leading slash, and `{name}` for a value."""
        return "/" + "".join(_canonical(pattern) for pattern, _ in self.levels)

    def reverse(self, *args: Any, **kwargs: Any) -> str:
        """Return the quoted path, without its leading slash, in the active language.

        A string is the text in the path, as in match_info; any other value is the converted
        one. Raises django.urls.NoReverseMatch where no path fits.
        """
        converters = {
            name: converter
            for pattern, _ in self.levels
            for name, converter in pattern.converters.items()
        }
        for name, value in kwargs.items():
            if isinstance(value, str) and name in converters:
                try:
                    kwargs[name] = converters[name].to_python(value)
                except ValueError:
                    continue  # no such path exists, which Django's own error explains
        return str(self._resolver.reverse(str(self), *args, **kwargs))

    @cached_property
    def _resolver(self) -> URLResolver:
        """A URLconf of this chain alone, named by its text, for Django to reverse."""
        *outer, (pattern, extra) = self.levels
        node: Any = URLPattern(pattern, lambda: None, dict(extra), str(self))
        for pattern, extra in reversed(outer):
            node = URLResolver(pattern, [node], dict(extra))
        return URLResolver(RegexPattern(r"^/"), [node])


def _is_translated(pattern: Any) -> bool:
    """Whether the text of a pattern depends on the active language.

    Django has no public way to ask: these attributes of its two patterns are the lazy string.
    """
    text = getattr(pattern, "_route", getattr(pattern, "_regex", None))
    return isinstance(text, Promise)


def _in_language(pattern: Any, language: str | None, *, is_endpoint: bool) -> Any:
    if isinstance(pattern, LocalePrefixPattern):
        # What i18n_patterns() adds to a path, without the cost of activating the language.
        language = language or settings.LANGUAGE_CODE
        has_prefix = pattern.prefix_default_language or language != settings.LANGUAGE_CODE
        return RoutePattern(f"{language}/" if has_prefix else "")
    if not _is_translated(pattern):
        return pattern
    with translation.override(language):
        return type(pattern)(str(pattern), is_endpoint=is_endpoint)


def _joined(levels: list[tuple[Matcher, Mapping[str, Any]]]) -> Matcher:
    """Return the function that matches all levels, whose matchers and extra options these are."""
    (match_first, extra), *others = levels
    if not extra and not others:
        return match_first

    def match_all(path: str) -> Matched | None:
        args: tuple[str | None, ...] = ()
        kwargs: dict[str, Any] = {}
        strings: dict[str, str] = {}
        outer = []
        for match, extra in levels:
            if args or kwargs:
                outer.append((args, kwargs))
            matched = match(path)
            if matched is None:
                return None
            path, args, kwargs, texts = matched
            if extra:
                kwargs = {**kwargs, **extra}
            if texts:
                strings = {**strings, **texts} if strings else texts
        # As URLResolver.resolve() merges: an inner value wins, and the positional values of an
        # outer level survive only where no keyword value exists from that level down.
        for outer_args, outer_kwargs in reversed(outer):
            kwargs = {**outer_kwargs, **kwargs}
            if not kwargs:
                args = outer_args + args
        return path, args, kwargs, strings

    return match_all


def _matcher(pattern: Any) -> Matcher:
    """Return the function that matches one level, its strings included."""
    if type(pattern) is RoutePattern and pattern.converters:
        return _route_matcher(pattern)
    return partial(_match_pattern, pattern)


def _route_matcher(pattern: RoutePattern) -> Matcher:
    """RoutePattern.match(), with the strings as well."""
    search = pattern.regex.search
    converters = [(name, c.to_python) for name, c in pattern.converters.items()]

    def match(path: str) -> Matched | None:
        found = search(path)
        if found is None:
            return None
        strings = found.groupdict()
        try:
            kwargs = {name: to_python(strings[name]) for name, to_python in converters}
        except ValueError:
            return None
        return path[found.end() :], (), kwargs, strings

    return match


def _match_pattern(pattern: Any, path: str) -> Matched | None:
    matched = pattern.match(path)
    if matched is None:
        return None
    rest, args, kwargs = matched
    return rest, args, kwargs, kwargs


def _arguments(pattern: Any, extra: Mapping[str, Any]) -> tuple[int, set[str]]:
    if not isinstance(pattern, RegexPattern):
        return 0, {*pattern.converters, *extra}
    names = set(pattern.regex.groupindex)
    return (0 if names else pattern.regex.groups), names | set(extra)


def _canonical(pattern: Any) -> str:
    if isinstance(pattern, LocalePrefixPattern):
        return "{language}/"
    text = str(pattern)
    if isinstance(pattern, RegexPattern):
        text = remove_non_capturing_groups(text)
        text = replace_unnamed_groups(replace_named_groups(text))
        text = replace_metacharacters(text)
    return ROUTE_PARAMETER.sub(r"{\g<parameter>}", text)
