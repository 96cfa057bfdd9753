"""Whether a coroutine view can be called with what its URL pattern gives."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from aiohttp import hdrs
from django.core.exceptions import ImproperlyConfigured

from aiodjango.urlconf.patterns import UrlconfPattern


def check_arguments(pattern: UrlconfPattern) -> None:
    """Raise ImproperlyConfigured unless a view can be called with what its pattern gives."""
    if isinstance(pattern.view, type):
        _check_methods(pattern)
        return
    if takes_request_alone(pattern.view):
        return
    positional, names = pattern.chain.arguments()
    try:
        _signature(pattern.view).bind(None, *[None] * positional, **dict.fromkeys(names))
    except TypeError as error:
        given = ["the request", *(["an unnamed group"] * positional), *sorted(names)]
        raise ImproperlyConfigured(
            f"The view {pattern.view_name} does not fit its URL pattern {pattern}: {error}. "
            f"{pattern.way_to_django}The pattern gives {', '.join(given)}; a view that declares "
            "only the request gets the strings of the path from request.match_info."
        ) from None


def _check_methods(pattern: UrlconfPattern) -> None:
    """Raise ImproperlyConfigured unless aiohttp can call the methods of a web.View."""
    for name in sorted(map(str.lower, hdrs.METH_ALL)):
        method = getattr(pattern.view, name, None)
        if method is None:
            continue
        try:
            _signature(method).bind(None)
        except TypeError as error:
            raise ImproperlyConfigured(
                f"The view {pattern.view_name} does not fit its URL pattern {pattern}: {name}(): "
                f"{error}. aiohttp calls the methods of a web.View without arguments; the strings "
                "of the path are in self.request.match_info."
            ) from None


def takes_request_alone(view: Callable[..., Any]) -> bool:
    """Whether a view declares the request and nothing else."""
    if isinstance(view, type):
        return True
    parameters = list(_signature(view).parameters.values())
    return len(parameters) == 1 and parameters[0].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )


def _signature(view: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(_declaring(view), follow_wrapped=False)


def _declaring(view: Any) -> Any:
    """Return the callable that declares a view's parameters: the one below `*args, **kwargs`."""
    if isinstance(view, functools.partial):
        return functools.partial(_declaring(view.func), *view.args, **view.keywords)
    wrapped = getattr(view, "__wrapped__", None)
    if wrapped is None:
        return view
    kinds = {p.kind for p in inspect.signature(view, follow_wrapped=False).parameters.values()}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        return _declaring(wrapped)
    return view
