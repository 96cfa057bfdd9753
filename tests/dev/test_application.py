"""What the command serves: the AIO_APPLICATION setting, or an application of its own."""

import pytest
from aiohttp import web
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

import aiodjango
from aiodjango.dev.server import get_internal_aio_application

from .conftest import get

mounted_outside = web.Application()
mounted_inside = web.Application()
mounted_outside.add_subapp("/inside/", mounted_inside)
good = web.Application()


djangos = get_wsgi_application()


def factory():
    return web.Application()


def test_an_application_is_built_when_the_setting_is_absent(settings):
    settings.ROOT_URLCONF = "tests.dev.project.devsite.nothing"
    with pytest.raises(ModuleNotFoundError, match=r"tests\.dev\.project\.devsite\.nothing"):
        get_internal_aio_application()
    settings.ROOT_URLCONF = type("urls", (), {"urlpatterns": []})
    app = get_internal_aio_application()
    assert aiodjango.FALLBACK in app


def test_the_setting_names_the_application(settings):
    settings.AIO_APPLICATION = f"{__name__}.good"
    assert get_internal_aio_application() is good


def test_the_setting_names_a_function_that_makes_the_application(settings):
    settings.AIO_APPLICATION_FACTORY = f"{__name__}.factory"
    first, second = get_internal_aio_application(), get_internal_aio_application()
    assert isinstance(first, web.Application)
    assert first is not second
    settings.AIO_APPLICATION = f"{__name__}.good"
    assert get_internal_aio_application() is good


async def coroutine_factory():
    return web.Application()


def nothing():
    return None


def used_application():
    return mounted_inside


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (factory, r"must be a dotted path such as 'example\.wsgi\.make_app', not <function"),
        ("nowhere.at.all", r"'nowhere\.at\.all' could not be loaded: No module named 'nowhere'"),
        (f"{__name__}.good", r"an application, .* only once\. Name a function without arguments"),
        (f"{__name__}.__name__", r"is a str, not a function\. Name a function"),
        (f"{__name__}.coroutine_factory", r"is a coroutine function\. Name a function"),
        (f"{__name__}.nothing", r"returned None\. Name a function"),
        (f"{__name__}.used_application", r"has been started already\. Name a function"),
    ],
)
def test_a_setting_that_names_no_factory_says_what_it_names(settings, value, message):
    settings.AIO_APPLICATION_FACTORY = value
    with pytest.raises(ImproperlyConfigured, match=f"^AIO_APPLICATION_FACTORY .*{message}"):
        get_internal_aio_application()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nowhere.at.all", r"'nowhere\.at\.all' could not be loaded: No module named 'nowhere'"),
        (f"{__name__}.missing", r'could not be loaded: Module ".+" does not define a "missing"'),
        ("nodots", r"could not be loaded: nodots doesn't look like a module path"),
        (f"{__name__}.factory", r"is a function, not .+ Name the application itself"),
        (f"{__name__}.djangos", r"is a WSGIHandler, not .+ the one that get_aio_application\(\)"),
        (f"{__name__}.__name__", r"is a str, not an aiohttp\.web\.Application\.$"),
        (f"{__name__}.mounted_inside", "started already, or is mounted in another"),
        (good, r"must be a dotted path such as 'example\.wsgi\.app', not <Application"),
    ],
)
def test_a_setting_that_names_no_application_says_what_it_names(settings, value, message):
    settings.AIO_APPLICATION = value
    with pytest.raises(ImproperlyConfigured, match=f"^AIO_APPLICATION .*{message}"):
        get_internal_aio_application()


async def test_an_application_that_ran_already_is_refused(settings):
    runner = web.AppRunner(factory())
    await runner.setup()
    globals()["used"] = runner.app
    await runner.cleanup()
    settings.AIO_APPLICATION = f"{__name__}.used"
    with pytest.raises(ImproperlyConfigured, match="started already"):
        get_internal_aio_application()


async def test_the_whole_application_is_served(runserver):
    server = await runserver("--noreload", "127.0.0.1:0", DEVSITE_AIO_APPLICATION="devsite.aio.app")
    url = await server.started()
    await server.wait_for("", patience=0)
    assert "8 coroutine views are served" in server.output
    assert await get(f"{url}/") == "the host's own"
    assert await get(f"{url}/site/lifted/") == "lifted, first edition"
    assert await get(f"{url}/site/sync/") == "sync, first edition"
    await server.wait_for('"GET /site/lifted/ HTTP/1.1" 200 21')


@pytest.mark.parametrize("arguments", [["--noreload"], []], ids=["noreload", "reload"])
async def test_a_bad_setting_is_told(runserver, arguments):
    server = await runserver(
        "--skip-checks", "127.0.0.1:0", *arguments, DEVSITE_AIO_APPLICATION="devsite.views.LONG"
    )
    await server.wait_for(
        r"ImproperlyConfigured: AIO_APPLICATION 'devsite\.views\.LONG' is a int, "
        r"not an aiohttp\.web\.Application\.\n"
    )
    assert "Starting" not in server.output
    if arguments:
        assert await server.ended() == 1


async def test_an_application_that_cannot_start_ends_the_command(runserver):
    server = await runserver(
        "--noreload", "127.0.0.1:0", DEVSITE_AIO_APPLICATION="devsite.aio.failing"
    )
    await server.wait_for("RuntimeError: the application cannot start\n")
    assert await server.ended() == 1
