"""How a coroutine view is called: its arguments, Django's rules and state around it, its result."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiohttp import hdrs, web
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.template.response import SimpleTemplateResponse
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import translation

from aiodjango.fallback import FALLBACK
from aiodjango.gateway.body import BODY_TIMEOUT, BodyWatch
from aiodjango.gateway.dates import has_dates, ignore_unreadable_dates
from aiodjango.gateway.decoding import DecodedBody, bound_decoded
from aiodjango.gateway.framing import close_if_last, discard_rest
from aiodjango.open_connections import note_open
from aiodjango.orm.context import begin_work, run_in_django
from aiodjango.runtime.exits import exit_as_error, is_cancellation
from aiodjango.urlconf.language import LanguageChoice
from aiodjango.urlconf.patterns import UrlconfPattern

from .auth import LoginRule
from .decorators import check_login_decorators
from .errors import answer
from .match import LiftedMatch
from .response import drop_body, finish, to_aiohttp
from .security import Gate

# Statuses of responses without a body.
BODYLESS = frozenset({204, 304})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DjangoState:
    """What Django keeps beside a request: script prefix, URLconf, language, and what it demands.

    urlconf: the one reverse() reads in the views, None for ROOT_URLCONF.
    """

    def __init__(self, urlconf: Any = None) -> None:
        self.gate = Gate()
        self.login_rule = LoginRule()
        self.choose_language = LanguageChoice(urlconf)
        self._urlconf = urlconf
        self.mount_at("")

    def mount_at(self, mount: str) -> None:
        """Take the prefix (without a slash at its end) under which the views are reached."""
        self.mount = mount
        forced = settings.FORCE_SCRIPT_NAME
        self._script_prefix = (mount if forced is None else forced).rstrip("/") + "/"
        self._has_middlewares: bool | None = None  # not known before the first request
        # At the root of a site in one language there's nothing to set, and nothing to pay.
        self.is_default = (
            self._script_prefix == "/" and not self._urlconf and not self.choose_language.is_dynamic
        )

    def enter(self, request: web.Request, language: str | None) -> "_Before | None":
        """Set the state for a view. Returns what was there before, if it has to be put back.

        language: that the view's path was matched in, if its pattern depends on it.
        """
        before = None
        if self._is_observed(request):
            before = _Before(get_script_prefix(), get_urlconf(), translation.get_language())
        if self._script_prefix != ("/" if before is None else before.script_prefix):
            set_script_prefix(self._script_prefix)
        if self._urlconf:
            set_urlconf(self._urlconf)
        if language is None and self.choose_language.is_dynamic:
            language = self.choose_language(request, self.mount)
        if language is not None:
            translation.activate(language)
        return before

    def _is_observed(self, request: web.Request) -> bool:
        """Whether a middleware goes on after the view.

        Nothing else can see the state then: each request has a task, and so a context, of its own.
        """
        if self._has_middlewares is None:
            self._has_middlewares = any(app.middlewares for app in request.match_info.apps)
        return self._has_middlewares


class _Before(NamedTuple):
    script_prefix: str
    urlconf: Any
    language: str | None

    def put_back(self) -> None:
        if translation.get_language() == self.language:
            pass
        elif self.language is None:
            translation.deactivate_all()
        else:
            translation.activate(self.language)
        if get_urlconf() != self.urlconf:
            set_urlconf(self.urlconf)
        if get_script_prefix() != self.script_prefix:
            set_script_prefix(self.script_prefix)


def make_handler(pattern: UrlconfPattern, state: DjangoState) -> Handler:
    """Return the aiohttp handler that calls a view as its pattern asks.

    Raises ImproperlyConfigured where view and pattern don't fit, and for decorators of Django's
    that would leave the view without the protection they promise.
    """
    check_login_decorators(pattern)
    call = _caller(pattern)
    view = pattern.view
    gate, login_rule, cors = state.gate, state.login_rule, state.gate.cors
    is_exempt = bool(getattr(view, "csrf_exempt", False))
    needs_login = login_rule.holds_for(view)
    headers = gate.headers_for(view)

    async def examine(request: web.Request) -> web.StreamResponse | None:
        """Look closer at a request. Raises or returns what answers it; None to go on."""
        answered = gate.examine(request, is_exempt=is_exempt)
        if answered is not None:
            return to_aiohttp(answered)
        return await login_rule.refuse(request, view) if needs_login else None

    async def handler(request: web.Request) -> web.StreamResponse:
        match: LiftedMatch = request.match_info  # type: ignore[assignment]
        match.headers = headers
        match.listeners.append(_LISTENER)
        work = begin_work(request, handler)
        before = None
        try:
            if cors is not None:
                await cors.ask(request)
            if match.language is not None or not state.is_default:
                before = state.enter(request, match.language)
            if has_dates(request):
                ignore_unreadable_dates(request)
            refusal = None
            if needs_login or not gate.passes(request):
                match.is_odd = True
                refusal = await examine(request)
            if refusal is not None:
                response = refusal
            elif match.is_odd and request.can_read_body:
                bound_decoded(request)
                with BodyWatch(request, _body_timeout(request)):
                    response = await call(request)
            else:
                response = await call(request)
            if type(response) is not web.Response:
                response = await _checked(response, pattern)
            if match.has_django_request:
                await _finish(match, request, response)
        except BaseException as raised:
            if is_cancellation(raised):
                raise
            error = raised if isinstance(raised, Exception) else exit_as_error(raised)
            if isinstance(request.content, DecodedBody):
                request.content.release()
            response = await _after_error(match, request, error)
            if isinstance(response, web.HTTPException):  # aiohttp wants it raised
                _complete(match, request, response)
                raise
        finally:
            match.listeners.pop()
            if before is not None:
                before.put_back()
            work.end()
            if match.is_odd:
                discard_rest(request)
        if match.started is None:
            _complete(match, request, response)
        return response

    # What the view is called, without the attributes of a web.View class.
    functools.update_wrapper(handler, view, updated=())
    return handler


def _body_timeout(request: web.Request) -> float:
    fallback = request.config_dict.get(FALLBACK)
    return BODY_TIMEOUT if fallback is None else fallback.gateway.body_timeout


async def _complete_started(request: web.Request, response: web.StreamResponse) -> None:
    """Complete a response that a coroutine view has begun to send itself: a stream, a WebSocket."""
    match: LiftedMatch = request.match_info  # type: ignore[assignment]
    match.started = response
    if match.has_django_request:
        match.has_django_request = False
        await finish(request, response)
    _complete(match, request, response)
    if request.method == hdrs.METH_HEAD or response.status in BODYLESS:
        drop_body(request, response)
    else:
        note_open(request, response)


_LISTENER = web.Application()
_LISTENER.on_response_prepare.append(_complete_started)
_LISTENER.freeze()


def _complete(match: LiftedMatch, request: web.Request, response: web.StreamResponse) -> None:
    """Give a response what it still lacks, just before its headers are sent."""
    if match.is_odd:
        close_if_last(request, response)
    if not match.headers.is_empty and response.status != 101:
        match.headers.add_to(response, request)


async def _finish(match: LiftedMatch, request: web.Request, response: web.StreamResponse) -> None:
    match.has_django_request = False
    if not response.prepared:
        await finish(request, response)


async def _checked(response: Any, pattern: UrlconfPattern) -> web.StreamResponse:
    """Return what a view has returned as a response of aiohttp's.

    Raises TypeError where it isn't one and can't be made one.
    """
    if isinstance(response, web.StreamResponse):
        return response
    if not isinstance(response, HttpResponse):
        raise TypeError(
            f"The view {pattern.view_name} returned {response!r}, which is no response of "
            "aiohttp's and no HttpResponse of Django's. To stream, return an "
            "aiohttp.web.StreamResponse; for a file, an aiohttp.web.FileResponse; at the end of a "
            "WebSocket, that."
        )
    if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
        response = await run_in_django(response.render)
    return to_aiohttp(response)


async def _after_error(
    match: LiftedMatch, request: web.Request, error: Exception
) -> web.StreamResponse:
    """Return the response to an exception: itself, or the one that Django gives."""
    response: web.StreamResponse
    if isinstance(error, web.HTTPException) and match.started is None:
        response = error
    else:
        response = await answer(request, error)
    if match.has_django_request:
        try:
            await _finish(match, request, response)
        except Exception as another:
            response = await answer(request, another)
    return response


def _caller(pattern: UrlconfPattern) -> Handler:
    check_arguments(pattern)
    view = pattern.view
    if takes_request_alone(view):
        return view

    def call(request: web.Request) -> Awaitable[web.StreamResponse]:
        match: LiftedMatch = request.match_info  # type: ignore[assignment]
        result: Awaitable[web.StreamResponse] = view(request, *match.args, **match.kwargs)
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
            f"The view {pattern.view_name} doesn't fit its URL pattern {pattern}: {error}. "
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
                f"The view {pattern.view_name} doesn't fit its URL pattern {pattern}: {name}(): "
                f"{error}. aiohttp gives the methods of a web.View no values; the strings of the "
                "path are in self.request.match_info."
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
