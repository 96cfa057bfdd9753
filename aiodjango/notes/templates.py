"""Django's template engines refuse aiohttp's request.

It has no user, so that every page would be that of a visitor who is not logged in.
"""

import functools
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from aiohttp import web
from django.conf import settings
from django.template import RequestContext


def guard_templates() -> None:
    """Have the project's template engines refuse aiohttp's request with an error that helps.

    They have no hook for it: all that `render()`, `render_to_string()` and TemplateResponse do
    ends in the `render()` of an engine's templates. A RequestContext can be used without.
    """
    _guard(RequestContext, "__init__")
    for engine in settings.TEMPLATES:
        with suppress(ImportError):  # Django's own error explains an engine that is not installed
            module = import_module(engine["BACKEND"].rpartition(".")[0])
            if hasattr(module, "Template"):
                _guard(module.Template, "render")


def _guard(kind: type[Any], name: str) -> None:
    function: Callable[..., Any] = getattr(kind, name)
    if not hasattr(function, "refuses_aiohttp"):
        setattr(kind, name, _refusing(function))


def _refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, web.BaseRequest) for value in (*args, *kwargs.values())):
            raise TypeError(
                "A template was given aiohttp's request, which has no user, session or CSRF token. "
                "Write render(django_request(request), ...), with aiodjango.django_request; where "
                "the template shows the user, await aget_user(request) before, or render in "
                "run_in_django()."
            )
        return function(*args, **kwargs)

    refusing.refuses_aiohttp = True  # type: ignore[attr-defined]
    return refusing
