"""What a view returned that is no response, and what to return instead."""

import inspect
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractView
from django.http import FileResponse, StreamingHttpResponse

_STREAM = (
    "to stream, prepare() an aiohttp.web.StreamResponse, write() to it, and return it at the end"
)


def advice(result: Any) -> str:
    """Return what a coroutine view returns in place of this."""
    if result is None:
        return (
            "a `return` is missing. At the end of a WebSocket or a stream, return the "
            "web.WebSocketResponse or web.StreamResponse"
        )
    if isinstance(result, FileResponse):
        return "for a file, return an aiohttp.web.FileResponse(path)"
    if isinstance(result, StreamingHttpResponse) or _is_generator(result):
        return _STREAM
    if inspect.isawaitable(result):
        return "an `await` is missing before it"
    if isinstance(result, str):
        return "return web.Response(text=…), with content_type='text/html' for a page"
    if isinstance(result, bytes | bytearray | memoryview):
        return "return web.Response(body=…)"
    if isinstance(result, type) and issubclass(result, web.HTTPException):
        return f"raise web.{result.__name__}(…)"
    if isinstance(result, Mapping | list | tuple | set | int | float):
        return "return web.json_response(…), with status=… for another status"
    return "return web.json_response(…), web.Response(text=…) or a Django HttpResponse"


def advice_for_django(result: Any) -> str | None:
    """Return what a view of Django returns in place of this; None for what may be a response."""
    if isinstance(result, web.StreamResponse):
        return "return an HttpResponse, as JsonResponse, FileResponse or StreamingHttpResponse"
    if _is_generator(result):
        return "return StreamingHttpResponse(…)"
    if inspect.iscoroutine(result):
        result.close()  # it would be reported as never awaited
        return (
            "write `async def`, and `await` the coroutine. If the view is an `async def`, one of "
            "its decorators is for sync functions, as atomic() is"
        )
    if isinstance(result, str | bytes):
        return "return HttpResponse(…)"
    if isinstance(result, dict | list | tuple | int | float):
        return "return JsonResponse(…, safe=False), or HttpResponse(…, status=…)"
    if isinstance(result, AbstractView):  # the class was called as a function
        return "return an HttpResponse"
    return None


def _is_generator(result: Any) -> bool:
    return inspect.isasyncgen(result) or inspect.isgenerator(result)
