"""Django's decorators that stand around a coroutine view."""

from collections.abc import Iterator
from typing import Any

from aiohttp.abc import AbstractView
from django.core.exceptions import ImproperlyConfigured

from aiodjango.urlconf.patterns import UrlconfPattern, view_layers

CSRF_EXEMPT = "django.views.decorators.csrf.csrf_exempt"
FRAME_OPTIONS_EXEMPT = "django.views.decorators.clickjacking.xframe_options_exempt"
SENSITIVE_POST_PARAMETERS = "django.views.decorators.debug.sensitive_post_parameters"
# login_required() and permission_required() are made of it.
USER_PASSES_TEST = "django.contrib.auth.decorators.user_passes_test"


def django_decorators(view: Any) -> Iterator[str]:
    """The dotted names of Django's own decorators that a view wears."""
    for layer in view_layers(view):
        module = getattr(layer, "__globals__", {}).get("__name__", "")
        if module.startswith("django."):
            # The wrapper itself bears the name of the view.
            decorator = layer.__code__.co_qualname.partition(".")[0]
            yield f"{module}.{decorator}"


def check_login_decorators(pattern: UrlconfPattern) -> None:
    """Raise ImproperlyConfigured for a coroutine view under Django's login_required() and kin."""
    if USER_PASSES_TEST in django_decorators(pattern.view):
        raise ImproperlyConfigured(
            f"The coroutine view {pattern.view_name} at {pattern} has a decorator of "
            "django.contrib.auth.decorators, which needs Django's request. "
            f"{pattern.way_to_django}Use aiodjango's aio_login_required or "
            "aio_permission_required instead of login_required, permission_required and "
            "user_passes_test."
        )


def check_decorated_class(pattern: UrlconfPattern) -> None:
    """Raise ImproperlyConfigured for a `web.View` class that a decorator has made a function.

    No class any more, it would be left to Django, which can't call it.
    """
    view_class = _decorated_class(pattern.view)
    if view_class is None or pattern.is_lifted:
        return
    way_out = "Decorate its methods, or use a decorator that gives a class."
    if CSRF_EXEMPT in django_decorators(pattern.view):
        way_out = (
            f"Instead of @csrf_exempt write `csrf_exempt = True` in class {view_class.__name__}."
        )
    raise ImproperlyConfigured(
        f"The view {pattern.view_name} at {pattern} is a web.View class that a decorator has made "
        f"a function, which neither aiohttp nor Django can call. {way_out}"
    )


def _decorated_class(view: Any) -> type[AbstractView] | None:
    *_, innermost = view_layers(view)
    if view is innermost or not isinstance(innermost, type):
        return None
    return innermost if issubclass(innermost, AbstractView) else None
