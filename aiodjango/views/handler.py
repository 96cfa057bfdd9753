"""The way of a request through a coroutine view: the site's rules, the view, its response."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from aiodjango.fallback import FALLBACK
from aiodjango.gateway import (
    BODY_TIMEOUT,
    BodyWatch,
    bound_decoded,
    discard_rest,
    ignore_unreadable_dates,
)
from aiodjango.orm import begin_work
from aiodjango.runtime.exits import is_cancellation
from aiodjango.urlconf.patterns import UrlconfPattern

from .arguments import check_arguments, takes_request_alone
from .decorators import check_login_decorators
from .errors import answer
from .match import ViewMatch
from .response import as_response, complete, complete_begun, to_aiohttp
from .site import Site


def make_handler(pattern: UrlconfPattern, site: Site) -> Handler:
    """Return the aiohttp handler that calls a view with what its pattern gives.

    Raises ImproperlyConfigured for one that cannot be called so, or has Django's login decorators.
    """
    check_login_decorators(pattern)
    check_arguments(pattern)
    call = _caller(pattern)
    needs_login = site.login_rule.applies_to(pattern.view)
    call_if_allowed = _with_examination(call, pattern.view, site)
    security, add_headers = site.security, site.security.headers_for(pattern.view)

    async def handler(request: web.Request) -> web.StreamResponse:
        match: ViewMatch = request.match_info  # type: ignore[assignment]
        match.add_headers = add_headers
        match.on_begin = complete_begun
        work = begin_work(request, handler)
        before = None
        try:
            if security.cors is not None:
                await security.cors.ask(request)
            if site.needs_state or match.language is not None:
                before = site.enter(request, match.language)
            if needs_login or not security.passes(request):
                match.needs_examination = True
                response = await call_if_allowed(request)
            else:
                response = await call(request)
            if type(response) is not web.Response:
                response = await as_response(response, pattern)
            is_incomplete = add_headers or match.needs_examination or match.needs_middlewares
            if is_incomplete and match.started is None:
                await complete(request, response)
        except BaseException as raised:
            if is_cancellation(raised):
                raise
            response = await answer(request, raised)
            if isinstance(response, web.HTTPException):  # aiohttp deprecates a return
                raise
        finally:
            match.on_begin = None
            if before is not None:
                before.activate()
            work.end()
            if match.needs_examination:
                discard_rest(request)
        return response

    functools.update_wrapper(handler, pattern.view, updated=())  # not a class's attributes
    return handler


def _caller(pattern: UrlconfPattern) -> Handler:
    """Return the function that calls a view with the arguments that its pattern gives."""
    kind: Any = pattern.view
    if isinstance(kind, type) and issubclass(kind, web.View):
        return _caller_of_class(kind, pattern)
    view = pattern.view
    if takes_request_alone(view):
        return view

    def call(request: web.Request) -> Awaitable[web.StreamResponse]:
        match: ViewMatch = request.match_info  # type: ignore[assignment]
        result: Awaitable[web.StreamResponse] = view(request, *match.args, **match.kwargs)
        return result

    return call


def _caller_of_class(kind: type[web.View], pattern: UrlconfPattern) -> Handler:
    """Return the function that calls a web.View, whose methods may return what functions may.

    aiohttp asserts that a method returns a response of its own.
    """

    async def call(request: web.Request) -> web.StreamResponse:
        view = kind(request)
        name = request.method.lower()
        method = getattr(view, name, None) if request.method in hdrs.METH_ALL else None
        if method is not None:

            async def convert() -> web.StreamResponse:
                result = method()
                if not inspect.isawaitable(result):
                    raise TypeError(
                        f"{pattern.view_name}.{name}() is no coroutine function: write "
                        f"`async def {name}(self)`."
                    )
                response = await result
                if type(response) is web.Response:
                    return response
                return await as_response(response, pattern)

            setattr(view, name, convert)
        return await view

    return call


def _with_examination(call: Handler, view: Callable[..., object], site: Site) -> Handler:
    """Return a function that examines a request before it calls a view, or answers instead."""
    is_exempt = bool(getattr(view, "csrf_exempt", False))
    needs_login = site.login_rule.applies_to(view)

    async def call_if_allowed(request: web.Request) -> web.StreamResponse:
        ignore_unreadable_dates(request)
        answered = site.security.examine(request, is_exempt=is_exempt)
        if answered is not None:
            return to_aiohttp(answered)
        refusal = await site.login_rule.refuse(request, view) if needs_login else None
        if refusal is not None:
            return refusal
        if not request.can_read_body:
            return await call(request)
        bound_decoded(request)
        fallback = request.config_dict.get(FALLBACK)
        with BodyWatch(request, BODY_TIMEOUT if fallback is None else fallback.body_timeout):
            return await call(request)

    return call_if_allowed
