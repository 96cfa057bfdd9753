"""Django's session, user and permissions inside a coroutine view."""

import functools
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar, overload

from aiohttp import web
from aiohttp.abc import AbstractView
from asgiref.sync import iscoroutinefunction
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

from aiodjango.conf import LOGIN_REQUIRED, installed
from aiodjango.fallback import FALLBACK
from aiodjango.urlconf.mount import urls_under

from .request import RequestMiddleware, django_request, is_handshake, no_view
from .response import to_aiohttp

V = TypeVar("V", bound=Callable[..., Any])

Test = Callable[[Any], Awaitable[bool]]


async def aget_session(request: web.Request) -> SessionBase:
    """Return Django's session of a request, the same one each time.

    It is loaded already, so that `session["key"]` and `session["key"] = value` need no await.
    A changed session is saved, and its cookie set, with the view's response; what changes after
    that has begun needs an `await session.asave()`.
    """
    django = django_request(request)
    await django.session.akeys()
    if not django.is_session_loaded:
        django.is_session_loaded = True
        RequestMiddleware.current().session_loaded(django)
    session: SessionBase = django.session
    return session


async def aget_user(request: web.Request) -> Any:
    """Return the user who has sent a request, an AnonymousUser for one who is not logged in.

    The session is verified as Django does. The user is loaded once for a request, and is from then
    on `django_request(request).user` too, so that templates can show it.
    """
    django = django_request(request)
    if request.writer.output_size > 0:
        # Django renews the session's key when a fallback secret has signed it. The browser would
        # not receive the new key any more, and its user would be logged out.
        django.session.acycle_key = _keep_key
    django.user = await django.auser()
    return django.user


async def _keep_key() -> None:
    pass


# ---- Decorators ----


@overload
def aio_login_required(view: V) -> V: ...
@overload
def aio_login_required(
    view: None = None, redirect_field_name: str = ..., login_url: str | None = ...
) -> Callable[[V], V]: ...
def aio_login_required(
    view: Any = None,
    redirect_field_name: str = REDIRECT_FIELD_NAME,
    login_url: str | None = None,
) -> Any:
    """Allow a coroutine view only to users who are logged in.

    For coroutine functions, `web.View` classes and their methods, with or without arguments. Others
    are redirected to the login page, as by Django's `login_required`; a WebSocket handshake is
    answered 401.

    redirect_field_name: the query parameter of the login page for the page to return to.
    login_url: the login page; None for the setting LOGIN_URL.
    """
    requirement = Requirement(_is_logged_in, redirect_field_name, login_url)
    return requirement.protect if view is None else requirement.protect(view)


def aio_permission_required(
    perm: str | Sequence[str], login_url: str | None = None, raise_exception: bool = False
) -> Callable[[V], V]:
    """Allow a coroutine view only to users with a permission, or with all of several.

    For the same views as `aio_login_required`. Others are redirected to the login page, as by
    Django's `permission_required`; a WebSocket handshake is answered 403, or 401 without a login.

    login_url: the login page; None for the setting LOGIN_URL.
    raise_exception: raise PermissionDenied instead, which answers 403.
    """
    perms = (perm,) if isinstance(perm, str) else tuple(perm)

    async def has_permission(user: Any) -> bool:
        if await user.ahas_perms(perms):
            return True
        if raise_exception:
            raise PermissionDenied
        return False

    return Requirement(has_permission, REDIRECT_FIELD_NAME, login_url).protect


async def _is_logged_in(user: Any) -> bool:
    return bool(user.is_authenticated)


class Requirement:
    """A test of users, and the login page for those who fail it."""

    def __init__(self, test: Test, redirect_field_name: str, login_url: str | None) -> None:
        self._test = test
        # LoginRequiredMiddleware reads attributes of a view with these names.
        self.redirect_field_name = redirect_field_name
        self.login_url = login_url

    def protect(self, view: V) -> V:
        """Return a view for users who pass. Raises TypeError for what is no coroutine view."""
        protected: Any
        if isinstance(view, type) and issubclass(view, AbstractView):
            protected = self._protect_class(view)
        elif iscoroutinefunction(view):
            protected = self._protect_function(view)
        else:
            raise TypeError(
                f"{view!r} is no coroutine view. For Django's own views there are login_required "
                "and permission_required."
            )
        protected.redirect_field_name = self.redirect_field_name
        protected.login_url = self.login_url
        return protected  # type: ignore[no-any-return]

    def _protect_function(self, view: Callable[..., Awaitable[Any]]) -> Any:
        @functools.wraps(view)
        async def protected(subject: Any, *args: Any, **kwargs: Any) -> Any:
            # A method of a `web.View` has its request as an attribute.
            request = subject.request if isinstance(subject, AbstractView) else subject
            refusal = await self.refuse(request)
            return await view(subject, *args, **kwargs) if refusal is None else refusal

        return protected

    def _protect_class(self, view: type[AbstractView]) -> type[AbstractView]:
        requirement = self

        class Protected(view):  # type: ignore[misc, valid-type]
            def __await__(self) -> Generator[Any, None, web.StreamResponse]:
                refusal = yield from requirement.refuse(self.request).__await__()
                if refusal is not None:
                    return refusal
                response: web.StreamResponse = yield from super().__await__()
                return response

        for name in functools.WRAPPER_ASSIGNMENTS:
            setattr(Protected, name, getattr(view, name))
        return Protected

    async def refuse(self, request: web.Request) -> web.StreamResponse | None:
        """Return a redirection to the login page, None for a user who passes.

        Raises HTTPUnauthorized and HTTPForbidden for a WebSocket handshake.
        """
        if await self._test(await aget_user(request)):
            return None
        middleware = import_string(LOGIN_REQUIRED)(no_view)
        return _refusal(request, lambda django: middleware.handle_no_permission(django, self))


class LoginRule:
    """LoginRequiredMiddleware, where it is installed."""

    def __init__(self) -> None:
        kind = installed(LOGIN_REQUIRED)
        self._middleware: Any = kind and kind(no_view)

    def applies_to(self, view: Any) -> bool:
        return self._middleware is not None and getattr(view, "login_required", True)

    async def refuse(self, request: web.Request, view: Any) -> web.StreamResponse | None:
        """Return its answer to a request that it refuses, None for any other request.

        Raises HTTPUnauthorized for a WebSocket handshake that it refuses.
        """
        await aget_user(request)
        judge = self._middleware.process_view
        return _refusal(request, lambda django: judge(django, view, (), {}))


def _refusal(
    request: web.Request, judge: Callable[[HttpRequest], HttpResponseBase | None]
) -> web.StreamResponse | None:
    """Return a middleware's answer to a request that it refuses, None for any other request.

    Raises HTTPUnauthorized and HTTPForbidden for a WebSocket handshake, which follows no redirect.
    """
    django = django_request(request)
    # The login page is a Django view: a coroutine view may have another URLconf and mount.
    fallback = request.config_dict.get(FALLBACK)
    with nullcontext() if fallback is None else urls_under(fallback.mount):
        refusal = judge(django)
    if refusal is None:
        return None
    if is_handshake(request):
        raise web.HTTPForbidden() if django.user.is_authenticated else web.HTTPUnauthorized()
    return to_aiohttp(refusal)
