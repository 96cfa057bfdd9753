"""System checks of a project that uses aiodjango."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Advice
from django.core.checks.registry import registry
from django.core.checks.urls import check_url_config, check_url_namespaces_unique
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from . import conf
from .broadcast.checks import check_broadcast
from .conf import (
    load_aio_application,
    load_aio_application_factory,
    orm_thread_count,
    transaction_timeout,
    watch_interval,
)
from .urlconf.patterns import UrlconfPattern, may_be_for_django, read_urlconf
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

# Django's decorators that hold for coroutine views too.
HARMLESS_DECORATORS = {CSRF_EXEMPT, FRAME_OPTIONS_EXEMPT, SENSITIVE_POST_PARAMETERS}
# Middlewares, and what is derived from them, whose rules hold for coroutine views too.
COVERED_MIDDLEWARES = (
    conf.SESSION,
    conf.AUTHENTICATION,
    conf.LOGIN_REQUIRED,
    conf.SECURITY,
    conf.FRAME_OPTIONS,
    conf.CSRF,
    conf.CSP,
    conf.LOCALE,
    conf.CORS,
)
# Middlewares that coroutine views lose nothing by. What is derived from them may do more.
NOT_MISSED = {
    "django.middleware.common.CommonMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "aiodjango.middleware.LiftedViewMiddleware",
    # They serve what is no coroutine view: files, pages of their own, Django's own logins.
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "axes.middleware.AxesMiddleware",
    # They show to developers what Django's own views do.
    "debug_toolbar.middleware.DebugToolbarMiddleware",
    "silk.middleware.SilkyMiddleware",
}
BYPASSED = "aiodjango.W004"


def check_settings(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """The order of INSTALLED_APPS, and the settings of aiodjango."""
    return [*_installed_apps(), *_aio_application(), *_numbers(), *check_broadcast()]


def check_urlconf(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """The coroutine views in ROOT_URLCONF."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        patterns = read_urlconf()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="aiodjango.E007")]
    lifted = [pattern for pattern in patterns if pattern.is_lifted]
    messages: list[CheckMessage] = []
    for pattern in lifted:
        messages += _arguments(pattern)
        messages += _decorators(pattern)
    for pattern in patterns:
        messages += _decorated_class(pattern)
    if lifted:
        messages += _bypassed_middlewares()
    return [*messages, *_shadows(patterns), *_foreign_views(lifted)]


def register_checks() -> None:
    """Register the checks. Django's own checks of URLs leave a URLconf without end to ours."""
    checks.register(check_settings)
    checks.register(check_urlconf, checks.Tags.urls)
    unending: list[Any] = [check_url_config, check_url_namespaces_unique]
    for check in unending:
        if check in registry.registered_checks:
            registry.registered_checks.remove(check)
            checks.register(_unless_endless(check), checks.Tags.urls)


def _unless_endless(check: Callable[..., list[CheckMessage]]) -> Callable[..., list[CheckMessage]]:
    """Return a check that finds nothing where it would not end, because check_urlconf() does."""

    @functools.wraps(check)
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


def _installed_apps() -> Iterator[CheckMessage]:
    names = [config.name for config in apps.get_app_configs()]
    static = "django.contrib.staticfiles"
    if static in names and names.index(static) < names.index("aiodjango"):
        yield Advice(
            f"'aiodjango' stands after '{static}' in INSTALLED_APPS, so `manage.py runserver` "
            "is Django's own and serves no coroutine view.",
            hint=f"Put 'aiodjango' before '{static}'.",
            id="aiodjango.W001",
        )


def _aio_application() -> Iterator[CheckMessage]:
    hints = {
        load_aio_application: "AIO_APPLICATION is the dotted path of an aiohttp application, as "
        "'example.wsgi.app'. Without it `manage.py runserver` builds one.",
        load_aio_application_factory: "AIO_APPLICATION_FACTORY is the dotted path of a function "
        "that makes a new aiohttp application, as 'example.wsgi.make_app'.",
    }
    for load, hint in hints.items():
        try:
            load()
        except ImproperlyConfigured as error:
            yield Error(str(error), hint=hint, id="aiodjango.E001")


