"""Reading a URLconf: its patterns in order, and which of their views are coroutine views."""

import functools
import inspect
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from aiohttp import web
from aiohttp.abc import AbstractView
from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.urls import URLPattern, URLResolver
from django.urls.resolvers import get_resolver
from django.views import View

from aiodjango.converters import Chain, Level

# From Python 3.14 on reading an annotation evaluates it, unless it is asked for as a string.
_AS_STRINGS: dict[str, Any] = {}
if sys.version_info >= (3, 14):  # pragma: no cover
    import annotationlib

    _AS_STRINGS["annotation_format"] = annotationlib.Format.STRING

V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class UrlconfPattern:
    """A view of a URLconf, with the patterns that lead to it."""

    chain: Chain
    view: Callable[..., Any]
    name: str | None  # with its namespaces, as reverse() takes it
    is_coroutine_view: bool

    def __str__(self) -> str:
        return f"'{self.chain}'" + (f" [name='{self.name}']" if self.name else "")

    @property
    def view_name(self) -> str:
        """The dotted name of the view."""
        return dotted_name(self.view)

    @property
    def way_to_django(self) -> str:
        """A part of an error: how to leave the view to Django, if it may be meant for it."""
        if not may_be_for_django(self.view):
            return ""
        return (
            "It comes from an installed package: if it is an async view for Django, leave it "
            "there with path(…, django_view(include(…))). "
        )


def read_urlconf(urlconf: Any = None) -> list[UrlconfPattern]:
    """Return the patterns of a URLconf, with those of its include()s, in order.

    urlconf: dotted path, module, or list of patterns; None for ROOT_URLCONF.
    Raises django.core.exceptions.ImproperlyConfigured where it contains anything but patterns, or
    includes itself.
    """
    return list(_walk((get_resolver(hashable(urlconf)),), (), (), is_left=False))


def hashable(urlconf: Any) -> Any:
    """Return a URLconf that can be a key of a cache: a tuple instead of a list."""
    return tuple(urlconf) if isinstance(urlconf, list) else urlconf


def _walk(
    resolvers: tuple[URLResolver, ...],
    above: tuple[Level, ...],
    namespaces: tuple[str, ...],
    *,
    is_left: bool,
) -> Iterator[UrlconfPattern]:
    """Yield the patterns of the last resolver; each is included in the one before."""
    _refuse_ring(resolvers)
    resolver = resolvers[-1]
    is_left = is_left or isinstance(resolver.urlconf_name, _LeftToDjango)
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            inner = (*namespaces, pattern.namespace) if pattern.namespace else namespaces
            level = Level(pattern.pattern, pattern.default_kwargs)
            yield from _walk((*resolvers, pattern), (*above, level), inner, is_left=is_left)
        elif isinstance(pattern, URLPattern):
            yield UrlconfPattern(
                chain=Chain((*above, Level(pattern.pattern, pattern.default_args))),
                view=pattern.callback,
                name=":".join((*namespaces, pattern.name)) if pattern.name else None,
                is_coroutine_view=not is_left and is_coroutine_view(pattern.callback),
            )
        else:
            raise ImproperlyConfigured(
                f"The URLconf {resolver.urlconf_name!r} contains {pattern!r}, which is not a URL "
                "pattern: write path(), re_path() or include()."
            )


def _refuse_ring(resolvers: tuple[URLResolver, ...]) -> None:
    """Raise ImproperlyConfigured if the last of these resolvers includes itself."""
    *outer, last = resolvers
    for start, resolver in enumerate(outer):
        if resolver.url_patterns is last.url_patterns:
            ring = " -> ".join(map(_urlconf_name, resolvers[start:]))
            raise ImproperlyConfigured(
                f"The URLconf {_urlconf_name(last)} includes itself, so its patterns have no end: "
                f"{ring}. Remove the include() at '{last.pattern}'."
            )


def _urlconf_name(resolver: URLResolver) -> str:
    urlconf: Any = resolver.urlconf_name
    if isinstance(urlconf, list | tuple):
        return f"(the list of patterns at '{resolver.pattern}')"
    return str(getattr(urlconf, "__name__", urlconf))


def is_coroutine_view(view: Any) -> bool:
    """Whether a view is a coroutine view for aiohttp, not a view for Django."""
    if isinstance(view, type):
        return issubclass(view, AbstractView)
    if not iscoroutinefunction(_unwrap_partial(view)):
        return False
    return django_class(view) is None and not any(
        getattr(layer, "is_left_to_django", False)
        or _first_parameter_is(layer, HttpRequest, "HttpRequest", "WSGIRequest", "ASGIRequest")
        for layer in view_layers(view)
    )


