"""System checks: what each finds, and the way out that it names."""

import re
import subprocess
import sys
import types

import pytest
from aiohttp import web
from django.conf.urls.i18n import i18n_patterns
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.urls import URLPattern, include, path
from django.urls.resolvers import RoutePattern

from aiodjango import django_view, get_aio_subapp
from aiodjango.checks import check_settings, check_urlconf
from tests.support.environment import ROOT, environment

from . import check_urls


@pytest.fixture
def urlconf(settings):
    """Sets ROOT_URLCONF to a list of patterns."""

    def use(patterns):
        module = types.ModuleType("checked_urls")
        module.urlpatterns = patterns
        settings.ROOT_URLCONF = module

    return use


def found(messages):
    return [(message.id, message.msg) for message in messages]


def test_a_project_in_order_has_no_messages(urlconf):
    urlconf(check_urls.fine)
    assert found([*check_settings(), *check_urlconf()]) == []


def test_error_handlers_are_sync_views(urlconf, settings):
    urlconf(check_urls.fine)
    settings.ROOT_URLCONF.handler403 = "django.views.defaults.permission_denied"
    settings.ROOT_URLCONF.handler404 = check_urls.aio_view
    settings.ROOT_URLCONF.handler500 = "no.such.view"  # Django's own check finds it
    (error,) = check_urlconf()
    assert error.id == "aiodjango.E008"
    assert "handler404 is the coroutine function tests.checks.check_urls.aio_view" in error.msg


def test_a_project_without_a_urlconf_has_no_messages(settings):
    del settings.ROOT_URLCONF
    assert check_urlconf() == []


def test_lifting_that_takes_paths_from_an_earlier_sync_pattern(urlconf):
    urlconf(check_urls.shadowing)
    messages = check_urlconf()
    assert {message.id for message in messages} == {"aiodjango.W002"}
    assert [message.msg.split(": coroutine")[0] for message in messages] == [
        "The coroutine view tests.checks.check_urls.aio_view at 'a/new/' [name='new'] answers "
        "paths of the pattern 'a/<slug:x>/' [name='slug'] before it "
        "(tests.checks.check_urls.sync_view), such as /a/new/",
        "The coroutine view tests.checks.check_urls.aio_view at '^(?P<year>[0-9]{4})/$' answers "
        "paths of the pattern '<int:number>/' before it "
        "(tests.checks.check_urls.sync_view), such as /2026/",
        "The coroutine view tests.checks.check_urls.aio_view at "
        "'<slug:x>/<uuid:key>/<slug:y>/' answers paths of the pattern 'd/<uuid:key>/<int:n>/' "
        "before it (tests.checks.check_urls.SyncClassView), such as "
        "/d/00000000-0000-4000-8000-000000000000/1/",
        "The coroutine view tests.checks.check_urls.aio_view at 'e/<int:year>/<path:rest>' "
        "answers paths of the pattern '^e/(?P<year>[0-9]{4})/(?P<rest>.*)$' before it "
        "(tests.checks.check_urls.sync_view), such as /e/2026/1",
        "The coroutine view tests.checks.check_urls.aio_view at '^g/(\\w+)/edit/$' answers paths "
        "of the pattern '^g/(\\d+)/edit/$' before it (tests.checks.check_urls.sync_view), such as "
        "/g/1/edit/",
    ]
    assert all("preserve_order=True" in message.hint for message in messages)


def test_a_view_that_its_pattern_cannot_fill(urlconf):
    urlconf(check_urls.mismatched)
    (message,) = check_urlconf()
    assert message.id == "aiodjango.E002"
    assert "needs_pk does not fit its URL pattern 'x/': missing a required argument" in message.msg


