"""System checks of a project that uses aiodjango."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial, wraps
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Advice
from django.core.checks.registry import registry
from django.core.checks.urls import check_url_config, check_url_namespaces_unique
from django.core.exceptions import ImproperlyConfigured, ViewDoesNotExist
from django.urls import get_resolver
from django.utils.module_loading import import_string

from . import conf
from .broadcast.checks import check_broadcast
from .conf import NUMERIC_SETTINGS, load_aio_application, load_aio_application_factory
from .urlconf.patterns import UrlconfPattern, dotted_name, may_be_for_django, read_urlconf
from .urlconf.shadows import find_shadows
from .views.arguments import check_arguments
from .views.decorators import (
    CSRF_EXEMPT,
    FRAME_OPTIONS_EXEMPT,
    SENSITIVE_POST_PARAMETERS,
    USER_PASSES_TEST,
    check_decorated_class,
    django_decorators,
)

# Django's decorators that work with coroutine views too.
HARMLESS_DECORATORS = {CSRF_EXEMPT, FRAME_OPTIONS_EXEMPT, SENSITIVE_POST_PARAMETERS}
# Middlewares whose rules apply to coroutine views too, as do those of classes derived from them.
COVERED_MIDDLEWARES = (
    conf.SESSION,
    conf.AUTHENTICATION,
    conf.LOGIN_REQUIRED,
    conf.SECURITY,
    conf.FRAME_OPTIONS,
    conf.CSRF,
    conf.CSP,
    conf.MESSAGES,
    conf.LOCALE,
    conf.CORS,
)
# Middlewares that coroutine views do not need. Classes derived from them may do more.
NOT_MISSED = {
    "django.middleware.common.CommonMiddleware",
    # They serve files, pages of their own, and logins in Django's views.
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "axes.middleware.AxesMiddleware",
    # They show developers what Django's views do.
    "debug_toolbar.middleware.DebugToolbarMiddleware",
    "silk.middleware.SilkyMiddleware",
}
BYPASSED = "aiodjango.W004"


def check_settings(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the order of INSTALLED_APPS, and the settings of aiodjango."""
    return [*_installed_apps(), *_aio_application(), *_numbers(), *check_broadcast()]


