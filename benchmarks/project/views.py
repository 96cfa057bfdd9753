"""What the servers are asked for: sync views, and one native coroutine view of Django's."""

import json
import time
from collections.abc import Iterator

from django.conf import settings
from django.core.cache import cache
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render

from .models import Row

KIB = 1024
BLOCKED = 0.02  # seconds
COMPUTED = 0.004  # seconds of processor time
TEXT = "What there is to say about it takes some three hundred characters. " * 5
ITEMS = [{"number": number, "name": f"item {number}", "text": TEXT} for number in range(25)]


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello", content_type="text/plain")


def page(request: HttpRequest) -> HttpResponse:
    return render(request, "page.html", {"items": ITEMS})


def echo_json(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"received": json.loads(request.body)})


def upload(request: HttpRequest) -> HttpResponse:
    length = 0
    while part := request.read(64 * KIB):
        length += len(part)
    return HttpResponse(f"{length} bytes", content_type="text/plain")


def file(request: HttpRequest, name: str) -> FileResponse:
    return FileResponse(open(settings.FOLDER / name, "rb"), content_type="text/plain")


def stream(request: HttpRequest, size: int) -> StreamingHttpResponse:
    """`size` MiB, in parts."""
    parts = (bytes(64 * KIB) for _ in range(size * 16))
    return StreamingHttpResponse(parts, content_type="text/plain")


def row(request: HttpRequest, database: str) -> HttpResponse:
    return HttpResponse(Row.objects.using(database).get(pk=1).text, content_type="text/plain")


def report(request: HttpRequest, database: str) -> HttpResponse:
    """The template page, of five queries."""
    rows = [Row.objects.using(database).get(pk=1) for _ in range(5)]
    items = [{"number": row.pk, "name": row.text, "text": TEXT} for row in rows] * 5
    return render(request, "page.html", {"items": items})


def cached(request: HttpRequest) -> HttpResponse:
    """A text out of the cache, which the first one puts there."""
    if (text := cache.get("text")) is None:
        cache.set("text", text := TEXT)
    return HttpResponse(text, content_type="text/plain")


def block(request: HttpRequest) -> HttpResponse:
    """Waits, as for a slow query."""
    time.sleep(BLOCKED)
    return hello(request)


def compute(request: HttpRequest) -> HttpResponse:
    """Computes in Python, for the same processor time however many others do."""
    end = time.thread_time() + COMPUTED
    while time.thread_time() < end:
        sum(number * number for number in range(200))
    return hello(request)


def endless(request: HttpRequest) -> StreamingHttpResponse:
    """Small parts without end, each of which is computed."""

    def parts() -> Iterator[bytes]:
        while True:
            yield bytes(sum(number * number for number in range(200)) % 100)

    return StreamingHttpResponse(parts(), content_type="text/plain")


async def native(request: HttpRequest) -> HttpResponse:
    """Django's own kind of coroutine view."""
    return HttpResponse("hello", content_type="text/plain")