def test_decorators_of_djangos_that_need_its_request(urlconf):
    urlconf(check_urls.decorated)
    first, second, third = check_urlconf()
    assert first.id == second.id == third.id == "aiodjango.E003"
    assert "decorator django.contrib.auth.decorators.user_passes_test needs" in first.msg
    assert "decorator django.views.decorators.cache.never_cache needs" in second.msg
    assert "django_view(view)" in first.hint
    assert "Look at request.method in the view" in third.hint


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that counts as installed, with async views."""
    (tmp_path / "installed_shop.py").write_text(
        "from aiohttp import web\n"
        "from django.urls import path\n"
        "async def plain(request): ...\n"
        "from django.contrib.auth.decorators import login_required\n"
        "async def detail(request, pk, more): ...\n"
        "@login_required\n"
        "async def private(request): ...\n"
        "async def for_aiohttp(request: web.Request): ...\n"
        "class ClassView(web.View): ...\n"
        "urlpatterns = [path('p/', plain), path('a/', for_aiohttp), path('c/', ClassView)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("aiodjango.urlconf.patterns._package_folders", lambda: [tmp_path])
    import installed_shop

    yield installed_shop
    sys.modules.pop("installed_shop")


def test_async_views_of_an_installed_package(urlconf, package):
    urlconf([path("shop/", include("installed_shop"))])
    (message,) = check_urlconf()
    assert message.id == "aiodjango.W003"
    assert "installed_shop.plain at 'shop/p/' comes from an installed package" in message.msg
    urlconf([path("shop/", django_view(include("installed_shop")))])
    assert check_urlconf() == []


def test_errors_of_an_installed_packages_view_name_django_view_first(urlconf, package):
    """A URLconf of async views for Django, taken in as it is."""
    for pattern, check, rest in (
        (path("d/<int:pk>/", package.detail), "aiodjango.E002", "Declare in the view"),
        (path("l/", package.private), "aiodjango.E003", "Use aiodjango's aio_login_required"),
    ):
        urlconf([pattern])
        error, warning = check_urlconf()
        assert (error.id, warning.id) == (check, "aiodjango.W003")
        way_out = "It comes from an installed package: if it is an async view for Django, leave it"
        assert error.hint.startswith(way_out)
        assert "django_view(include(…))" in error.hint.partition(rest)[0]
        with pytest.raises(ImproperlyConfigured) as raised:
            get_aio_subapp([pattern])
        words = str(raised.value)
        ends = words.find("The pattern gives") if check.endswith("2") else words.find("Use aiodj")
        assert 0 < words.find(way_out) < ends
        urlconf([path("shop/", django_view(include([pattern])))])
        assert check_urlconf() == []


def test_where_packages_are_installed():
    import aiohttp
    import django

    from aiodjango.urlconf.patterns import _is_installed

    assert _is_installed(django.urls.reverse)
    assert _is_installed(aiohttp.web.View)
    assert not _is_installed(check_urls.aio_view)
    assert not _is_installed(check_urls.partial)


def test_a_view_without_a_file_counts_as_the_projects_own(urlconf):
    """As one that is made in a shell."""
    urlconf([path("x/", type("Made", (web.View,), {"__module__": "a_shell"}))])
    assert check_urlconf() == []


def test_localized_patterns_that_overlap_in_each_language_are_told_once(urlconf, settings):
    settings.LANGUAGES = [("en", "English"), ("de", "German")]
    urlconf(
        i18n_patterns(path("<slug:x>/", check_urls.sync_view), path("new/", check_urls.aio_view))
    )
    (message,) = check_urlconf()
    assert message.id == "aiodjango.W002"
    assert re.search(r"as /(en|en-us|de)/new/: coroutine views", message.msg)


def test_order_of_installed_apps(settings):
    settings.INSTALLED_APPS = ["django.contrib.staticfiles", "aiodjango"]
    (message,) = check_settings()
    assert message.id == "aiodjango.W001"
    assert message.hint == "Put 'aiodjango' before 'django.contrib.staticfiles'."


def test_an_aio_application_that_does_not_import(settings):
    settings.AIO_APPLICATION = "tests.checks.nowhere.app"
    (message,) = check_settings()
    assert message.id == "aiodjango.E001"
    assert (
        "AIO_APPLICATION 'tests.checks.nowhere.app' could not be loaded: No module" in message.msg
    )


def test_an_aio_application_factory_that_is_none(settings):
    settings.AIO_APPLICATION_FACTORY = "tests.checks.check_urls.fine"
    (message,) = check_settings()
    assert message.id == "aiodjango.E001"
    assert "AIO_APPLICATION_FACTORY 'tests.checks.check_urls.fine' is a list" in message.msg
    assert "AIO_APPLICATION_FACTORY is the dotted path of a function" in message.hint


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "must be a dotted path such as 'example.wsgi.app', not 5"),
        (
            "tests.checks.check_urls.aio_view",
            "is a function, not an aiohttp.web.Application. Name",
        ),
        ("tests.checks.check_urls.fine", "is a list, not an aiohttp.web.Application"),
    ],
)
def test_an_aio_application_that_is_none(settings, value, text):
    settings.AIO_APPLICATION = value
    (message,) = check_settings()
    assert text in message.msg


WHOLE, SECONDS = "a whole number of at least 1", "a number of seconds greater than 0"
NO_NUMBERS = [0, -1, "8", True, None, float("nan"), float("inf")]


@pytest.mark.parametrize(
    ("name", "rule", "value"),
    [
        *(("AIO_ORM_THREADS", WHOLE, value) for value in [*NO_NUMBERS, 2.5]),
        *(("AIO_TRANSACTION_TIMEOUT", SECONDS, value) for value in NO_NUMBERS),
        *(("AIO_WATCH_INTERVAL", SECONDS, value) for value in NO_NUMBERS),
    ],
)
def test_an_invalid_number(settings, name, rule, value):
    setattr(settings, name, value)
    (message,) = check_settings()
    assert message.id == "aiodjango.E005"
    assert f"{name} must be {rule}, not {value!r}: " in message.msg


def test_they_run_with_manage_py_check(urlconf):
    urlconf(check_urls.mismatched)
    with pytest.raises(SystemCheckError, match=r"aiodjango\.E002"):
        call_command("check")
    assert {check_settings, check_urlconf} <= checks.registry.registry.registered_checks


def test_reading_checks_imports_no_server():
    code = (
        "import sys, django; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['aiodjango']); django.setup();"
        "print([m for m in sys.modules if m.startswith('aiodjango.') and 'dev' in m])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("aioroutes", {"skip_checks": False}),
        ("runserver", {"skip_checks": False, "use_reloader": False}),
        ("check", {}),
        ("check", {"tags": ["urls"]}),
        ("makemigrations", {"skip_checks": False, "dry_run": True}),
    ],
)
def test_a_urlconf_that_includes_itself(urlconf, command, options):
    """Django's own checks would end in a RecursionError."""
    patterns = []
    patterns.append(path("again/", include(patterns)))
    urlconf(patterns)
    with pytest.raises(
        SystemCheckError, match=r"(?s)E007.*includes itself.*include\(\) at 'again/'"
    ):
        call_command(command, **options)


def test_what_is_no_pattern(urlconf):
    """Django's own checks find it too."""
    urlconf([path("/a/", print), ("b/", print)])
    ids = {message.id for message in checks.run_checks(tags=[checks.Tags.urls])}
    assert {"aiodjango.E007", "urls.W002", "urls.E004"} <= ids


def test_another_recursion_error_is_raised(urlconf):
    class Endless(URLPattern):
        def check(self):
            return self.check()

    urlconf([Endless(RoutePattern("a/"), print)])
    with pytest.raises(RecursionError):
        checks.run_checks(tags=[checks.Tags.urls])
