"""What error reports show of a request for a coroutine view: the debug page and mails to ADMINS."""

from collections.abc import Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractView
from django.http import HttpRequest, QueryDict
from django.views import debug
from django.views.decorators import debug as decorators

from .unreadable import frames_of

MARK = "sensitive_post_parameters"
# How many containers in each other are shown, of a variable with arguments of a call, for example.
MAX_DEPTH = 16

# Django's decorator of that name accepts only a Django request, and sets this attribute of it. Here
# it also accepts what coroutine views get, wherever it stands among their decorators. In its
# development mode aiohttp warns of attributes that it does not know.
decorators.HttpRequest = (HttpRequest, web.BaseRequest, AbstractView)  # type: ignore[attr-defined]
web.Request.ATTRS |= {MARK}


def marked_parameters(request: web.Request, error: BaseException) -> Any:
    """Return what `sensitive_post_parameters()` has marked for a request, None without a mark."""
    marked = getattr(request, MARK, None)
    for frame in frames_of(error.__traceback__):
        view = frame.f_locals.get("self")
        # By its type: a lazy object, as the user of a template, would load what it stands for.
        if issubclass(type(view), AbstractView):  # a decorated method has marked this
            marked = getattr(view, MARK, marked)
    return marked


def reporter_filter() -> Any:
    """Return the project's filter of reports, which also hides what coroutine views get.

    That is fields of forms and headers whose names say that they are secret.
    """
    default: Any = debug.get_default_exception_reporter_filter()
    kind: Any = type(default)
    return _derived(kind)()


def _is_multidict(kind: type) -> bool:
    """Whether this is a type of aiohttp's forms and headers, which give all values of a key.

    Asked of the type: a lazy object may fail, or use the database, when it is asked itself.
    """
    return issubclass(kind, Mapping) and hasattr(kind, "getall")


@lru_cache(maxsize=8)
def _derived(kind: type[Any]) -> type[Any]:
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
            """Of the variables of a frame: aiohttp's forms and headers, also in arguments."""
            value = super().cleanse_special_types(request, value)
            marked = getattr(request, MARK, ()) if self.is_active(request) else ()
            return self._without_secrets(value, marked, ())

        def _without_secrets(self, value: Any, marked: Any, around: tuple[int, ...]) -> Any:
            def shown(name: str, each: Any) -> Any:
                is_hidden = marked == "__ALL__" or name in marked or self._is_secret(name)
                return self.cleansed_substitute if is_hidden else each

            def inner(each: Any) -> Any:
                return self._without_secrets(each, marked, (*around, id(value)))

            kind = type(value)
            if _is_multidict(kind):
                return [(name, shown(name, each)) for name, each in value.items()]
            if kind is MappingProxyType:  # as aiohttp gives cookies
                return {name: shown(str(name), each) for name, each in value.items()}
            if kind not in (tuple, list, dict, partial):
                return value
            if id(value) in around or len(around) == MAX_DEPTH:
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
