"""Django's decorators that stand around a coroutine view."""

from collections.abc import Iterator
from typing import Any

from aiohttp.abc import AbstractView
from django.core.exceptions import ImproperlyConfigured

from .discovery import UrlconfPattern, view_layers

CSRF_EXEMPT = "django.views.decorators.csrf.csrf_exempt"
FRAME_OPTIONS_EXEMPT = "django.views.decorators.clickjacking.xframe_options_exempt"
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
            "django.contrib.auth.decorators, which needs Django's request. Use aiodjango's "
            "aio_login_required or aio_permission_required instead of login_required, "
            "permission_required and user_passes_test."
        )


def decorated_class(view: Any) -> type[AbstractView] | None:
    """Return the `web.View` class that a decorator has turned into a function, if it has."""
    *_, innermost = view_layers(view)
    if view is innermost or not isinstance(innermost, type):
        return None
    return innermost if issubclass(innermost, AbstractView) else None
