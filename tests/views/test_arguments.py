"""What a coroutine view is called with, and the errors where view and pattern don't fit."""

import functools

import pytest
from aiohttp import web
from django.core.exceptions import ImproperlyConfigured
from django.urls import include, path, re_path

from aiodjango import get_aio_subapp


class Greedy(web.View):
    async def get(self, pk):
        return answer(self.request, pk)


def answer(request, *args, **kwargs):
    strings = dict(request.match_info)
    return web.json_response({"args": args, "kwargs": kwargs, "strings": strings})


async def alone(request):
    return answer(request)


async def anything(request, *args, **kwargs):
    return answer(request, *args, **kwargs)


async def named(request, pk, extra=None):
    return answer(request, pk=pk, extra=extra)


async def keyword_only(request, *, pk):
    return answer(request, pk=pk)


async def positional(request, year, month=None):
    return answer(request, year, month)


async def only_keywords(request, **kwargs):
    return answer(request, **kwargs)


def decorated(view):
    @functools.wraps(view)
    async def wrapper(request, *args, **kwargs):
        return await view(request, *args, **kwargs)

    return wrapper


def decorated_in_its_own_words(view):
    @functools.wraps(view)
    async def wrapper(request):
        return await view(request, pk="own")

    return wrapper


def decorated_without_wraps(view):
    async def wrapper(*args, **kwargs):
        return await view(*args, **kwargs)

    return wrapper


class Methods:
    async def named(self, request, pk):
        return answer(request, pk=pk)


class ClassView(web.View):
    async def get(self):
        return answer(self.request)


async def ask(aiohttp_client, pattern, url):
    client = await aiohttp_client(get_aio_subapp([pattern]))
    response = await client.get(url)
    assert response.status == 200
    return await response.json()


@pytest.mark.parametrize(
    ("pattern", "url", "args", "kwargs", "strings"),
    [
        (path("<int:pk>/", alone), "/07/", [], {}, {"pk": "07"}),
        (path("<int:pk>/", named), "/07/", [], {"pk": 7, "extra": None}, {"pk": "07"}),
        (path("<int:pk>/", named, {"extra": 1}), "/7/", [], {"pk": 7, "extra": 1}, {"pk": "7"}),
        (path("<int:pk>/", keyword_only), "/7/", [], {"pk": 7}, {"pk": "7"}),
        (path("<int:pk>/", only_keywords), "/7/", [], {"pk": 7}, {"pk": "7"}),
        (path("<int:pk>/", anything, {"a": 1}), "/7/", [], {"pk": 7, "a": 1}, {"pk": "7"}),
        (path("<int:pk>/", decorated(named)), "/7/", [], {"pk": 7, "extra": None}, {"pk": "7"}),
        (path("<int:pk>/", decorated(alone)), "/7/", [], {}, {"pk": "7"}),
        (path("<int:pk>/", decorated(decorated(alone))), "/7/", [], {}, {"pk": "7"}),
        (
            path("<int:pk>/", decorated_without_wraps(named)),
            "/7/", [], {"pk": 7, "extra": None}, {"pk": "7"},
        ),
        (
            path("<int:pk>/", decorated_in_its_own_words(named)),
            "/7/", [], {"pk": "own", "extra": None}, {"pk": "7"},
        ),
        (
            path("<int:pk>/", functools.partial(named, extra=2)),
            "/7/", [], {"pk": 7, "extra": 2}, {"pk": "7"},
        ),
        (
            path("x/", functools.partial(decorated(named), pk=3)),
            "/x/", [], {"pk": 3, "extra": None}, {},
        ),
        (path("<int:pk>/", functools.partial(decorated(alone))), "/7/", [], {}, {"pk": "7"}),
        (path("<int:pk>/", Methods().named), "/7/", [], {"pk": 7}, {"pk": "7"}),
        (path("<int:pk>/", ClassView), "/7/", [], {}, {"pk": "7"}),
        (re_path(r"^(\d+)/(\d+)/$", positional), "/1/2/", ["1", "2"], {}, {}),
        (re_path(r"^(\d+)/$", positional, {"month": 5}), "/1/", ["1", 5], {}, {}),
        (re_path(r"^(\d+)/$", anything, {"a": 1}), "/1/", ["1"], {"a": 1}, {}),
        (re_path(r"^(?P<pk>\d+)?/?$", only_keywords), "/", [], {}, {}),
        (re_path(r"^(\d+)?/?$", anything), "/", [None], {}, {}),
        (
            path("<slug:a>/", include([path("<int:b>/", anything)], ), {"c": 1}),
            "/x/2/", [], {"a": "x", "b": 2, "c": 1}, {"a": "x", "b": "2"},
        ),
        (
            re_path(r"^(\w+)/", include([re_path(r"^(\d+)/$", positional)])),
            "/x/2/", ["x", "2"], {}, {},
        ),
        (
            re_path(r"^(\w+)/", include([path("<int:pk>/", named)])),
            "/x/2/", [], {"pk": 2, "extra": None}, {"pk": "2"},
        ),
    ],
)  # fmt: skip
async def test_called_as_django_would(aiohttp_client, pattern, url, args, kwargs, strings):
    given = await ask(aiohttp_client, pattern, url)
    assert given == {"args": args, "kwargs": kwargs, "strings": strings}


async def needs_more(request, pk, slug):
    return answer(request)


async def needs_nothing():
    return web.Response()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (path("a/<int:pk>/", needs_more, name="more"),
         r"needs_more does not fit its URL pattern 'a/<int:pk>/' \[name='more'\]: "
         r"missing a required argument: 'slug'"),
        (path("a/<int:pk>/<slug:other>/", named),
         r"named does not fit .*unexpected keyword argument 'other'"),
        (path("a/<int:pk>/", keyword_only, {"x": 1}), "unexpected keyword argument 'x'"),
        (re_path(r"^(\d+)/(\d+)/$", decorated(named), {"extra": 1}), "multiple values"),
        (re_path(r"^(\d+)/$", keyword_only), "too many positional arguments"),
        (path("a/", needs_nothing), "needs_nothing does not fit .*too many positional arguments"),
        (path("i/", include([path("<int:pk>/", needs_more)])), "'i/<int:pk>/'"),
        (path("a/", functools.partial(needs_more, pk=1)), "missing a required"),
        (path("a/<int:pk>/", Greedy), r"Greedy does not fit .*: get\(\): missing .* 'pk'\. aio"),
    ],
)  # fmt: skip
def test_a_mismatch_is_an_error_at_start_up(pattern, message):
    with pytest.raises(ImproperlyConfigured, match=message):
        get_aio_subapp([pattern])
