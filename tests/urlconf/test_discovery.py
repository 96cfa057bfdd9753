"""Which views of a URLconf are lifted, and what django_view() and annotations leave to Django."""

import functools
import sys
import types

import pytest
from aiohttp import web
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.urls import include, path, re_path
from django.views import View
from django.views.decorators.cache import cache_page, never_cache
from django.views.decorators.csrf import csrf_exempt

import aiodjango
from aiodjango import django_view, get_aio_routes
from aiodjango.urlconf.patterns import is_coroutine_view, read_urlconf

from . import annotated_views


async def aio_view(request):
    return web.Response()


def sync_view(request):
    return HttpResponse()


class AioClassView(web.View):
    async def get(self):
        return web.Response()


class DjangoView(View):
    async def get(self, request):
        return HttpResponse()


class Callable:
    async def __call__(self, request):
        return web.Response()


class Methods:
    async def aio(self, request):
        return web.Response()

    def sync(self, request):
        return HttpResponse()


def returning_a_coroutine(request):
    return aio_view(request)


@functools.wraps(aio_view)
async def wrapped(*args, **kwargs):
    return await aio_view(*args, **kwargs)


@pytest.mark.parametrize(
    "view",
    [
        aio_view,
        wrapped,
        functools.partial(aio_view),
        functools.partial(functools.partial(aio_view)),
        functools.partial(markcoroutinefunction(Callable())),
        functools.partial(aio_view, unknown="value"),  # inspect has no signature for it
        csrf_exempt(aio_view),
        markcoroutinefunction(Callable()),
        markcoroutinefunction(lambda request: aio_view(request)),
        Methods().aio,
        AioClassView,
        annotated_views.aiohttp_request,
        annotated_views.unknown,
        annotated_views.nonsense,
        annotated_views.missing_attribute,
        annotated_views.undefined,
        annotated_views.return_only,
        annotated_views.Views().aio_method,
    ],
)
def test_lifted(view):
    assert is_coroutine_view(view)


def _typed(request: HttpRequest): ...


async def annotated(request: HttpRequest): ...


async def annotated_subclass(request: WSGIRequest): ...


@functools.wraps(annotated)
async def around_annotated(*args, **kwargs):
    return await annotated(*args, **kwargs)


@functools.wraps(DjangoView.as_view())
async def around_class_view(*args, **kwargs):
    return await DjangoView.as_view()(*args, **kwargs)


class ViewSet(View):
    """Its as_view() notes the class under another name than Django's, as that of DRF does."""

    @classmethod
    def as_view(cls, actions):
        async def view(request, *args, **kwargs):
            return await getattr(cls(), actions[request.method.lower()])(request, *args, **kwargs)

        functools.update_wrapper(view, cls.dispatch)
        view.cls = cls
        return csrf_exempt(view)

    async def list(self, request):
        return HttpResponse()


def plainly_decorated(view):
    """As a decorator does that takes over nothing but the view itself."""

    async def wrapper(*args, **kwargs):
        return await view(*args, **kwargs)

    wrapper.__wrapped__ = view
    return wrapper


class Decorated:
    """A decorator that is a class, and has slots."""

    __slots__ = ("__wrapped__",)

    def __init__(self, view):
        self.__wrapped__ = view

    async def __call__(self, request):
        return await self.__wrapped__(request)


def around(view):
    @functools.wraps(view)
    async def wrapper(*args, **kwargs):
        return await view(*args, **kwargs)

    return wrapper


VIEW_SET = ViewSet.as_view({"get": "list"})


@pytest.mark.parametrize(
    "view",
    [
        VIEW_SET,
        functools.partial(VIEW_SET, extra=1),
        around(VIEW_SET),
        around(around(functools.partial(VIEW_SET))),
        plainly_decorated(plainly_decorated(VIEW_SET)),
        plainly_decorated(functools.partial(plainly_decorated(VIEW_SET))),
        cache_page(60)(VIEW_SET),
        login_required(VIEW_SET),
        never_cache(around(VIEW_SET)),
        around(ViewSet),
        ViewSet().list,
        around(Decorated(VIEW_SET)),
        around(DjangoView.as_view()),
        login_required(DjangoView.as_view()),
    ],
)
def test_what_comes_from_a_class_of_djangos_stays_djangos(view):
    assert iscoroutinefunction(view) or isinstance(view, functools.partial)
    assert not is_coroutine_view(view)
    (pattern,) = read_urlconf([path("x/", view)])
    assert pattern.view_name.rpartition(".")[2] in ("ViewSet", "DjangoView")


@pytest.mark.parametrize(
    "view",
    [
        sync_view,
        Callable(),
        Methods().sync,
        returning_a_coroutine,
        DjangoView.as_view(),
        functools.partial(DjangoView.as_view()),
        csrf_exempt(DjangoView.as_view()),
        around_class_view,
        annotated,
        annotated_subclass,
        around_annotated,
        functools.partial(annotated),
        csrf_exempt(annotated),
        django_view(aio_view),
        functools.partial(django_view(aio_view)),
        annotated_views.http_request,
        annotated_views.subclass,
        annotated_views.dotted,
        annotated_views.optional,
        annotated_views.union,
        annotated_views.with_more,
        annotated_views.Views().method,
        functools.partial(annotated_views.http_request),
        markcoroutinefunction(annotated_views.Instances()),
        HttpResponse,
    ],
)
def test_left_to_django(view):
    assert not is_coroutine_view(view)


