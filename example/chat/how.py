"""What "How this page works" shows: which half has answered, and the source of both."""

import os
import threading
from pathlib import Path
from typing import Any

from aiohttp import web
from django.http import Http404, HttpRequest, HttpResponse

HERE = Path(__file__).parent
# What a page links to, by the last part of its address.
SOURCES = {
    "views.py": HERE / "views.py",
    "live.py": HERE / "live.py",
    "tutorial": HERE.parents[1] / "docs" / "tutorial.rst",
}


def context(request: HttpRequest) -> dict[str, Any]:
    """For all templates: the thread in which Django makes the page, and the process."""
    return {"how_thread": threading.current_thread().name, "how_process": os.getpid()}


def source(request: HttpRequest, name: str) -> HttpResponse:
    """A file of this project, as text."""
    if name not in SOURCES or not SOURCES[name].is_file():
        raise Http404
    return HttpResponse(SOURCES[name].read_text(), content_type="text/plain; charset=utf-8")


async def name_half(request: web.Request, response: web.StreamResponse) -> None:
    """Add a header that tells which half has answered: browsers show it with a page's requests."""
    handler = request.match_info.handler
    is_django = handler.__module__.startswith("aiodjango.")
    response.headers["Server-Timing"] = "django" if is_django else "aiohttp"
