"""How a coroutine view is called: its arguments, Django's state around it, its exceptions."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiohttp import web
from django.conf import settings
from django.core.exceptions import (
    BadRequest,
    ImproperlyConfigured,
    PermissionDenied,
    SuspiciousOperation,
)
from django.http import Http404
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import translation

from .converters import Captured
from .discovery import UrlconfPattern
from .language import LanguageChoice

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LiftedMatch(web.UrlMappingMatchInfo):
    """A match_info that also holds what Django would pass to the view."""

    __slots__ = ("captured", "language")

    def __init__(
        self, captured: Captured, route: web.AbstractRoute, language: str | None = None
    ) -> None:
        super().__init__(captured.strings, route)
        self.captured = captured
        self.language = language  # that the path was matched in, if its pattern depends on it


class DjangoState:
    """What Django keeps beside a request: script prefix, URLconf and language.

    urlconf: the one reverse() reads in the views, None for ROOT_URLCONF.
    """

    def __init__(self, urlconf: Any = None) -> None:
        self.choose_language = LanguageChoice(urlconf)
        self._urlconf = urlconf
        self.mount_at("")

    def mount_at(self, mount: str) -> None:
        """Take the prefix (without a slash at its end) under which the views are reached."""
        self.mount = mount
        forced = settings.FORCE_SCRIPT_NAME
        self._script_prefix = (mount if forced is None else forced).rstrip("/") + "/"
        # At the root of a site in one language there's nothing to set, and nothing to pay.
        self.is_default = (
            self._script_prefix == "/" and not self._urlconf and not self.choose_language.is_dynamic
        )

    def enter(self, request: web.Request, language: str | None) -> "_Before":
        """Set the state for a view, and return what was there before.

        language: that the view's path was matched in, if its pattern depends on it.
        """
        script_prefix, urlconf = get_script_prefix(), None
        if script_prefix != self._script_prefix:
            set_script_prefix(self._script_prefix)
        if self._urlconf:
            urlconf = get_urlconf()
            set_urlconf(self._urlconf)
        if language is None and self.choose_language.is_dynamic:
            language = self.choose_language(request, self.mount)
        override = None
        if language is not None:
            override = translation.override(language)
            override.__enter__()
        return _Before(script_prefix, urlconf, override)

    def leave(self, before: "_Before") -> None:
        """Put back what was there before: a connection's next request may be the host's."""
        if before.override is not None:
            before.override.__exit__(None, None, None)
        if self._urlconf:
            set_urlconf(before.urlconf)
        if before.script_prefix != self._script_prefix:
            set_script_prefix(before.script_prefix)


class _Before(NamedTuple):
    script_prefix: str
    urlconf: Any
    override: translation.override | None


def make_handler(pattern: UrlconfPattern, state: DjangoState) -> Handler:
    """Return the aiohttp handler that calls a view as its pattern asks.

    Raises ImproperlyConfigured where view and pattern don't fit.
    """
    call = _caller(pattern)

    async def handler(request: web.Request) -> web.StreamResponse:
        match: LiftedMatch = request.match_info  # type: ignore[assignment]
        try:
            if state.is_default and match.language is None:
                return await call(request)
            before = state.enter(request, match.language)
            try:
                return await call(request)
            finally:
                state.leave(before)
        except Http404 as error:
            raise web.HTTPNotFound from error
        except PermissionDenied as error:
            raise web.HTTPForbidden from error
        except (SuspiciousOperation, BadRequest) as error:
            raise web.HTTPBadRequest from error

    # What the view is called, without the attributes of a web.View class.
    functools.update_wrapper(handler, pattern.view, updated=())
    return handler


def _caller(pattern: UrlconfPattern) -> Handler:
    view = pattern.view
    if takes_request_alone(view):
        return view
    check_arguments(pattern)

    def call(request: web.Request) -> Awaitable[web.StreamResponse]:
        captured = request.match_info.captured  # type: ignore[attr-defined]
        result: Awaitable[web.StreamResponse] = view(request, *captured.args, **captured.kwargs)
        return result

    return call


def takes_request_alone(view: Callable[..., Any]) -> bool:
    """Whether a view declares the request and nothing else."""
    if isinstance(view, type):
        return True
    parameters = list(_signature(view).parameters.values())
    return len(parameters) == 1 and parameters[0].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )


def check_arguments(pattern: UrlconfPattern) -> None:
    """Raise ImproperlyConfigured unless a view can be called with what its pattern gives."""
    if takes_request_alone(pattern.view):
        return
    positional, names = pattern.chain.arguments()
    try:
        _signature(pattern.view).bind(None, *[None] * positional, **dict.fromkeys(names))
    except TypeError as error:
        given = ["the request", *(["an unnamed group"] * positional), *sorted(names)]
        raise ImproperlyConfigured(
            f"The view {pattern.view_name} doesn't fit its URL pattern {pattern}: {error}. "
            f"The pattern gives {', '.join(given)}; a view that declares only the request gets "
            "the strings of the path from request.match_info."
        ) from None


def _signature(view: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(_declaring(view), follow_wrapped=False)


def _declaring(view: Any) -> Any:
    """The callable that declares the parameters of a view.

    A decorator that takes `*args` or `**kwargs` passes them on, so what the view under it
    declares counts; any other decorator declares for itself.
    """
    if isinstance(view, functools.partial):
        return functools.partial(_declaring(view.func), *view.args, **view.keywords)
    wrapped = getattr(view, "__wrapped__", None)
    if wrapped is None:
        return view
    kinds = {p.kind for p in inspect.signature(view, follow_wrapped=False).parameters.values()}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        return _declaring(wrapped)
    return view
