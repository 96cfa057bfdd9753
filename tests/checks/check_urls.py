"""URLconfs for the checks: each list shows what one of them finds."""

import functools

from aiohttp import web
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import include, path, re_path
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from django.views.generic import View


def sync_view(request, **kwargs):
    return HttpResponse()


async def aio_view(request):
    return web.Response()


async def needs_pk(request, pk):
    return web.Response()


class SyncClassView(View):
    pass


fine = [
    path("sync/", sync_view),
    path("aio/", aio_view, name="aio"),
    path("<int:pk>/", needs_pk),
    path("exempt/", csrf_exempt(aio_view)),
    re_path(r"^.*$", sync_view),
]
shadowing = [
    path("a/<slug:x>/", sync_view, name="slug"),
    path("<int:number>/", sync_view),
    path("d/<uuid:key>/<int:n>/", SyncClassView.as_view()),
    re_path(r"^e/(?P<year>[0-9]{4})/", include([re_path(r"^(?P<rest>.*)$", sync_view)])),
    path("a/new/", aio_view, name="new"),
    re_path(r"^(?P<year>[0-9]{4})/$", aio_view),
    path("<slug:x>/<uuid:key>/<slug:y>/", aio_view),
    path("e/<int:year>/<path:rest>", aio_view),
    path("f/<int:number>/", aio_view),
    re_path(r"^g/(\d+)/edit/$", sync_view),
    re_path(r"^g/(\w+)/show/$", aio_view),
    re_path(r"^g/(\w+)/edit/$", aio_view),
    path("b/", sync_view),
]
mismatched = [path("x/", needs_pk)]
decorated = [
    path("x/", login_required(aio_view)),
    path("y/", never_cache(aio_view)),
    path("z/", require_POST(aio_view)),
]
urlpatterns = shadowing
partial = functools.partial(aio_view)