def lifted_paths(urlconf):
    return [f"/{p.chain}" for p in read_urlconf(urlconf) if p.is_coroutine_view]


def test_found_in_every_include():
    module = types.ModuleType("inner_urls")
    module.urlpatterns = [path("m/", aio_view)]
    patterns = [
        path("a/", aio_view),
        path("sync/", sync_view),
        path("list/", include([path("b/", aio_view), path("sync/", sync_view)])),
        path("tuple/", include(([path("c/", aio_view)], "app"), namespace="n")),
        path("module/", include(module)),
        re_path(r"^deep/", include([re_path(r"^er/", include([re_path(r"^d/$", aio_view)]))])),
    ]
    assert lifted_paths(patterns) == [
        "/a/", "/list/b/", "/tuple/c/", "/module/m/", "/^deep/er/d/$",
    ]  # fmt: skip


def test_django_view_leaves_a_whole_include():
    inner = [path("a/", aio_view), path("deeper/", include([path("b/", aio_view)]))]
    patterns = [
        path("shop/", django_view(include(inner))),
        path("app/", django_view(include((inner, "app"), namespace="n"))),
        path("x/", aio_view),
    ]
    assert lifted_paths(patterns) == ["/x/"]


def test_an_include_left_to_django_still_resolves_and_reverses(settings):
    from django.urls import resolve, reverse

    inner = [path("a/", aio_view, name="a")]
    urlconf = (path("shop/", django_view(include((inner, "shop")))),)
    assert resolve("/shop/a/", urlconf).func is aio_view
    assert reverse("shop:a", urlconf) == "/shop/a/"


def test_django_view_leaves_the_view_itself_as_it_was():
    left = django_view(aio_view)
    assert lifted_paths([path("a/", left), path("b/", aio_view)]) == ["/b/"]
    assert left.__name__ == "aio_view"


def test_django_view_returns_a_sync_view_unchanged():
    assert django_view(sync_view) is sync_view


def test_django_view_refuses_what_django_could_not_call():
    with pytest.raises(TypeError, match="AioClassView is an aiohttp view"):
        django_view(AioClassView)
    with pytest.raises(TypeError, match=r"takes a view or an include\(…\), not 'shop.urls'"):
        django_view("shop.urls")


def test_the_urlconf_is_only_read():
    patterns = [path("a/", aio_view), path("i/", include([path("b/", aio_view)]))]
    before = repr(patterns), list(patterns)
    aiodjango.get_aio_application(lambda e, s: [], urlconf=patterns)
    assert (repr(patterns), patterns) == before


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        (["a/"], "contains 'a/', which is not"),
        (
            [path("i/", django_view(include(["a/"])))],
            r"The URLconf django_view\(\['a/'\]\) contains 'a/', which is not",
        ),
    ],
)
def test_what_is_no_pattern_is_named(patterns, text):
    with pytest.raises(ImproperlyConfigured, match=text):
        get_aio_routes(patterns)


def test_a_urlconf_without_patterns_is_named():
    with pytest.raises(ImproperlyConfigured, match=r"tests\.settings"):
        get_aio_routes("tests.settings")


def test_root_urlconf_is_the_default(settings):
    settings.ROOT_URLCONF = "tests.urlconf.i18n_urls"
    assert len(get_aio_routes()) == 5


def urlconf_module(name, monkeypatch):
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_urlconf_that_includes_itself(monkeypatch):
    module = urlconf_module("lonely_urls", monkeypatch)
    module.urlpatterns = [path("", aio_view), path("again/", include(module))]
    with pytest.raises(ImproperlyConfigured) as raised:
        get_aio_routes("lonely_urls")
    assert str(raised.value) == (
        "The URLconf lonely_urls includes itself, so its patterns have no end: "
        "lonely_urls -> lonely_urls. Remove the include() at 'again/'."
    )


@pytest.mark.parametrize("wrap", [tuple, django_view])
def test_ring_of_urlconfs(monkeypatch, wrap):
    shop, blog = (urlconf_module(name, monkeypatch) for name in ("shop_urls", "blog_urls"))
    shop.urlpatterns = [path("blog/", include(blog))]
    blog.urlpatterns = [path("shop/", wrap(include(shop)))]
    root = [path("start/", include(shop))]
    with pytest.raises(ImproperlyConfigured, match=r"shop_urls -> blog_urls -> .*shop_urls"):
        read_urlconf(root)


def test_list_that_includes_itself():
    patterns = []
    patterns.append(path("list/", include(patterns)))
    with pytest.raises(ImproperlyConfigured, match=r"the list of patterns at 'list/'\) includes"):
        read_urlconf(patterns)


def test_urlconf_that_is_included_twice(monkeypatch):
    module = urlconf_module("twice_urls", monkeypatch)
    module.urlpatterns = [path("view/", aio_view)]
    found = read_urlconf([path("a/", include(module)), path("b/", include(module))])
    assert [str(pattern) for pattern in found] == ["'a/view/'", "'b/view/'"]