def _numbers() -> Iterator[CheckMessage]:
    for read_setting in (orm_thread_count, transaction_timeout, watch_interval):
        try:
            read_setting()
        except ImproperlyConfigured as error:
            yield Error(
                str(error),
                hint="Leave the setting out for the default.",
                id="aiodjango.E005",
            )


def _arguments(pattern: UrlconfPattern) -> Iterator[CheckMessage]:
    try:
        check_arguments(pattern)
    except ImproperlyConfigured as error:
        yield Error(
            str(error),
            hint=pattern.way_to_django
            + "Let the view declare what its pattern gives, or the request alone.",
            obj=pattern.view,
            id="aiodjango.E002",
        )


def _decorators(pattern: UrlconfPattern) -> Iterator[CheckMessage]:
    for decorator in django_decorators(pattern.view):
        if decorator in HARMLESS_DECORATORS:
            continue
        way_out = "Remove the decorator"
        if decorator.startswith("django.views.decorators.http."):
            way_out = "Look at request.method in the view, or write an aiohttp web.View"
        elif decorator == USER_PASSES_TEST:
            way_out = (
                "Use aiodjango's aio_login_required or aio_permission_required instead of "
                "login_required, permission_required and user_passes_test"
            )
        yield Error(
            f"Django's decorator {decorator} needs an HttpRequest, but the coroutine view "
            f"{pattern.view_name} at {pattern} gets aiohttp's request.",
            hint=f"{pattern.way_to_django}{way_out}, or leave the view to Django: annotate its "
            "request as HttpRequest, or write django_view(view) in the URLconf.",
            obj=pattern.view,
            id="aiodjango.E003",
        )


def _decorated_class(pattern: UrlconfPattern) -> Iterator[CheckMessage]:
    try:
        check_decorated_class(pattern)
    except ImproperlyConfigured as error:
        yield Error(str(error), obj=pattern.view, id="aiodjango.E004")


def _bypassed_middlewares() -> Iterator[CheckMessage]:
    if BYPASSED in settings.SILENCED_SYSTEM_CHECKS:
        return  # all of them, whatever comes to be installed
    for path in settings.MIDDLEWARE:
        kind = import_string(path)
        if path in NOT_MISSED or any(
            conf.is_derived(kind, covered) for covered in COVERED_MIDDLEWARES
        ):
            continue
        check = f"{BYPASSED}.{path}"
        yield Advice(
            f"Coroutine views bypass the middleware {path}.",
            hint="What it does has no effect on the coroutine views in the URLconf. If that is as "
            f"it should be, add {check!r} to SILENCED_SYSTEM_CHECKS.",
            id=check,
        )


def _shadows(patterns: list[UrlconfPattern]) -> Iterator[CheckMessage]:
    for shadow in find_shadows(patterns):
        yield Advice(
            f"The coroutine view {shadow.lifted.view_name} at {shadow.lifted} answers paths of "
            f"the pattern {shadow.sync} before it ({shadow.sync.view_name}), as "
            f"/{shadow.path}: coroutine views come first.",
            hint="Put the coroutine view's pattern first, make the two differ, or keep the order "
            "by get_aio_application(…, preserve_order=True) and silence this check.",
            id="aiodjango.W002",
        )


def _foreign_views(lifted: list[UrlconfPattern]) -> Iterator[CheckMessage]:
    for pattern in lifted:
        if may_be_for_django(pattern.view):
            yield Advice(
                f"The coroutine view {pattern.view_name} at {pattern} comes from an installed "
                "package. It may be an async view for Django, which aiohttp's request would break.",
                hint="Leave it to Django: path(…, django_view(include(…))). Or silence this check "
                "if the view is made for aiohttp.",
                obj=pattern.view,
                id="aiodjango.W003",
            )
