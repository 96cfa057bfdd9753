"""What error reports show of a request for a coroutine view: the debug page and mails to ADMINS."""

from collections.abc import Mapping
from functools import lru_cache, partial
from traceback import walk_tb
from types import MappingProxyType
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractView
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, QueryDict
from django.views import debug
from django.views.decorators import debug as decorators

from .request import DjangoRequest, django_request
from .security import has_short_content_type

_MARK = "sensitive_post_parameters"
# How many containers in each other are shown, of a variable with arguments of a call, for example.
_MAX_DEPTH = 16

# Django's decorator of that name accepts only a Django request, and sets this attribute of it. Here
# it also accepts what coroutine views get, in any order of their decorators. In its development
# mode aiohttp warns of attributes that it does not know.
decorators.HttpRequest = (HttpRequest, web.BaseRequest, AbstractView)  # type: ignore[attr-defined]
web.Request.ATTRS |= {_MARK}


def reported(request: web.Request, error: Exception) -> DjangoRequest:
    """Return Django's view of a request as reports of an error may show it."""
    django = django_request(request)
    if not hasattr(django, "exception_reporter_filter"):
        kind: Any = type(debug.get_default_exception_reporter_filter())
        django.exception_reporter_filter = _derived(kind)()
    marked = getattr(request, _MARK, None)
    for frame, _ in walk_tb(error.__traceback__):
        view = frame.f_locals.get("self")
        # By its type: a lazy object, as the user of a template, would be loaded.
        if issubclass(type(view), AbstractView):  # a decorated method has marked this
            marked = getattr(view, _MARK, marked)
    if marked is not None:
        setattr(django, _MARK, marked)
    return django


async def add_form(request: web.Request, django: DjangoRequest) -> None:
    """Add to Django's view of a request the form that the coroutine view has read."""
    if not has_short_content_type(request):
        return
    is_form = request.content_type == "application/x-www-form-urlencoded"
    if is_form and request.content.at_eof():
        try:
            django.POST = QueryDict(await request.read(), encoding=request.charset or "utf-8")
        except (SuspiciousOperation, LookupError, web.HTTPException):
            pass  # more fields than Django accepts, or an unknown charset


@lru_cache(maxsize=8)
def _derived(kind: type[Any]) -> type[Any]:
    """Derive from the project's filter one that hides secret fields of forms and headers too."""

    class ReporterFilter(kind):  # type: ignore[misc]
        def get_post_parameters(self, request: Any) -> Any:
            shown = super().get_post_parameters(request)
            if not isinstance(shown, QueryDict):
                return shown
            cleansed = shown.copy()
            for name in shown:
                if self._is_secret(name):
                    cleansed[name] = self.cleansed_substitute
            return cleansed

        def cleanse_special_types(self, request: Any, value: Any) -> Any:
            """Hide secrets in aiohttp's forms and headers among the variables of a frame."""
            value = super().cleanse_special_types(request, value)
            marked = getattr(request, _MARK, ()) if self.is_active(request) else ()
            return self._without_secrets(value, marked, ())

        def _without_secrets(self, value: Any, marked: Any, around: tuple[int, ...]) -> Any:
            def shown(name: str, each: Any) -> Any:
                is_hidden = marked == "__ALL__" or name in marked or self._is_secret(name)
                return self.cleansed_substitute if is_hidden else each

            def inner(each: Any) -> Any:
                return self._without_secrets(each, marked, (*around, id(value)))

            kind = type(value)  # a lazy object may fail, or use the database
            if issubclass(kind, Mapping) and hasattr(kind, "getall"):  # aiohttp's forms and headers
                return [(name, shown(name, each)) for name, each in value.items()]
            if kind is MappingProxyType:  # as aiohttp gives cookies
                return {name: shown(str(name), each) for name, each in value.items()}
            if kind not in (tuple, list, dict, partial):
                return value
            if id(value) in around or len(around) == _MAX_DEPTH:
                return ...
            if kind is dict:
                return {name: inner(each) for name, each in value.items()}
            if kind is partial:
                return partial(value.func, *inner(value.args), **inner(value.keywords))
            return kind(map(inner, value))

        def _is_secret(self, name: str) -> bool:
            key = name.upper().replace("-", "_")
            return any(self.cleanse_setting(each, "") != "" for each in (name, f"HTTP_{key}"))

    return ReporterFilter
