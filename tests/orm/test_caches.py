"""Which object `caches` gives where: coroutines, ORM threads, threads of the fallback, others."""

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import InvalidCacheBackendError, cache, caches
from django.http import HttpResponse
from django.urls import path

from aiodjango import django_context, get_aio_application, get_aio_routes, run_in_django
from aiodjango.orm import close_thread_caches
from aiodjango.test import close_orm_threads
from tests.orm.caches import Noted
from tests.support.waiting import DEADLINE

HERE = "tests.orm.caches"


def read(request):
    """A sync view."""
    return HttpResponse(f"{threading.get_ident()} {cache.where()} {id(caches['default'])}")


urlpatterns = [path("", read)]


@pytest.fixture(autouse=True)
def shared(settings):
    settings.CACHES = {
        "default": {"BACKEND": f"{HERE}.Noted", "LOCATION": "a", "KEEPS": 1, "TIMEOUT": 7},
        "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "function": {"BACKEND": f"{HERE}.factory"},
        "missing": {"BACKEND": f"{HERE}.Missing"},
    }
    get_aio_routes([])
    caches["default"]  # (what it replaces is closed)
    Noted.events = []
    yield
    close_thread_caches()
    assert close_orm_threads(10)


async def in_task(function):
    """What a function returns in a context that has inherited no cache."""

    async def call():
        for alias in ["default", "local"]:
            try:
                del caches[alias]
            except AttributeError:
                pass
        return function()

    return await asyncio.create_task(call())


def in_plain_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize("alias", ["default", "local"])
async def test_one_object_for_all_requests_and_their_threads(alias):
    def get():
        return caches[alias]

    one = await in_task(get)
    assert await in_task(get) is one
    async with django_context():
        assert await run_in_django(get) is one
        assert await sync_to_async(get)() is one
        assert await sync_to_async(get, thread_sensitive=False)() is one
        assert await asyncio.to_thread(get) is one
    assert await run_in_django(get) is one


async def test_attributes_for_each_thread():
    def look():
        return threading.get_ident(), cache.thread, cache.keeps, cache.default_timeout

    async with django_context():
        seen = [look(), await run_in_django(look), await asyncio.to_thread(look)]
        # The thread is the one in which the call is made, whoever has got the method.
        assert await sync_to_async(cache.where)() == seen[1][0]
    assert len({thread for thread, *_ in seen}) == 3
    assert all(mine == thread for thread, mine, *_ in seen)
    assert {tuple(rest) for _, _, *rest in seen} == {(1, 7)}
    assert isinstance(cache, object)
    assert isinstance(caches["default"], Noted)
    assert type(caches["default"]).__name__ == "Noted"


async def test_a_plain_thread_has_its_own_as_ever():
    own = in_plain_thread(lambda: caches["default"])
    assert type(own) is Noted
    assert own is not caches["default"]
    assert own is not in_plain_thread(lambda: caches["default"])


async def test_closed_with_the_orm_threads():
    thread = await run_in_django(cache.where)
    assert Noted.events == []
    assert close_orm_threads(10)
    assert Noted.events == [("closed", thread)]


async def test_closed_after_a_long_pause(monkeypatch):
    monkeypatch.setattr("aiodjango.orm.thread.CACHE_PAUSE", 0.3)
    thread = await run_in_django(cache.where)
    async with asyncio.timeout(DEADLINE):
        while not Noted.events:
            await asyncio.sleep(0.01)
    assert Noted.events == [("closed", thread)]
    assert await run_in_django(cache.where) == thread


async def test_closed_at_the_end_of_each_request_of_the_fallback(aiohttp_client, settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    client = await aiohttp_client(get_aio_application(threads=1))
    Noted.events = []
    answers = [(await (await client.get("/")).text()).split() for _ in range(3)]
    for mine, thread, _ in answers:
        assert thread == mine
    assert [("closed", int(thread)) for thread, *_ in answers] == Noted.events
    assert len({cache for *_, cache in answers}) == 1
    assert int(answers[0][2]) == id(await in_task(lambda: caches["default"]))


def test_an_overridden_setting_makes_another(settings):
    before = caches["default"], caches["local"]
    settings.CACHES = {**settings.CACHES, "default": {**settings.CACHES["default"], "TIMEOUT": 8}}
    assert caches["default"] is not before[0]
    assert caches["default"].default_timeout == 8
    assert before[0].default_timeout == 7


async def test_a_backend_that_is_no_class():
    """Django makes it: one for each context."""
    assert isinstance(caches["function"], Noted)
    assert await in_task(lambda: caches["function"].where()) == threading.get_ident()


def test_a_backend_that_is_missing():
    with pytest.raises(InvalidCacheBackendError, match=r"caches\.Missing"):
        caches["missing"]
    with pytest.raises(InvalidCacheBackendError, match="'none'"):
        caches["none"]