def check_urlconf(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the coroutine views in ROOT_URLCONF."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        patterns = read_urlconf()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="aiodjango.E007")]
    coroutine_views = [pattern for pattern in patterns if pattern.is_coroutine_view]
    messages: list[CheckMessage] = []
    for pattern in coroutine_views:
        messages += _arguments(pattern)
        messages += _decorators(pattern)
    for pattern in patterns:
        check = partial(check_decorated_class, pattern)
        messages += _errors(check, id="aiodjango.E004", obj=pattern.view)
    if coroutine_views:
        messages += _bypassed_middlewares()
    return [
        *messages,
        *_error_handlers(),
        *_shadows(patterns),
        *_foreign_views(coroutine_views),
    ]


def register_checks() -> None:
    """Register the checks, and protect Django's checks from a URLconf that includes itself."""
    checks.register(check_settings)
    checks.register(check_urlconf, checks.Tags.urls)
    recursive: list[Any] = [check_url_config, check_url_namespaces_unique]
    for check in recursive:
        if check in registry.registered_checks:
            registry.registered_checks.remove(check)
            checks.register(_unless_endless(check), checks.Tags.urls)


def _unless_endless(check: Callable[..., list[CheckMessage]]) -> Callable[..., list[CheckMessage]]:
    """Return a check that is silent where it does not end: check_urlconf() reports that."""

    @wraps(check)
    def checked(**kwargs: Any) -> list[CheckMessage]:
        try:
            return check(**kwargs)
        except RecursionError:
            try:
                read_urlconf()
            except ImproperlyConfigured:
                return []
            raise

    return checked


def _errors(check: Callable[[], object], **options: Any) -> Iterator[CheckMessage]:
    """Yield the ImproperlyConfigured that a function raises. options: those of Error."""
    try:
        check()
    except ImproperlyConfigured as error:
        yield Error(str(error), **options)


def _error_handlers() -> Iterator[CheckMessage]:
    for status in 400, 403, 404, 500:
        # What cannot be imported is reported by Django's own check.
        with suppress(ImportError, AttributeError, ViewDoesNotExist):
            handler = get_resolver().resolve_error_handler(status)
            if iscoroutinefunction(handler):
                yield Error(
                    f"handler{status} is the coroutine function {dotted_name(handler)}, but Django "
                    "calls it without `await`.",
                    hint="Write it as a sync view that returns an HttpResponse: it answers for "
                    "coroutine views too.",
                    id="aiodjango.E008",
                )


def _installed_apps() -> Iterator[CheckMessage]:
    names = [config.name for config in apps.get_app_configs()]
    static = "django.contrib.staticfiles"
    if static in names and names.index(static) < names.index("aiodjango"):
        yield Advice(
            f"'aiodjango' comes after '{static}' in INSTALLED_APPS, so `manage.py runserver` "
            "is that of Django and serves no coroutine view.",
            hint=f"Put 'aiodjango' before '{static}'.",
            id="aiodjango.W001",
        )


def _aio_application() -> Iterator[CheckMessage]:
    hints = {
        load_aio_application: "AIO_APPLICATION is the dotted path of an aiohttp application, such "
        "as 'example.wsgi.app'. Without it `manage.py runserver` creates one.",
        load_aio_application_factory: "AIO_APPLICATION_FACTORY is the dotted path of a function "
        "that returns a new aiohttp application, such as 'example.wsgi.make_app'.",
    }
    for load, hint in hints.items():
        yield from _errors(load, hint=hint, id="aiodjango.E001")


def _numbers() -> Iterator[CheckMessage]:
    hint = "Remove the setting to use the default."
    for read in NUMERIC_SETTINGS:
        yield from _errors(read, hint=hint, id="aiodjango.E005")


def _arguments(pattern: UrlconfPattern) -> Iterator[CheckMessage]:
    return _errors(
        partial(check_arguments, pattern),
        hint=pattern.way_to_django
        + "Declare in the view what its pattern gives, or only the request.",
        obj=pattern.view,
        id="aiodjango.E002",
    )


# What to write instead of Django's decorators, by what their dotted names begin with.
_WAYS_OUT = {
    "django.views.decorators.http.": (
        "Look at request.method in the view, or write an aiohttp web.View"
    ),
    "django.views.decorators.cache.": 'Set response.headers["Cache-Control"] in the view',
    "django.views.decorators.vary.": 'Set response.headers["Vary"] in the view',
    USER_PASSES_TEST: (
        "Use aiodjango's aio_login_required or aio_permission_required instead of "
        "login_required, permission_required and user_passes_test"
    ),
    "django.utils.decorators.make_middleware_decorator": (
        "Remove the decorator (csrf_protect(), ensure_csrf_cookie(), cache_page() or gzip_page(); "
        "coroutine views need no CSRF token, because the origin is checked)"
    ),
}


def _decorators(pattern: UrlconfPattern) -> Iterator[CheckMessage]:
    for decorator in django_decorators(pattern.view):
        if decorator in HARMLESS_DECORATORS:
            continue
        way_out = next(
            (way for prefix, way in _WAYS_OUT.items() if decorator.startswith(prefix)),
            "Remove the decorator",
        )
        yield Error(
            f"Django's decorator {decorator} needs an HttpRequest, but the coroutine view "
            f"{pattern.view_name} at {pattern} gets an aiohttp request.",
            hint=f"{pattern.way_to_django}{way_out}, or leave the view to Django: annotate its "
            "request as HttpRequest, or write django_view(view) in the URLconf.",
            obj=pattern.view,
            id="aiodjango.E003",
        )


def _bypassed_middlewares() -> Iterator[CheckMessage]:
    if BYPASSED in settings.SILENCED_SYSTEM_CHECKS:
        return  # for all middlewares, also those installed later
    for path in settings.MIDDLEWARE:
        kind = import_string(path)
        if path in NOT_MISSED or any(
            conf.is_derived(kind, covered) for covered in COVERED_MIDDLEWARES
        ):
            continue
        check = f"{BYPASSED}.{path}"
        yield Advice(
            f"Coroutine views bypass the middleware {path}.",
            hint="It has no effect on the coroutine views in the URLconf. If that is intended, "
            f"add {check!r} to SILENCED_SYSTEM_CHECKS.",
            id=check,
        )


def _shadows(patterns: list[UrlconfPattern]) -> Iterator[CheckMessage]:
    for shadow in find_shadows(patterns):
        yield Advice(
            f"The coroutine view {shadow.coroutine.view_name} at {shadow.coroutine} answers paths "
            f"of the pattern {shadow.sync} before it ({shadow.sync.view_name}), such as "
            f"/{shadow.path}: coroutine views come first.",
            hint="Put the coroutine view's pattern first, change one of the patterns, or keep the "
            "order with get_aio_application(…, preserve_order=True) and silence this check.",
            id="aiodjango.W002",
        )


def _foreign_views(coroutine_views: list[UrlconfPattern]) -> Iterator[CheckMessage]:
    for pattern in coroutine_views:
        if may_be_for_django(pattern.view):
            yield Advice(
                f"The coroutine view {pattern.view_name} at {pattern} comes from an installed "
                "package. It may be an async view for Django, which fails with an aiohttp request.",
                hint="Leave it to Django: path(…, django_view(include(…))). Or silence this check "
                "if the view is made for aiohttp.",
                obj=pattern.view,
                id="aiodjango.W003",
            )