def _first_parameter_is(view: Any, kind: type, *names: str) -> bool:
    """Whether the first parameter of `view` is annotated as `kind` or a subclass of it.

    names: the ends of names that count as such where an annotation cannot be evaluated, because
        it names what is imported for type checkers only.
    """
    try:
        annotation = _first_annotation(view)
    except (TypeError, ValueError):  # a callable without a signature
        return False
    if isinstance(annotation, str):
        return any(name.endswith(names) for name in re.findall(r"[\w.]+", annotation))
    found = get_args(annotation) or (annotation,)  # the members of a union
    return any(isinstance(member, type) and issubclass(member, kind) for member in found)


def _first_annotation(view: Any) -> Any:
    """Return it evaluated, or as a string where that fails."""
    try:
        signature = inspect.signature(view, follow_wrapped=False, eval_str=True)
    except Exception:  # an annotation may be any text
        signature = inspect.signature(view, follow_wrapped=False, **_AS_STRINGS)
    return next((parameter.annotation for parameter in signature.parameters.values()), None)


def django_class(view: Any) -> type[View] | None:
    """Return the class-based view of Django that a view belongs to, None for no such view.

    Each as_view() sets its class on the view, by a different name: Django as `view_class`, the
    viewsets of Django REST framework as `cls`.
    """
    for layer in view_layers(view):
        owner = getattr(layer, "__self__", None)  # of a bound method
        for value in (layer, owner, type(owner), *getattr(layer, "__dict__", {}).values()):
            if isinstance(value, type) and issubclass(value, View):
                return value
    return None


def dotted_name(view: Any) -> str:
    """Return the dotted name of a view, or of the class-based view that it belongs to."""
    view = _unwrap_partial(view)
    view = django_class(view) or view
    named = view if hasattr(view, "__qualname__") else type(view)
    return f"{named.__module__}.{named.__qualname__}"


def may_be_for_django(view: Any) -> bool:
    """Whether a coroutine view comes from a package and is not annotated for aiohttp."""
    if isinstance(view, type) or not _is_installed(view):
        return False
    names = "web.Request", "BaseRequest"
    return not any(_first_parameter_is(each, web.BaseRequest, *names) for each in view_layers(view))


def _is_installed(view: Any) -> bool:
    """Whether the source of a view is where packages are installed."""
    *_, innermost = view_layers(view)
    is_named = inspect.isroutine(innermost) or isinstance(innermost, type)
    try:
        file = Path(inspect.getfile(innermost if is_named else type(innermost))).resolve()
    except (TypeError, OSError):
        return False
    return any(file.is_relative_to(folder) for folder in _package_folders())


@functools.cache
def _package_folders() -> list[Path]:
    names = ("purelib", "platlib", "stdlib", "platstdlib")
    return [Path(sysconfig.get_path(name)).resolve() for name in names]


def django_view(view: V) -> V:
    """Leave a coroutine view, or all views of an `include(…)`, to Django.

    For async views that take Django's HttpRequest, but have no annotation for it::

        path("report/", django_view(views.report)),
        path("shop/", django_view(include("shop.urls"))),

    Raises TypeError for an aiohttp `web.View`, which Django could not call.
    """
    if isinstance(view, tuple):
        urlconf, *namespaces = view
        return cast(V, (_LeftToDjango(urlconf), *namespaces))
    if isinstance(view, type) and issubclass(view, AbstractView):
        raise TypeError(f"django_view(): {view.__qualname__} is an aiohttp view, not for Django.")
    if not callable(view):
        raise TypeError(f"django_view() takes a view or an include(…), not {view!r}.")
    if not is_coroutine_view(view):
        return view

    # A wrapper, not an attribute of the view: elsewhere in the URLconf it may be a coroutine view.
    @functools.wraps(view)
    async def left_to_django(*args: Any, **kwargs: Any) -> Any:
        return await view(*args, **kwargs)

    left_to_django.is_left_to_django = True  # type: ignore[attr-defined]
    return cast(V, left_to_django)


class _LeftToDjango:
    """An included URLconf of which all views are left to Django."""

    def __init__(self, urlconf: Any) -> None:
        self._urlconf = urlconf

    @property
    def urlpatterns(self) -> Any:
        return getattr(self._urlconf, "urlpatterns", self._urlconf)

    def __repr__(self) -> str:
        return f"django_view({self._urlconf!r})"


def _unwrap_partial(view: Any) -> Any:
    while isinstance(view, functools.partial):
        view = view.func
    return view


def view_layers(view: Any) -> Iterator[Any]:
    """Yield the view, then what its partials and decorators (by functools.wraps) wrap."""
    while view is not None:
        yield view
        is_partial = isinstance(view, functools.partial)
        view = view.func if is_partial else getattr(view, "__wrapped__", None)
