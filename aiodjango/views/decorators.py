"""Django's decorators on coroutine views."""

from collections.abc import Iterator
from typing import Any

from aiohttp.abc import AbstractView
from django.core.exceptions import ImproperlyConfigured

from aiodjango.urlconf.patterns import UrlconfPattern, view_layers

CSRF_EXEMPT = "django.views.decorators.csrf.csrf_exempt"
FRAME_OPTIONS_EXEMPT = "django.views.decorators.clickjacking.xframe_options_exempt"
SENSITIVE_POST_PARAMETERS = "django.views.decorators.debug.sensitive_post_parameters"
# login_required() and permission_required() use it.
USER_PASSES_TEST = "django.contrib.auth.decorators.user_passes_test"


def django_decorators(view: Any) -> Iterator[str]:
    """Yield the dotted names of Django's own decorators on a view."""
    for layer in view_layers(view):
        module = getattr(layer, "__globals__", {}).get("__name__", "")
        if module.startswith("django."):
            # (The wrapper's own name is that of the view.)
            decorator = layer.__code__.co_qualname.partition(".")[0]
            yield f"{module}.{decorator}"


def check_login_decorators(pattern: UrlconfPattern) -> None:
    """Raise ImproperlyConfigured for a coroutine view under login_required() or a similar one."""
    if USER_PASSES_TEST in django_decorators(pattern.view):
        raise ImproperlyConfigured(
            f"The coroutine view {pattern.view_name} at {pattern} has a decorator of "
            "django.contrib.auth.decorators, which needs Django's request. "
            f"{pattern.way_to_django}Use aiodjango's aio_login_required or "
            "aio_permission_required instead of login_required, permission_required and "
            "user_passes_test."
        )


def check_decorated_class(pattern: UrlconfPattern) -> None:
    """Raise ImproperlyConfigured for a `web.View` class that a decorator replaced by a function.

    It would be left to Django, which cannot call it.
    """
    *_, innermost = view_layers(pattern.view)
    is_class = isinstance(innermost, type) and issubclass(innermost, AbstractView)
    if not is_class or innermost is pattern.view or pattern.is_coroutine_view:
        return
    way_out = "Decorate its methods, or use a decorator that returns a class."
    if CSRF_EXEMPT in django_decorators(pattern.view):
        way_out = (
            f"Instead of @csrf_exempt write `csrf_exempt = True` in class {innermost.__name__}."
        )
    raise ImproperlyConfigured(
        f"The view {pattern.view_name} at {pattern} is a web.View class that a decorator has made "
        f"a function, which neither aiohttp nor Django can call. {way_out}"
    )
