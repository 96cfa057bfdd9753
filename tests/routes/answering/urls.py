from aiohttp import web
from django.http import JsonResponse
from django.urls import include, path, re_path

from tests.routes import strategies  # noqa: F401  registers converters


def answer(name, args, kwargs):
    return {"view": name, "args": list(args), "kwargs": {k: str(v) for k, v in kwargs.items()}}


def lifted(name):
    async def view(request, *args, **kwargs):
        return web.json_response(answer(name, args, kwargs))

    view.name = name
    return view


def sync(name):
    def view(request, *args, **kwargs):
        return JsonResponse(answer(name, args, kwargs))

    view.name = name
    return view


inner = [
    path("", lifted("inner root")),
    path("<int:a>/", lifted("inner int")),
    path("<path:b>", sync("inner path")),
    re_path(r"(\d)x", lifted("inner unanchored")),
]
urlpatterns = [
    path("", sync("home")),
    path("a/", lifted("a")),
    path("a/<even:n>/", lifted("even")),
    path("a/<int:n>/", sync("int")),
    path("<slug:x>/b/", sync("slug")),
    path("ab/b/", lifted("after slug")),
    path("ü/<str:s>/", lifted("umlaut"), {"extra": 1}),
    path("100%/", lifted("percent")),
    path("a b/", lifted("space")),
    re_path(r"^(?P<year>\d{4})/(?P<month>\d\d)?/?$", lifted("year")),
    re_path(r"^(\d+)/(\w+)?$", lifted("positional")),
    re_path(r"b$", lifted("ends with b")),
    path("in/<slug:s>/", include(inner)),
    re_path(r"^re/(?P<o>o)?", include(inner)),
    path("slashed/<slashed:p>/end/", lifted("slashed")),
]
